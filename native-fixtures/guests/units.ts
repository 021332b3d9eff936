/** Unit files as packages ship them, cut to what decides: [Install], environment files, command lines. */

/** /usr/lib/systemd/system of any systemd guest. */
export const commonUnits = {
  '/usr/lib/systemd/system/multi-user.target': `[Unit]
Description=Multi-User System
Requires=basic.target
Conflicts=rescue.service rescue.target
After=basic.target rescue.service rescue.target
AllowIsolate=yes
`,
  '/usr/lib/systemd/system/graphical.target': `[Unit]
Description=Graphical Interface
Requires=multi-user.target
Wants=display-manager.service
AllowIsolate=yes
`,
  '/usr/lib/systemd/system/getty@.service': `[Unit]
Description=Getty on %I
After=systemd-user-sessions.service
ConditionPathExists=/dev/tty0

[Service]
ExecStart=-/sbin/agetty -o '-p -- \\\\u' --noclear - $TERM
Type=idle
Restart=always

[Install]
WantedBy=getty.target
DefaultInstance=tty1
`,
  '/usr/lib/systemd/system/serial-getty@.service': `[Unit]
Description=Serial Getty on %I
BindsTo=dev-%i.device
After=dev-%i.device systemd-user-sessions.service

[Service]
ExecStart=-/sbin/agetty -o '-p -- \\\\u' --keep-baud 115200,57600,38400,9600 - $TERM
Type=idle
Restart=always

[Install]
WantedBy=getty.target
`,
  '/usr/lib/systemd/system/systemd-networkd.service': `[Unit]
Description=Network Configuration
DefaultDependencies=no
Wants=systemd-networkd.socket network.target

[Service]
Type=notify
ExecStart=!!/usr/lib/systemd/systemd-networkd

[Install]
WantedBy=multi-user.target
Alias=dbus-org.freedesktop.network1.service
Also=systemd-networkd.socket

# The output from this generator is used by udevd and networkd.
Also=systemd-network-generator.service
Also=systemd-networkd-wait-online.service
`,
  '/usr/lib/systemd/system/systemd-networkd.socket': `[Unit]
Description=Network Service Netlink Socket

[Socket]
ListenNetlink=route 1361

[Install]
WantedBy=sockets.target
`,
  '/usr/lib/systemd/system/systemd-network-generator.service':
    '[Unit]\nDescription=Generate network units from Kernel command line\n\n[Service]\nType=oneshot\nExecStart=/usr/lib/systemd/systemd-network-generator\n\n[Install]\nWantedBy=sysinit.target\n',
  '/usr/lib/systemd/system/systemd-networkd-wait-online.service':
    '[Unit]\nDescription=Wait for Network to be Configured\n\n[Service]\nType=oneshot\nExecStart=/usr/lib/systemd/systemd-networkd-wait-online\n\n[Install]\nWantedBy=network-online.target\n',
  // Static: no [Install].
  '/usr/lib/systemd/system/systemd-journald.service':
    '[Unit]\nDescription=Journal Service\n\n[Service]\nExecStart=/usr/lib/systemd/systemd-journald\nType=notify\n',
  '/usr/lib/systemd/system/acpid.service': `[Unit]
Description=ACPI event daemon
Requires=acpid.socket

[Service]
ExecStart=/usr/sbin/acpid

[Install]
WantedBy=multi-user.target
Also=acpid.socket
`,
  '/usr/lib/systemd/system/acpid.socket':
    '[Unit]\nDescription=ACPID Listen Socket\n\n[Socket]\nListenStream=/run/acpid.socket\n\n[Install]\nWantedBy=sockets.target\n',
}

/** cloud-init's own four units and its target. */
export const cloudInitUnits = {
  '/usr/lib/systemd/system/cloud-init-local.service': `[Unit]
Description=Initial cloud-init job (pre-networking)
DefaultDependencies=no
Wants=network-pre.target
After=systemd-remount-fs.service
Before=network-pre.target

[Service]
Type=oneshot
ExecStart=/usr/bin/cloud-init init --local
RemainAfterExit=yes

[Install]
WantedBy=cloud-init.target
`,
  '/usr/lib/systemd/system/cloud-init.service': `[Unit]
Description=Initial cloud-init job (metadata service crawler)
DefaultDependencies=no
Wants=cloud-init-local.service sshd-keygen.service sshd.service
After=cloud-init-local.service
Before=network-online.target sshd.service

[Service]
Type=oneshot
ExecStart=/usr/bin/cloud-init init
RemainAfterExit=yes

[Install]
WantedBy=cloud-init.target
`,
  '/usr/lib/systemd/system/cloud-config.service': `[Unit]
Description=Apply the settings specified in cloud-config
After=network-online.target cloud-config.target
Wants=network-online.target cloud-config.target

[Service]
Type=oneshot
ExecStart=/usr/bin/cloud-init modules --mode=config
RemainAfterExit=yes

[Install]
WantedBy=cloud-init.target
`,
  '/usr/lib/systemd/system/cloud-final.service': `[Unit]
Description=Execute cloud user/final scripts
After=network-online.target cloud-config.service rc-local.service multi-user.target
Wants=network-online.target cloud-config.service

[Service]
Type=oneshot
ExecStart=/usr/bin/cloud-init modules --mode=final
RemainAfterExit=yes

[Install]
WantedBy=cloud-init.target
`,
  '/usr/lib/systemd/system/cloud-init.target':
    '# cloud-init.target is enabled by cloud-init-generator\n[Unit]\nDescription=Cloud-init target\nAfter=multi-user.target\n',
  '/usr/bin/cloud-init': '#!/usr/bin/python3\n',
}

