/** What a machine's life leaves behind: for each operation of sysprep files that it removes, and files beside them that it must leave. */

export interface Residue {
  /** Gone afterwards. */
  readonly removed: Readonly<Record<string, string>>
  /** As they were. */
  readonly kept: Readonly<Record<string, string>>
}

const ONE = 'x\n'

/** By operation; only those that remove files and nothing else. */
export const RESIDUE: Readonly<Record<string, Residue>> = {
  'abrt-data': { removed: { '/var/spool/abrt/ccpp-1/coredump': ONE }, kept: { '/var/spool/other': ONE } },
  'apt-lists': {
    removed: {
      '/var/lib/apt/lists/deb.debian.org_dists_bookworm_InRelease': ONE,
      '/var/lib/apt/lists/partial/half': ONE,
      '/var/cache/apt/pkgcache.bin': ONE,
      '/var/cache/apt/srcpkgcache.bin': ONE,
    },
    kept: { '/var/lib/apt/lists/lock': '', '/var/lib/apt/extended_states': ONE },
  },
  'backup-files': {
    removed: {
      '/etc/fstab~': ONE,
      '/etc/a/.hidden~': ONE,
      '/var/lib/deep/er/x.bak': ONE,
      '/root/y.bak': ONE,
      '/srv/z~': ONE,
    },
    kept: { '/usr/share/doc/a.bak': ONE, '/home/debian/notes~': ONE, '/etc/x.bak2': ONE },
  },
  'bash-history': {
    removed: { '/root/.bash_history': ONE, '/home/debian/.bash_history': ONE, '/srv/git/.bash_history': ONE },
    kept: { '/home/debian/.bashrc': ONE, '/etc/skel/.bash_history': ONE },
  },
  'blkid-tab': {
    removed: { '/etc/blkid.tab': ONE, '/etc/blkid/blkid.tab.old': ONE },
    kept: { '/etc/blkid.conf': ONE },
  },
  'ca-certificates': {
    removed: { '/etc/pki/tls/private/localhost.key': ONE, '/etc/pki/tls/certs/localhost.crt': ONE },
    kept: { '/etc/pki/tls/certs/ca-bundle.crt': ONE },
  },
  'cloud-init-state': {
    removed: {
      '/var/lib/cloud/instances/i-old/user-data.txt': ONE,
      '/var/lib/cloud/data/instance-id': ONE,
      '/etc/ssh/sshd_config.d/50-cloud-init.conf': 'PasswordAuthentication yes\n',
      '/etc/netplan/50-cloud-init.yaml': 'network: {version: 2}\n',
    },
    kept: {
      '/var/lib/cloud/seed/nocloud/meta-data': ONE,
      '/etc/netplan/01-mine.yaml': ONE,
      '/usr/bin/cloud-init': ONE,
    },
  },
  'crash-data': { removed: { '/var/crash/127.0.0.1-2024/vmcore': ONE }, kept: {} },
  'crash-dumps': {
    removed: { '/var/lib/systemd/coredump/core.a.zst': ONE },
    kept: { '/var/lib/systemd/timers/a': '' },
  },
  'cron-spool': {
    removed: {
      '/var/spool/cron/crontabs/debian': ONE,
      '/var/spool/cron/atjobs/a0001': ONE,
      '/var/spool/at/a1': ONE,
    },
    kept: { '/etc/crontab': ONE },
  },
  'credential-secret': { removed: { '/var/lib/systemd/credential.secret': ONE }, kept: {} },
  'dhcp-client-state': {
    removed: { '/var/lib/dhcp/dhclient.eth0.leases': ONE, '/var/lib/dhclient/a.lease': ONE },
    kept: {},
  },
  'dhcp-leases': {
    removed: {
      '/var/lib/NetworkManager/internal-1-eth0.lease': ONE,
      '/var/lib/NetworkManager/secret_key': ONE,
      '/var/lib/wicked/duid.xml': ONE,
    },
    kept: { '/var/lib/NetworkManager/NetworkManager-intern.conf': ONE },
  },
  'dhcp-server-state': { removed: { '/var/lib/dhcpd/dhcpd.leases': ONE }, kept: {} },
  'dovecot-data': {
    removed: { '/var/lib/dovecot/instances': ONE },
    kept: { '/var/lib/dovecot/folder/a': ONE },
  },
  'firewall-rules': {
    removed: { '/etc/sysconfig/iptables': ONE, '/etc/firewalld/zones/public.xml': ONE },
    kept: { '/etc/firewalld/firewalld.conf': ONE },
  },
  'home-history': {
    removed: { '/root/.viminfo': ONE, '/home/debian/.python_history': ONE, '/srv/git/.lesshst': ONE },
    kept: { '/home/debian/.vimrc': ONE },
  },
  'ipa-client': { removed: { '/etc/ipa/ca.crt': ONE }, kept: { '/etc/ipa/other': ONE } },
  'kerberos-data': {
    removed: { '/var/kerberos/krb5kdc/principal': ONE },
    kept: { '/var/kerberos/krb5kdc/kdc.conf': ONE },
  },
  'kerberos-hostkeytab': { removed: { '/etc/krb5.keytab': ONE }, kept: {} },
  'logfiles-rest': {
    removed: { '/var/log/nginx/access.1.gz': ONE, '/var/log/postgresql/a-20240131': ONE },
    kept: { '/var/log/README': ONE, '/var/log/nginx/README.md': ONE },
  },
  logfiles: {
    removed: {
      '/var/log/syslog': ONE,
      '/var/log/syslog.2.gz': ONE,
      '/var/log/auth.log.1': ONE,
      '/var/log/journal/0123456789abcdef0123456789abcdef/system.journal': ONE,
      '/var/log/apt/term.log': ONE,
      '/root/anaconda-ks.cfg': ONE,
      '/var/cache/man/index.db': ONE,
    },
    kept: { '/root/mine.cfg': ONE, '/etc/logrotate.conf': ONE },
  },
  'lvm-system-devices': {
    removed: { '/etc/lvm/devices/system.devices': ONE },
    kept: { '/etc/lvm/lvm.conf': ONE },
  },
  'mail-spool': {
    removed: { '/var/mail/debian': ONE, '/var/spool/mail/root': ONE },
    kept: { '/var/spool/postfix/a': ONE },
  },
  'net-nmconn': {
    removed: {
      '/etc/NetworkManager/system-connections/eth0.nmconnection': ONE,
      '/etc/NetworkManager/system-connections/Wired 1': '[connection]\ntype=ethernet\n',
    },
    kept: {
      '/etc/NetworkManager/NetworkManager.conf': ONE,
      '/etc/NetworkManager/system-connections/README': ONE,
    },
  },
  'package-manager-cache': {
    removed: {
      '/var/cache/apt/archives/a_1_amd64.deb': ONE,
      '/var/cache/dnf/x/packages/a.rpm': ONE,
      '/var/cache/libdnf5/a/b': ONE,
      '/var/cache/zypp/raw/a': ONE,
    },
    kept: { '/var/cache/apt/archives/lock': '', '/var/cache/ldconfig/aux-cache': ONE },
  },
  'pacct-log': {
    removed: { '/var/log/account/pacct.1.gz': ONE, '/var/account/pacct-20240101': ONE },
    kept: { '/var/account/pacct': '' },
  },
  'pam-data': { removed: { '/var/run/faillock/root': ONE }, kept: {} },
  'passwd-backups': { removed: { '/etc/passwd-': ONE, '/etc/shadow-': ONE, '/etc/subuid-': ONE }, kept: {} },
  'puppet-data-log': {
    removed: { '/var/lib/puppet/ssl/a.pem': ONE, '/var/log/puppet/a.log': ONE },
    kept: {},
  },
  'random-seed': {
    removed: { '/var/lib/systemd/random-seed': ONE, '/var/lib/urandom/random-seed': ONE },
    kept: {},
  },
  'rh-subscription-manager': { removed: { '/etc/pki/consumer/cert.pem': ONE }, kept: {} },
  'rhn-systemid': {
    removed: { '/etc/sysconfig/rhn/systemid': ONE },
    kept: { '/etc/sysconfig/rhn/up2date': ONE },
  },
  'rpm-db': {
    removed: { '/var/lib/rpm/__db.001': ONE },
    kept: { '/var/lib/rpm/rpmdb.sqlite': ONE, '/var/lib/rpm/Packages': ONE },
  },
  'samba-db-log': {
    removed: {
      '/var/lib/samba/secrets.tdb': ONE,
      '/var/lib/samba/private/a.tdb': ONE,
      '/var/log/samba/log.smbd': ONE,
    },
    kept: {},
  },
  'smolt-uuid': { removed: { '/etc/smolt/hw-uuid': ONE }, kept: {} },
  'ssh-hostkeys': {
    removed: { '/etc/ssh/ssh_host_rsa_key': ONE, '/etc/ssh/ssh_host_ed25519_key.pub': ONE },
    kept: { '/etc/ssh/moduli': ONE, '/etc/ssh/ssh_known_hosts': ONE },
  },
  'ssh-userdir': {
    removed: {
      '/root/.ssh/authorized_keys': ONE,
      '/home/debian/.ssh/id_rsa': ONE,
      '/srv/git/.ssh/authorized_keys': ONE,
      '/home/ldap/.ssh/known_hosts': ONE,
    },
    kept: { '/home/debian/.profile': ONE },
  },
  'sssd-db-log': { removed: { '/var/lib/sss/db/cache.ldb': ONE }, kept: {} },
  'tmp-files': { removed: { '/tmp/.X11-unix/X0': ONE, '/tmp/a': ONE, '/var/tmp/b/c': ONE }, kept: {} },
  'tool-ids': {
    removed: { '/etc/salt/minion_id': ONE, '/var/lib/dnf/repos/a-1/countme': ONE },
    kept: { '/etc/salt/minion': ONE },
  },
  'udev-persistent-net': {
    removed: { '/etc/udev/rules.d/70-persistent-net.rules': ONE },
    kept: { '/etc/udev/rules.d/70-mine.rules': ONE },
  },
  utmp: { removed: { '/var/run/utmp': ONE }, kept: {} },
  'yum-uuid': { removed: { '/var/lib/yum/uuid': ONE }, kept: {} },
  'zsh-history': { removed: { '/root/.zsh_history': ONE, '/home/debian/.zsh_history': ONE }, kept: {} },
}

const every = (which: keyof Residue) =>
  Object.assign({}, ...Object.values(RESIDUE).map(one => one[which])) as Record<string, string>

/** All of it, and what is not removed but changed. */
export const residue: Readonly<Record<string, string>> = {
  ...every('kept'),
  ...every('removed'),
  '/etc/machine-id': 'ac2d0845a50746259f7308c91042204d\n',
  '/var/lib/dbus/machine-id': 'ac2d0845a50746259f7308c91042204d\n',
  '/var/log/lastlog2-like': ONE,
  '/var/spool/cron/atjobs/.SEQ': '0001f\n',
  '/var/account/pacct': 'binary',
}
