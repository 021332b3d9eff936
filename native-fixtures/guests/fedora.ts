import { blsGrubCfg, redHatCommon, redHatExtras } from './red-hat-common.ts'
import { grubenv } from './types.ts'

const ID = '0f1e2d3c4b5a69788796a5b4c3d2e1f0'
const KERNEL = '6.11.4-301.fc41.x86_64'
const OPTIONS = 'root=UUID=6666 rootflags=subvol=root no_timer_check console=tty1 console=ttyS0,115200n8'

/** Fedora Cloud 41: btrfs with the subvolumes root, home and var; /boot apart; BLS. */
export const fedora = {
  ...redHatCommon,
  '/usr/lib/os-release':
    'NAME="Fedora Linux"\nVERSION="41 (Cloud Edition)"\nID=fedora\nVERSION_ID=41\nPRETTY_NAME="Fedora Linux 41 (Cloud Edition)"\nVARIANT_ID=cloud\n',
  '/etc/os-release':
    'NAME="Fedora Linux"\nVERSION="41 (Cloud Edition)"\nID=fedora\nVERSION_ID=41\nPRETTY_NAME="Fedora Linux 41 (Cloud Edition)"\nVARIANT_ID=cloud\n',
  '/etc/fedora-release': 'Fedora release 41 (Forty One)\n',
  '/etc/redhat-release': 'Fedora release 41 (Forty One)\n',
  '/etc/machine-id': 'uninitialized\n',
  '/etc/fstab': `UUID=6666 / btrfs compress=zstd:1,defaults,subvol=root 0 1
UUID=7777 /boot ext4 defaults 0 0
UUID=6666 /home btrfs compress=zstd:1,subvol=home 0 0
UUID=6666 /var btrfs compress=zstd:1,subvol=var 0 0
UUID=5A5A-0041 /boot/efi vfat defaults,umask=0077,shortname=winnt 0 0
`,
  '/etc/default/grub':
    'GRUB_DEFAULT=saved\nGRUB_DISABLE_SUBMENU=true\nGRUB_DISABLE_RECOVERY=true\nGRUB_TIMEOUT=1\nGRUB_TIMEOUT_STYLE=countdown\nGRUB_CMDLINE_LINUX="no_timer_check console=tty1 console=ttyS0,115200n8"\nGRUB_TERMINAL_OUTPUT=console\nGRUB_ENABLE_BLSCFG=true\n',
  '/etc/kernel/cmdline': `${OPTIONS}\n`,
  '/etc/kernel/entry-token': `${ID}\n`,
  '/boot/grub2/grubenv': grubenv(
    `saved_entry=${ID}-${KERNEL}\nmenu_auto_hide=1\nboot_success=0\nboot_indeterminate=0\n`,
  ),
  '/boot/grub2/grub.cfg': blsGrubCfg(`${OPTIONS} `),
  [`/boot/loader/entries/${ID}-${KERNEL}.conf`]: `title Fedora Linux (${KERNEL}) 41 (Cloud Edition)
version ${KERNEL}
linux /vmlinuz-${KERNEL}
initrd /initramfs-${KERNEL}.img
options ${OPTIONS}
grub_users $grub_users
grub_arg --unrestricted
grub_class fedora
`,
  '/boot/efi/EFI/fedora/grub.cfg':
    'search --no-floppy --root-dev-only --fs-uuid --set=dev 7777\nset prefix=($dev)/grub2\nexport $prefix\nconfigfile $prefix/grub.cfg\n',
  [`/boot/vmlinuz-${KERNEL}`]: 'MZ kernel',
  [`/boot/initramfs-${KERNEL}.img`]: '070701',
  [`/usr/lib/modules/${KERNEL}/modules.dep`]: '',
  '/etc/ssh/sshd_config': `# To modify the system-wide sshd configuration, create a  *.conf  file under
#  /etc/ssh/sshd_config.d/  which will be automatically included below
Include /etc/ssh/sshd_config.d/*.conf
AuthorizedKeysFile	.ssh/authorized_keys
Subsystem	sftp	/usr/libexec/openssh/sftp-server
`,
  '/etc/ssh/sshd_config.d/50-redhat.conf':
    'SyslogFacility AUTHPRIV\nChallengeResponseAuthentication no\nUsePAM yes\nX11Forwarding yes\nPrintMotd no\n',
  '/etc/ssh/sshd_config.d/40-redhat-crypto-policies.conf':
    '# See 50-redhat.conf\nCiphers aes256-gcm@openssh.com\n',
  '/etc/sysconfig/qemu-ga': '# FILTER_RPC_ARGS="--block-rpcs=guest-exec"\nFSFREEZE_HOOK_ENABLE=0\n',
  '/usr/lib/systemd/system/qemu-guest-agent.service': `[Unit]
Description=QEMU Guest Agent
BindsTo=dev-virtio\\x2dports-org.qemu.guest_agent.0.device
After=dev-virtio\\x2dports-org.qemu.guest_agent.0.device
IgnoreOnIsolate=True

[Service]
UMask=0077
EnvironmentFile=/etc/sysconfig/qemu-ga
ExecStart=/usr/bin/qemu-ga --method=virtio-serial --path=/dev/virtio-ports/org.qemu.guest_agent.0 $FILTER_RPC_ARGS
Restart=always

[Install]
WantedBy=dev-virtio\\x2dports-org.qemu.guest_agent.0.device
`,
  '/etc/yum.repos.d/fedora.repo': `[fedora]
name=Fedora $releasever - $basearch
#baseurl=http://download.example/pub/fedora/linux/releases/$releasever/Everything/$basearch/os/
metalink=https://mirrors.fedoraproject.org/metalink?repo=fedora-$releasever&arch=$basearch
enabled=1
countme=1
metadata_expire=7d
repo_gpgcheck=0
type=rpm
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-$releasever-$basearch
skip_if_unavailable=False
`,
}

export const fedoraExtras = {
  ...redHatExtras,
  links: {
    ...redHatExtras.links,
    '/etc/grub2.cfg': '../boot/grub2/grub.cfg',
    '/etc/systemd/system/dev-virtio\\x2dports-org.qemu.guest_agent.0.device.wants/qemu-guest-agent.service':
      '/usr/lib/systemd/system/qemu-guest-agent.service',
  },
}