/** The links that `systemctl enable` made of cloud-init's units. */
export const cloudInitLinks = Object.fromEntries(
  ['cloud-init-local', 'cloud-init', 'cloud-config', 'cloud-final'].map(name => [
    `/etc/systemd/system/cloud-init.target.wants/${name}.service`,
    `/usr/lib/systemd/system/${name}.service`,
  ]),
)

/** The RHEL family's sshd.service; `sshd-keygen.target` is what makes host keys at boot. */
export const redHatSshd = {
  '/usr/lib/systemd/system/sshd.service': `[Unit]
Description=OpenSSH server daemon
After=network.target sshd-keygen.target
Wants=sshd-keygen.target

[Service]
Type=notify
EnvironmentFile=-/etc/sysconfig/sshd
ExecStart=/usr/sbin/sshd -D $OPTIONS
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Restart=on-failure

[Install]
WantedBy=multi-user.target
`,
  '/usr/lib/systemd/system/sshd.socket': `[Unit]
Description=OpenSSH Server Socket
Conflicts=sshd.service

[Socket]
ListenStream=22
Accept=yes

[Install]
WantedBy=sockets.target
`,
  '/usr/lib/systemd/system/sshd-keygen@.service':
    '[Unit]\nDescription=OpenSSH %i Server Key Generation\nConditionFileNotEmpty=|!/etc/ssh/ssh_host_%i_key\n\n[Service]\nType=oneshot\nEnvironmentFile=-/etc/sysconfig/sshd\nExecStart=/usr/libexec/openssh/sshd-keygen %i\n\n[Install]\nWantedBy=sshd-keygen.target\n',
  '/usr/lib/systemd/system/sshd-keygen.target':
    '[Unit]\nWants=sshd-keygen@rsa.service\nWants=sshd-keygen@ecdsa.service\nWants=sshd-keygen@ed25519.service\nPartOf=sshd.service\n',
}

export const networkManagerUnits = {
  '/usr/lib/systemd/system/NetworkManager.service': `[Unit]
Description=Network Manager
Wants=network.target
After=network-pre.target dbus.service
Before=network.target

[Service]
Type=dbus
BusName=org.freedesktop.NetworkManager
ExecStart=/usr/sbin/NetworkManager --no-daemon

[Install]
WantedBy=multi-user.target
Also=NetworkManager-dispatcher.service

# We want to enable NetworkManager-wait-online.service whenever this service
# is enabled. NetworkManager-wait-online.service has
# WantedBy=network-online.target, so enabling it only has an effect if
# network-online.target itself is enabled or pulled in by some other unit.
Also=NetworkManager-wait-online.service
`,
  '/usr/lib/systemd/system/NetworkManager-dispatcher.service':
    '[Unit]\nDescription=Network Manager Script Dispatcher Service\n\n[Service]\nType=dbus\nBusName=org.freedesktop.nm_dispatcher\nExecStart=/usr/libexec/nm-dispatcher\n\n[Install]\nAlias=dbus-org.freedesktop.nm-dispatcher.service\n',
  '/usr/lib/systemd/system/NetworkManager-wait-online.service':
    '[Unit]\nDescription=Network Manager Wait Online\nRequires=NetworkManager.service\n\n[Service]\nType=oneshot\nExecStart=/usr/bin/nm-online -s -q\n\n[Install]\nWantedBy=network-online.target\n',
}

/** The RHEL family's presets (fedora-release, systemd-rhel); the last file disables the rest. */
export const redHatPresets = {
  '/usr/lib/systemd/system-preset/85-display-manager.preset': 'enable gdm.service\n',
  '/usr/lib/systemd/system-preset/90-default.preset': `# System stuff
enable sshd.service
enable NetworkManager.service
enable NetworkManager-dispatcher.service
enable chronyd.service
enable getty@.service
enable rsyslog.*
enable qemu-guest-agent.service
enable cloud-init.service
enable cloud-init-local.service
enable cloud-config.service
enable cloud-final.service
disable acpid.service
`,
  '/usr/lib/systemd/system-preset/99-default-disable.preset': 'disable *\n',
}

/** Debian's cloud-init.target, sshd and agent by the names Debian gives them. */
export const debianUnits = {
  '/usr/lib/systemd/system/ssh.service': `[Unit]
Description=OpenBSD Secure Shell server
Documentation=man:sshd(8) man:sshd_config(5)
After=network.target auditd.service
ConditionPathExists=!/etc/ssh/sshd_not_to_be_run

[Service]
EnvironmentFile=-/etc/default/ssh
ExecStartPre=/usr/sbin/sshd -t
ExecStart=/usr/sbin/sshd -D $SSHD_OPTS
ExecReload=/usr/sbin/sshd -t
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Restart=on-failure
RestartPreventExitStatus=255
Type=notify
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755

[Install]
WantedBy=multi-user.target
Alias=sshd.service
`,
  '/usr/lib/systemd/system/networking.service': `[Unit]
Description=Raise network interfaces
DefaultDependencies=no
Wants=network.target ifupdown-pre.service
Before=network.target shutdown.target network-online.target

[Install]
WantedBy=multi-user.target
WantedBy=network-online.target

[Service]
Type=oneshot
EnvironmentFile=-/etc/default/networking
ExecStart=/sbin/ifup -a --read-environment
RemainAfterExit=true
`,
  '/usr/lib/systemd/system/cron.service':
    '[Unit]\nDescription=Regular background program processing daemon\n\n[Service]\nEnvironmentFile=-/etc/default/cron\nExecStart=/usr/sbin/cron -f $EXTRA_OPTS\n\n[Install]\nWantedBy=multi-user.target\n',
  '/usr/lib/systemd/system-preset/90-systemd.preset':
    'enable remote-fs.target\nenable getty@.service\nenable systemd-timesyncd.service\ndisable systemd-networkd.service\ndisable debug-shell.service\n',
}
