/** Account databases as installers leave them: passwd(5), shadow(5), group(5), gshadow(5), login.defs(5), sudoers(5). */

/** Of Debian and Ubuntu: shadow groups, `!` for an account with no password yet. */
export function debianAccounts(user: string, gecos: string) {
  return {
    '/etc/passwd': `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
systemd-network:x:998:998:systemd Network Management:/:/usr/sbin/nologin
sshd:x:102:65534::/run/sshd:/usr/sbin/nologin
${user}:x:1000:1000:${gecos}:/home/${user}:/bin/bash
`,
    '/etc/shadow': `root:*:19000:0:99999:7:::
daemon:*:19000:0:99999:7:::
sys:*:19000:0:99999:7:::
www-data:*:19000:0:99999:7:::
nobody:*:19000:0:99999:7:::
systemd-network:!*:19000::::::
sshd:!:19000::::::
${user}:!:19000:0:99999:7:::
`,
    '/etc/group': `root:x:0:
daemon:x:1:
adm:x:4:${user}
sudo:x:27:${user}
shadow:x:42:
users:x:100:
nogroup:x:65534:
systemd-network:x:998:
${user}:x:1000:
`,
    '/etc/gshadow': `root:*::
daemon:*::
adm:*::${user}
sudo:*::${user}
shadow:*::
users:*::
nogroup:*::
systemd-network:!*::
${user}:!::
`,
    '/etc/login.defs': `MAIL_DIR        /var/mail
PASS_MAX_DAYS	99999
PASS_MIN_DAYS	0
PASS_WARN_AGE	7
UID_MIN			 1000
UID_MAX			60000
SYS_UID_MIN		  100
SYS_UID_MAX		  999
GID_MIN			 1000
GID_MAX			60000
USERGROUPS_ENAB yes
UMASK		022
HOME_MODE	0700
ENCRYPT_METHOD YESCRYPT
`,
    '/etc/shells': '# /etc/shells: valid login shells\n/bin/sh\n/bin/bash\n/usr/bin/bash\n',
    '/etc/sudoers': `Defaults	env_reset
Defaults	mail_badpass
root	ALL=(ALL:ALL) ALL
%sudo	ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
`,
    '/etc/sudoers.d/README':
      '# As of Debian version 1.7.2p1-1, the default /etc/sudoers file includes this folder.\n',
    '/etc/skel/.bashrc': '# ~/.bashrc: executed by bash(1) for non-login shells.\n',
    '/etc/skel/.profile': '# ~/.profile: executed by the command interpreter for login shells.\n',
    '/etc/skel/.bash_logout': '# ~/.bash_logout: executed by bash(1) when login shell exits.\n',
    '/root/.profile': '',
    [`/home/${user}/.profile`]: '',
  }
}

/** Of the RHEL family: `!!` for an account with no password yet, wheel. */
export function redHatAccounts(user: string, shadowMethod: 'SHA512' | 'YESCRYPT' = 'SHA512') {
  return {
    '/etc/passwd': `root:x:0:0:root:/root:/bin/bash
bin:x:1:1:bin:/bin:/sbin/nologin
daemon:x:2:2:daemon:/sbin:/sbin/nologin
nobody:x:65534:65534:Kernel Overflow User:/:/sbin/nologin
sshd:x:74:74:Privilege-separated SSH:/usr/share/empty.sshd:/usr/sbin/nologin
chrony:x:996:993:chrony system user:/var/lib/chrony:/sbin/nologin
${user}:x:1000:1000:Cloud User:/home/${user}:/bin/bash
`,
    '/etc/shadow': `root:*:19000:0:99999:7:::
bin:*:19000:0:99999:7:::
daemon:*:19000:0:99999:7:::
nobody:*:19000:0:99999:7:::
sshd:!!:19000::::::
chrony:!!:19000::::::
${user}:!!:19000:0:99999:7:::
`,
    '/etc/group': `root:x:0:
bin:x:1:
daemon:x:2:
adm:x:4:${user}
wheel:x:10:${user}
systemd-journal:x:190:${user}
users:x:100:
nobody:x:65534:
sshd:x:74:
chrony:x:993:
${user}:x:1000:
`,
    '/etc/gshadow': `root:::
bin:::
daemon:::
adm:::${user}
wheel:::${user}
systemd-journal:!::${user}
users:::
nobody:::
sshd:!::
chrony:!::
${user}:!::
`,
    '/etc/login.defs': `MAIL_DIR	/var/spool/mail
UMASK		022
HOME_MODE	0700
PASS_MAX_DAYS	99999
PASS_MIN_DAYS	0
PASS_WARN_AGE	7
UID_MIN                  1000
UID_MAX                 60000
SYS_UID_MIN               201
SYS_UID_MAX               999
GID_MIN                  1000
GID_MAX                 60000
CREATE_HOME	yes
USERGROUPS_ENAB yes
ENCRYPT_METHOD ${shadowMethod}
`,
    '/etc/default/useradd':
      'GROUP=100\nHOME=/home\nINACTIVE=-1\nEXPIRE=\nSHELL=/bin/bash\nSKEL=/etc/skel\nCREATE_MAIL_SPOOL=yes\n',
    '/etc/shells': '/bin/sh\n/bin/bash\n/usr/bin/sh\n/usr/bin/bash\n',
    '/etc/sudoers': `Defaults   !visiblepw
Defaults    always_set_home
Defaults    env_reset
root	ALL=(ALL) 	ALL
%wheel	ALL=(ALL)	ALL
#includedir /etc/sudoers.d
`,
    '/etc/skel/.bashrc': '# .bashrc\n',
    '/etc/skel/.bash_profile': '# .bash_profile\n',
    '/etc/skel/.bash_logout': '# ~/.bash_logout\n',
    '/root/.bash_profile': '# .bash_profile\n',
    [`/home/${user}/.bash_profile`]: '# .bash_profile\n',
  }
}

/** Of SUSE: `users` as everybody's group. */
export function suseAccounts() {
  return {
    '/etc/passwd': `root:x:0:0:root:/root:/bin/bash
bin:x:1:1:bin:/bin:/usr/sbin/nologin
daemon:x:2:2:Daemon:/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/var/lib/nobody:/bin/bash
sshd:x:481:481:SSH daemon:/var/lib/sshd:/usr/sbin/nologin
`,
    '/etc/shadow': `root:*:19000::::::
bin:!:19000::::::
daemon:!:19000::::::
nobody:!:19000::::::
sshd:!:19000::::::
`,
    '/etc/group':
      'root:x:0:\nbin:x:1:daemon\ndaemon:x:2:\nwheel:x:474:\nshadow:x:15:\nusers:x:100:\nnobody:x:65533:\nnogroup:x:65534:nobody\nsshd:x:481:\n',
    '/etc/login.defs':
      'PASS_MAX_DAYS	99999\nUID_MIN			 1000\nUID_MAX			60000\nSYS_UID_MIN		  100\nSYS_UID_MAX		  499\nGID_MIN			 1000\nUSERGROUPS_ENAB no\nENCRYPT_METHOD SHA512\n',
    '/etc/default/useradd':
      'GROUP=100\nHOME=/home\nINACTIVE=-1\nEXPIRE=\nSHELL=/bin/bash\nSKEL=/etc/skel\nUSRSKEL=/usr/etc/skel\nCREATE_MAIL_SPOOL=yes\n',
    '/etc/shells': '/bin/bash\n/bin/sh\n/usr/bin/bash\n',
    '/etc/skel/.bashrc': '# Sample .bashrc for SUSE Linux\n',
    '/root/.bash_history': 'zypper in cloud-init\n',
  }
}
