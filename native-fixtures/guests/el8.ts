import { blsGrubCfg, redHatCommon, redHatExtras } from './red-hat-common.ts'
import { grubenv } from './types.ts'

const ID = 'abcdef0123456789abcdef0123456789'

/** Rocky 8: BLS entries that refer to `kernelopts` of grubenv. */
export const el8 = {
  ...redHatCommon,
  '/etc/os-release':
    'NAME="Rocky Linux"\nVERSION="8.9 (Green Obsidian)"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="8.9"\nPLATFORM_ID="platform:el8"\nPRETTY_NAME="Rocky Linux 8.9 (Green Obsidian)"\n',
  '/etc/redhat-release': 'Rocky Linux release 8.9 (Green Obsidian)\n',
  '/etc/hostname': 'rocky8\n',
  '/etc/machine-id': `${ID}\n`,
  '/etc/fstab':
    'UUID=8888 /                       xfs     defaults        0 0\nUUID=5A5A-0008 /boot/efi vfat defaults,uid=0,gid=0,umask=077,shortname=winnt 0 2\n',
  '/etc/default/grub':
    'GRUB_TIMEOUT=5\nGRUB_DISTRIBUTOR="$(sed \'s, release .*$,,g\' /etc/system-release)"\nGRUB_DEFAULT=saved\nGRUB_DISABLE_SUBMENU=true\nGRUB_TERMINAL_OUTPUT="console"\nGRUB_CMDLINE_LINUX="crashkernel=auto rhgb quiet"\nGRUB_DISABLE_RECOVERY="true"\nGRUB_ENABLE_BLSCFG=true\n',
  '/boot/grub2/grubenv': grubenv(
    `saved_entry=${ID}-4.18.0-513.el8.x86_64\nkernelopts=root=/dev/sda2 ro crashkernel=auto rhgb quiet \nboot_success=0\n`,
  ),
  '/boot/grub2/grub.cfg': blsGrubCfg('root=/dev/sda2 ro crashkernel=auto rhgb quiet '),
  [`/boot/loader/entries/${ID}-4.18.0-513.el8.x86_64.conf`]: `title Rocky Linux (4.18.0-513.el8.x86_64) 8.9 (Green Obsidian)
version 4.18.0-513.el8.x86_64
linux /boot/vmlinuz-4.18.0-513.el8.x86_64
initrd /boot/initramfs-4.18.0-513.el8.x86_64.img $tuned_initrd
options $kernelopts $tuned_params
id rocky-20231121000000-4.18.0-513.el8.x86_64
grub_users $grub_users
grub_arg --unrestricted
grub_class kernel
`,
  [`/boot/loader/entries/${ID}-0-rescue.conf`]: `title Rocky Linux (0-rescue-${ID}) 8.9 (Green Obsidian)
version 0-rescue-${ID}
linux /boot/vmlinuz-0-rescue-${ID}
initrd /boot/initramfs-0-rescue-${ID}.img
options $kernelopts
id rocky-20231121000000-0-rescue-${ID}
grub_users $grub_users
grub_arg --unrestricted
grub_class kernel
`,
  '/boot/vmlinuz-4.18.0-513.el8.x86_64': 'MZ kernel',
  '/boot/initramfs-4.18.0-513.el8.x86_64.img': '070701',
  [`/boot/vmlinuz-0-rescue-${ID}`]: 'MZ kernel',
  [`/boot/initramfs-0-rescue-${ID}.img`]: '070701',
  '/usr/lib/modules/4.18.0-513.el8.x86_64/modules.dep': '',
  '/etc/sysconfig/network': '# Created by anaconda\n',
  '/etc/sysconfig/network-scripts/ifcfg-eth0': `TYPE=Ethernet
PROXY_METHOD=none
BOOTPROTO=dhcp
DEFROUTE=yes
IPV6INIT=yes
NAME=eth0
UUID=9f0c6a5e-93f2-41c5-a0f5-3a3c3f3a2f08
HWADDR=52:54:00:AA:BB:CC
DEVICE=eth0
ONBOOT=no
`,
  '/etc/sysconfig/sshd': '# Configuration file for the sshd service.\n# SSH_USE_STRONG_RNG=0\n',
  '/etc/sysconfig/qemu-ga': 'BLACKLIST_RPC=guest-file-open,guest-exec\n',
  '/usr/lib/systemd/system/qemu-guest-agent.service': `[Unit]
Description=QEMU Guest Agent
BindsTo=dev-virtio\\x2dports-org.qemu.guest_agent.0.device
After=dev-virtio\\x2dports-org.qemu.guest_agent.0.device
IgnoreOnIsolate=True

[Service]
UMask=0077
EnvironmentFile=/etc/sysconfig/qemu-ga
ExecStart=/usr/bin/qemu-ga --blacklist=\${BLACKLIST_RPC}
Restart=always
RestartSec=0

[Install]
WantedBy=dev-virtio\\x2dports-org.qemu.guest_agent.0.device
`,
  '/etc/ssh/sshd_config': `HostKey /etc/ssh/ssh_host_rsa_key
HostKey /etc/ssh/ssh_host_ecdsa_key
HostKey /etc/ssh/ssh_host_ed25519_key
SyslogFacility AUTHPRIV
PermitRootLogin yes
AuthorizedKeysFile	.ssh/authorized_keys
PasswordAuthentication no
ChallengeResponseAuthentication no
GSSAPIAuthentication yes
UsePAM yes
X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_CTYPE LC_NUMERIC
Subsystem	sftp	/usr/libexec/openssh/sftp-server
`,
  '/etc/yum.repos.d/Rocky-BaseOS.repo': `# Rocky-BaseOS.repo
#
[baseos]
name=Rocky Linux $releasever - BaseOS
mirrorlist=https://mirrors.rockylinux.org/mirrorlist?arch=$basearch&repo=BaseOS-$releasever
#baseurl=http://dl.rockylinux.org/$contentdir/$releasever/BaseOS/$basearch/os/
gpgcheck=1
enabled=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-rockyofficial
`,
}

export const el8Extras = {
  ...redHatExtras,
  links: {
    ...redHatExtras.links,
    '/etc/grub2.cfg': '../boot/grub2/grub.cfg',
    '/etc/systemd/system/dev-virtio\\x2dports-org.qemu.guest_agent.0.device.wants/qemu-guest-agent.service':
      '/usr/lib/systemd/system/qemu-guest-agent.service',
  },
}

/** EL8 on UEFI: grub.cfg and grubenv are on the ESP, and /boot/grub2/grubenv is a link there. */
const { '/boot/grub2/grub.cfg': config, '/boot/grub2/grubenv': environment, ...withoutBios } = el8
export const el8Efi = {
  ...withoutBios,
  '/boot/efi/EFI/rocky/grub.cfg': config,
  '/boot/efi/EFI/rocky/grubenv': environment,
}
export const el8EfiExtras = {
  ...el8Extras,
  links: {
    ...el8Extras.links,
    '/boot/grub2/grubenv': '../efi/EFI/rocky/grubenv',
    '/etc/grub2-efi.cfg': '../boot/efi/EFI/rocky/grub.cfg',
  },
}
