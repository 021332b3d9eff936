const KEY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2wYm0dT8ZEn2Ba3GV0Tn9mGcEIVqvTgTKn0VXbEhYw someone@example.com'

/** Files of the host that the values name. */
export const stepFiles = { script: 'echo done\n', key: `${KEY}\n`, 'tool.tar': archive('tool', 'a tool\n') }

/** Plausible values of each step; every step has one at least. */
export const stepValues: Readonly<Record<string, readonly string[]>> = {
  'account-expire': ['root:2030-01-31', 'root:never'],
  'append-line': ['/etc/hosts:192.0.2.7 seven', '/etc/new-file:one line'],
  chmod: ['0600:/etc/hosts'],
  chown: ['0:0:/etc/hosts'],
  'cloud-init': ['disable_root=false', 'cloud_init_modules-=growpart', 'datasource_list=[OpenStack, None]'],
  'cloud-init-clean': ['', 'seed'],
  'cloud-init-datasources': ['OpenStack,ConfigDrive,None', 'OpenStack'],
  'cloud-init-unblock': [''],
  'cloud-init-user': ['cloud'],
  copy: ['/etc/passwd:/root/passwd.copy'],
  'copy-in': ['script:/root'],
  delete: ['/etc/motd', '/var/log/*.log'],
  'disable-service': ['sshd', 'cron'],
  edit: ['/etc/passwd:s/^root:/root:/', '/etc/hosts:s/localhost/here/g'],
  'enable-service': ['sshd', 'cron'],
  'expect-packages': ['bash,no-such-package'],
  firstboot: ['script'],
  'firstboot-command': ["echo 'x'"],
  'firstboot-install': ['acpid'],
  'group-add': ['team:members=root', 'daemons:system'],
  'group-del': ['games'],
  'group-member': ['daemon:root', 'root:-root'],
  growroot: [''],
  hostname: ['web', 'web.example.com'],
  install: ['acpid,vim'],
  'journal-to-console': [''],
  'kernel-arg': ['console=ttyS0,115200n8', '-quiet', '+console=hvc0'],
  'kernel-args': ['nomodeset -quiet a=1'],
  keymap: ['us', 'de'],
  link: ['/etc/hosts:/etc/hosts.link'],
  locale: ['C.UTF-8', 'en_US.UTF-8'],
  'mask-service': ['sshd', 'cron'],
  mirror: ['http://mirror.example.com/x', 'security=http://mirror.example.com/security'],
  mkdir: ['/srv/a/b'],
  'modprobe-blacklist': ['igb,ixgbe'],
  // What was moved is no longer there to be moved.
  move: [],
  'network-dhcp': ['', 'eth0'],
  'network-unpin': [''],
  'no-zeroconf': [''],
  password: ['root:locked', 'root:deleted'],
  'password-age': ['root:min=1,max=90,warn=7,inactive=5'],
  'password-crypto': ['sha256'],
  'password-expire': ['root'],
  'qemu-ga': ['', 'guest-exec,-guest-file-open'],
  'root-password': ['locked', 'disabled'],
  run: ['script'],
  'run-command': ['true'],
  // What is gone cannot be overwritten.
  scrub: [],
  'selinux-mode': ['permissive', 'disabled'],
  'selinux-relabel': [''],
  'serial-console': ['', 'ttyS1,9600'],
  'ssh-inject': [`root:string:${KEY}`, 'root:file:key'],
  sshd: ['PermitRootLogin=no', 'PasswordAuthentication=yes', 'Port=2222'],
  'stable-interface-names': [''],
  sudo: ['daemon', '%daemon:password'],
  sysctl: ['net.ipv4.ip_forward=1', 'kernel/panic=10'],
  sysprep: ['', 'all'],
  'tar-in': ['tool.tar:/root'],
  timezone: ['Europe/Berlin', 'UTC'],
  touch: ['/root/touched'],
  truncate: ['/etc/motd', '/etc/hosts'],
  'truncate-recursive': ['/var/log'],
  uninstall: ['vim'],
  'unmask-service': ['sshd', 'cron'],
  update: [''],
  upload: ['script:/root/script'],
  'user-add': ['deploy:groups=daemon,shell=/bin/sh', 'svc:system,no-home'],
  'user-del': ['daemon', 'nobody:home'],
  'user-lock': ['daemon'],
  'user-mod': ['daemon:shell=/bin/sh,add=root', 'nobody:comment=No One'],
  'user-unlock': ['daemon'],
  write: ['/etc/motd:hello\n'],
}

function archive(name: string, content: string): string {
  const header = new Uint8Array(512)
  const put = (at: number, text: string) => header.set(new TextEncoder().encode(text), at)
  put(0, name)
  for (const [at, value] of [
    [100, 0o644],
    [108, 0],
    [116, 0],
  ] as const)
    put(at, `${value.toString(8).padStart(7, '0')}\0`)
  put(124, `${content.length.toString(8).padStart(11, '0')}\0`)
  put(136, `${(1_700_000_000).toString(8).padStart(11, '0')}\0`)
  put(148, '        ')
  put(156, '0')
  put(257, 'ustar\x0000')
  const sum = header.reduce((a, b) => a + b, 0)
  put(148, `${sum.toString(8).padStart(6, '0')}\0 `)
  return new TextDecoder().decode(header) + content.padEnd(512, '\0') + '\0'.repeat(1024)
}
