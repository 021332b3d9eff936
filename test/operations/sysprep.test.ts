import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/guests/index.ts'
import { families } from '../../native-fixtures/phony-guests.ts'
import { RESIDUE, residue } from '../../native-fixtures/sysprep-residue.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import { write } from '../../src/operations/file-content.ts'
import { hostname } from '../../src/operations/hostname.ts'
import type { Change } from '../../src/operations/operation.ts'
import { chooseTasks } from '../../src/operations/sysprep/choose.ts'
import { sysprepTasks } from '../../src/operations/sysprep/index.ts'
import { runSysprep, type SysprepArguments } from '../../src/operations/sysprep/run.ts'
import { propertySettings } from '../support/native.ts'
import { memoryGuest, text, watched } from './support/operations.ts'

const PASSWD = {
  '/etc/passwd':
    'root:x:0:0:root:/root:/bin/bash\ndebian:x:1000:1000::/home/debian:/bin/bash\ngit:x:998:998::/srv/git:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n',
}

async function changesOf(guest: GuestFs, args: SysprepArguments): Promise<Change[]> {
  return (await runSysprep(guest, args)).flatMap(report => report.changes)
}

/** Once, and again: the second time nothing changes. */
async function twice(guest: GuestFs, args: SysprepArguments = {}): Promise<Change[]> {
  const changes = await changesOf(guest, args)
  const again = watched(guest)
  expect(await changesOf(again.guest, args)).toEqual([])
  expect(again.writes).toEqual([])
  return changes
}

/** What the defaults remove and is still there. The home of git is none where passwd does not name it. */
async function leftOvers(guest: GuestFs): Promise<string[]> {
  const left: string[] = []
  for (const { task } of chooseTasks())
    for (const path of Object.keys(RESIDUE[task.name]?.removed ?? {}))
      if (!path.startsWith('/srv/git') && (await guest.exists(path))) left.push(path)
  return left
}

describe('each operation of sysprep', () => {
  for (const [name, { removed, kept }] of Object.entries(RESIDUE))
    it(`${name} removes what is its own, and no more`, async () => {
      const guest = await memoryGuest({ ...PASSWD, ...residue, ...kept, ...removed })
      await twice(guest, { operations: [name] })
      for (const path of Object.keys(removed)) expect(await guest.exists(path), path).toBe(false)
      for (const [path, content] of Object.entries(kept)) expect(await text(guest, path), path).toBe(content)
    })

  it('is tested', () => {
    const others = [
      'customize',
      'etc-hosts',
      'flag-reconfiguration',
      'fs-uuids',
      'iscsi-initiator',
      'lvm-uuids',
      'machine-id',
    ]
    const elsewhere = [
      ...others,
      'net-hostname',
      'net-hwaddr',
      'net-unpin',
      'net-uuid',
      'script',
      'user-account',
    ]
    const names = sysprepTasks.map(task => task.name)
    expect(names.filter(name => !(name in RESIDUE) && !elsewhere.includes(name))).toEqual([])
  })
})

describe('sysprep', () => {
  for (const name of Object.keys(phonyGuests) as PhonyGuestName[])
    it(`changes nothing the second time: ${name}`, async () => {
      const guest = await phonyGuest(name)
      await twice(guest)
      expect((await guest.stat('/etc').catch(() => undefined))?.isDirectory()).toBe(true)

      const lived = await phonyGuest(name, residue)
      const changes = await twice(lived)
      expect(changes.length).toBeGreaterThan(50)
      expect(await text(lived, '/etc/machine-id')).toBe('')
      expect(await lived.exists('/var/lib/dbus/machine-id')).toBe(false)
      expect(await leftOvers(lived)).toEqual([])
    })

  it('does on a folder of the host what it does in memory', async () => {
    const top = mkdtempSync(join(tmpdir(), 'drydisk-sysprep-'))
    try {
      const files = { ...residue, ...families.debian }
      for (const [path, content] of Object.entries(files)) {
        mkdirSync(dirname(join(top, path)), { recursive: true })
        writeFileSync(join(top, path), content)
      }
      const changes = await twice(new HostFolderGuest(top, { writable: true }))
      const same = await changesOf(await memoryGuest(files), {})
      expect(changes).toEqual(same)
    } finally {
      rmSync(top, { recursive: true, force: true })
    }
  })

  it('has the operations of virt-sysprep, and its defaults', () => {
    const off = [
      'ca-certificates',
      'firewall-rules',
      'flag-reconfiguration',
      'fs-uuids',
      'kerberos-data',
      'user-account',
    ]
    expect(sysprepTasks.filter(task => !task.byDefault).map(task => task.name)).toEqual(off)
    const theirs =
      'abrt-data backup-files bash-history blkid-tab ca-certificates crash-data cron-spool customize dhcp-client-state dhcp-server-state dovecot-data firewall-rules flag-reconfiguration fs-uuids ipa-client kerberos-data kerberos-hostkeytab logfiles lvm-system-devices lvm-uuids machine-id mail-spool net-hostname net-hwaddr net-nmconn pacct-log package-manager-cache pam-data passwd-backups puppet-data-log rh-subscription-manager rhn-systemid rpm-db samba-db-log script smolt-uuid ssh-hostkeys ssh-userdir sssd-db-log tmp-files udev-persistent-net user-account utmp yum-uuid zsh-history'
    expect(
      sysprepTasks
        .filter(task => !task.ours)
        .map(task => task.name)
        .join(' '),
    ).toBe(theirs)
  })

  it('net-hwaddr leaves a file that still is for its interface', async () => {
    const folder = '/etc/sysconfig/network-scripts'
    const guest = await memoryGuest({
      [`${folder}/ifcfg-eth0`]: 'HWADDR=52:54:00:00:00:01\nMACADDR=52:54:00:00:00:02\nBOOTPROTO=dhcp\n',
      [`${folder}/ifcfg-eth1`]: 'DEVICE=eth1\nHWADDR="52:54:00:00:00:03"\n',
    })
    await twice(guest, { operations: ['net-hwaddr'] })
    expect(await text(guest, `${folder}/ifcfg-eth0`)).toBe(
      'MACADDR=52:54:00:00:00:02\nBOOTPROTO=dhcp\nDEVICE=eth0\n',
    )
    expect(await text(guest, `${folder}/ifcfg-eth1`)).toBe('DEVICE=eth1\n')
  })

  it('empties the machine ID last, whatever an edit wrote', async () => {
    const guest = await memoryGuest({ ...residue, ...families.debian })
    const reports = await runSysprep(guest, {
      customize: [
        fs => write.run(fs, { path: '/etc/machine-id', content: 'f'.repeat(32) }),
        fs => hostname.run(fs, { hostname: 'web1' }),
        fs => write.run(fs, { path: '/tmp/kept', content: 'made after the removals' }),
      ],
    })
    expect(await text(guest, '/etc/machine-id')).toBe('')
    expect(await text(guest, '/etc/hostname')).toBe('web1\n')
    expect(await guest.exists('/tmp/kept')).toBe(true)
    expect(reports.at(-1)?.operation).toBe('machine-id')
  })

  it('keeps the machine ID a file, and the mode and link that it has', async () => {
    const guest = await memoryGuest({
      '/var/lib/dbus/machine-id': 'a'.repeat(32),
      '/usr/lib/systemd/systemd': '',
    })
    await guest.mkdir('/etc')
    await guest.symlink('/var/lib/dbus/machine-id', '/etc/machine-id')
    await twice(guest, { operations: ['machine-id'] })
    expect((await guest.lstat('/etc/machine-id')).isSymbolicLink()).toBe(true)
    expect(await text(guest, '/etc/machine-id')).toBe('')

    const linked = await memoryGuest({ '/etc/machine-id': 'a'.repeat(32), '/var/lib/dbus/x': '' })
    await linked.chmod('/etc/machine-id', 0o444)
    await linked.symlink('/etc/machine-id', '/var/lib/dbus/machine-id')
    await twice(linked, { operations: ['machine-id'] })
    expect((await linked.lstat('/etc/machine-id')).mode & 0o777).toBe(0o444)
    expect((await linked.lstat('/var/lib/dbus/machine-id')).isSymbolicLink()).toBe(true)

    const missing = await memoryGuest({ '/usr/lib/systemd/systemd': '', '/etc/x': '' })
    await twice(missing, { operations: ['machine-id'] })
    expect((await missing.stat('/etc/machine-id')).mode & 0o777).toBe(0o444)

    const sysv = await memoryGuest({ '/etc/inittab': '' })
    await twice(sysv, { operations: ['machine-id'] })
    expect(await sysv.exists('/etc/machine-id')).toBe(false)
  })

  it('says how much it removed, and reports hard links', async () => {
    const guest = await memoryGuest({
      '/var/log/syslog': 'four',
      '/var/log/journal/a/system.journal': '12345',
      '/var/log/journal/a/u': '',
    })
    await guest.link('/var/log/syslog', '/root-copy')
    const [journal, syslog] = await twice(guest, { operations: ['logfiles'] })
    expect(journal).toMatchObject({
      setting: 'directory',
      before: '2 files, 5 bytes',
      after: null,
      file: '/var/log/journal/a',
    })
    expect(syslog).toMatchObject({ setting: 'file', before: '4 bytes', after: null, file: '/var/log/syslog' })
    expect(syslog?.note).toMatch(/2 names/)
    expect(await text(guest, '/root-copy')).toBe('four')
  })
})

describe('what sysprep does not cross', () => {
  it('is a symlink out of its place', async () => {
    const guest = await memoryGuest({
      ...PASSWD,
      '/etc/important': 'x',
      '/srv/data/.bash_history': 'x',
      '/var/log/a.log': 'x',
    })
    await guest.symlink('/etc', '/var/log/journal')
    await guest.symlink('../../etc', '/var/log/nginx')
    await guest.mkdir('/var/lib/samba', { recursive: true })
    await guest.symlink('/etc', '/var/lib/samba/private')
    await guest.mkdir('/var/spool/cron', { recursive: true })
    await guest.symlink('/etc', '/var/spool/cron/crontabs')
    await guest.mkdir('/home')
    await guest.symlink('/srv/data', '/home/linked')
    const reports = await runSysprep(guest)
    expect(await text(guest, '/etc/important')).toBe('x')
    expect(await guest.exists('/srv/data/.bash_history')).toBe(true)
    expect(await guest.exists('/var/log/a.log')).toBe(false)
    expect(await guest.exists('/var/spool/cron/crontabs')).toBe(true)
    expect(reports.find(report => report.operation === 'logfiles')?.warnings.join()).toMatch(
      /\/var\/log\/journal is a symlink/,
    )
  })

  it('is not the layout of a distribution', async () => {
    const guest = await memoryGuest({
      '/run/utmp': 'x',
      '/var/roothome/.bash_history': 'x',
      '/data/log/syslog': 'x',
      '/var/spool/mail/a': 'x',
    })
    await guest.symlink('/run', '/var/run')
    await guest.symlink('var/roothome', '/root')
    await guest.symlink('/data/log', '/var/log')
    await guest.symlink('spool/mail', '/var/mail')
    await twice(guest)
    for (const path of ['/run/utmp', '/var/roothome/.bash_history', '/data/log/syslog', '/var/spool/mail/a'])
      expect(await guest.exists(path), path).toBe(false)
    expect(await guest.exists('/var/mail')).toBe(true)
  })

  it('is the system behind a symlink of the layout', async () => {
    const guest = await memoryGuest({ '/etc/passwd': PASSWD['/etc/passwd'], '/usr/x': 'x' })
    await guest.symlink('/', '/tmp')
    await guest.mkdir('/var')
    await guest.symlink('/usr', '/var/tmp')
    await runSysprep(guest)
    expect(await guest.exists('/usr/x')).toBe(true)
    expect(await guest.exists('/etc/passwd')).toBe(true)
  })

  it('is a link to /dev/null in place of rules', async () => {
    const guest = await memoryGuest({ '/etc/udev/rules.d/x.rules': '' })
    await guest.symlink('/dev/null', '/etc/udev/rules.d/70-persistent-net.rules')
    await twice(guest)
    expect((await guest.lstat('/etc/udev/rules.d/70-persistent-net.rules')).isSymbolicLink()).toBe(true)
  })

  it('takes names that are not UTF-8, and folders named like patterns', async () => {
    const guest = await memoryGuest({ '/tmp/[a]/b': 'x', '/var/log/*.log': 'x', '/var/log/x': 'y' })
    const odd = new Uint8Array([...new TextEncoder().encode('/tmp/'), 0xff, 0x2a])
    await guest.writeFile(odd, 'x')
    const changes = await twice(guest)
    expect(await guest.exists(odd)).toBe(false)
    expect(changes.map(change => change.file)).toContain('/tmp/\\xff*')
    expect(await text(guest, '/var/log/x')).toBe('')
  })
})

/** Places that operations look at, and that links are put into and pointed to. */
const PLACES = [
  '/var/log',
  '/var/log/journal',
  '/var/log/nginx',
  '/var/lib/samba',
  '/var/lib/puppet',
  '/var/lib/puppet/a',
  '/var/spool/cron',
  '/var/spool/at',
  '/var/mail',
  '/var/spool/mail',
  '/var/run',
  '/tmp',
  '/var/tmp',
  '/var/cache/apt/archives',
  '/var/lib/apt/lists',
  '/var/lib/cloud',
  '/var/crash',
  '/etc/ssh',
  '/etc/NetworkManager/system-connections',
  '/home/u',
  '/home/u/.ssh',
  '/root',
  '/root/.ssh',
  '/srv',
  '/etc/udev/rules.d',
  '/boot',
  '/usr',
  '/opt/app',
  '/',
]

describe('whatever links there are', () => {
  it('files of the system and of applications stay, and a second run changes nothing', async () => {
    const place = fc.constantFrom(...PLACES)
    const link = fc.record({
      at: place,
      name: fc.constantFrom('', '/x', '/journal', '/.bash_history', '/a.log', '/.ssh'),
      to: place,
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(link, { maxLength: 8 }),
        fc.array(place, { maxLength: 6 }),
        async (links, files) => {
          const kept = [
            '/usr/bin/tool',
            '/boot/vmlinuz',
            '/opt/app/data.log',
            '/etc/fstab',
            '/etc/ssh/sshd_config',
          ]
          const guest = await memoryGuest(Object.fromEntries(kept.map(path => [path, 'x'])))
          for (const { at, name, to } of links) {
            const path = `${at === '/' ? '' : at}${name}`
            await guest.mkdir(path.slice(0, path.lastIndexOf('/')) || '/', { recursive: true }).catch(ignored)
            await guest.symlink(to, path).catch(ignored)
          }
          for (const folder of files) {
            await guest.mkdir(folder, { recursive: true }).catch(ignored)
            await guest.writeFile(`${folder}/f`, 'x').catch(ignored)
          }
          await twice(guest)
          for (const path of kept) expect(await guest.exists(path), path).toBe(true)
        },
      ),
      propertySettings(60),
    )
  })
})

function ignored(error: unknown): void {
  if (!isDrydiskError(error)) throw error
}

describe('ssh-hostkeys', () => {
  const keys = { '/etc/ssh/ssh_host_rsa_key': 'k', '/etc/ssh/sshd_config': '', '/usr/sbin/sshd': '' }
  const debian = { ...keys, '/etc/os-release': 'ID=debian\n' }
  const unit = '/etc/systemd/system/drydisk-ssh-host-keys.service'

  it('adds a unit where nothing would make new keys', async () => {
    const guest = await memoryGuest({ ...debian, '/usr/lib/systemd/system/ssh.service': '[Unit]\n' })
    const changes = await twice(guest, { operations: ['ssh-hostkeys'] })
    expect(changes.map(change => change.file)).toEqual([
      '/etc/ssh/ssh_host_rsa_key',
      unit,
      `/etc/systemd/system/multi-user.target.wants/drydisk-ssh-host-keys.service`,
    ])
    expect(await text(guest, unit)).toContain('ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key')
  })

  it('adds none where the guest has one, and none to other families', async () => {
    for (const files of [
      {
        ...debian,
        '/usr/lib/systemd/system/ssh.service': '',
        '/usr/lib/systemd/system/sshd-keygen.service': '',
      },
      {
        ...keys,
        '/etc/os-release': 'ID=rocky\nID_LIKE="rhel"\n',
        '/usr/lib/systemd/system/sshd.service': '',
      },
      { '/etc/os-release': 'ID=debian\n', '/usr/lib/systemd/system/x.service': '' },
    ]) {
      const guest = await memoryGuest(files)
      await twice(guest, { operations: ['ssh-hostkeys'] })
      expect(await guest.exists(unit)).toBe(false)
    }
  })

  it('says so where it cannot', async () => {
    const [report] = await runSysprep(await memoryGuest(debian), { operations: ['ssh-hostkeys'] })
    expect(report?.warnings.join()).toMatch(/ssh-keygen -A/)
  })
})

describe('settings that sysprep edits', () => {
  it('are variables of ifcfg files, whose other lines stay', async () => {
    const path = '/etc/sysconfig/network-scripts/ifcfg-eth0'
    const before =
      '# c\nDEVICE=eth0\nHWADDR="52:54:00:00:00:01"\nUUID=5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03\nHOSTNAME=old\nONBOOT=yes\n'
    const guest = await memoryGuest({
      [path]: before,
      '/etc/sysconfig/network-scripts/ifcfg-lo': 'DEVICE=lo\n',
    })
    const changes = await twice(guest)
    expect(await text(guest, path)).toBe('# c\nDEVICE=eth0\nONBOOT=yes\n')
    expect(changes.map(change => [change.setting, change.before])).toEqual([
      ['HOSTNAME', 'old'],
      ['HWADDR of eth0', '52:54:00:00:00:01'],
      ['UUID', '5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03'],
    ])
  })

  it('are MAC addresses, wherever a network is configured', async () => {
    const guest = await memoryGuest({
      '/etc/netplan/01-mine.yaml':
        'network:\n  version: 2\n  ethernets:\n    eth0:\n      match: {macaddress: "52:54:00:00:00:01"}\n      set-name: eth0\n      dhcp4: true\n',
      '/etc/systemd/network/10-eth.network':
        '[Match]\nMACAddress=52:54:00:00:00:01\nName=eth0\n\n[Network]\nDHCP=yes\n',
    })
    await twice(guest)
    for (const path of ['/etc/netplan/01-mine.yaml', '/etc/systemd/network/10-eth.network'])
      expect(await text(guest, path)).not.toContain('52:54')
    expect(await text(guest, '/etc/systemd/network/10-eth.network')).toContain('Name=eth0')
  })

  it('say so where NetworkManager would be left without a profile', async () => {
    const profile = { '/etc/NetworkManager/system-connections/eth0.nmconnection': '[connection]\n' }
    const config = { '/usr/lib/NetworkManager/conf.d/00-server.conf': '[main]\nno-auto-default=*\n' }
    const warnings = async (files: Record<string, string>) =>
      (await runSysprep(await memoryGuest(files), { operations: ['net-nmconn'] })).flatMap(
        report => report.warnings,
      )
    expect((await warnings({ ...profile, ...config })).join()).toMatch(/00-server\.conf/)
    expect(await warnings(profile)).toEqual([])
    expect(await warnings(config)).toEqual([])
  })

  it('do not stop at a file that is damaged', async () => {
    const guest = await memoryGuest({ ...residue, '/etc/netplan/02-broken.yaml': 'network: {a: [\n  - "x' })
    await twice(guest)
    expect(await guest.exists('/root/.bash_history')).toBe(false)
  })

  it("are the guest's own addresses in /etc/hosts", async () => {
    const guest = await memoryGuest({
      '/etc/hostname': 'web.example.org\n',
      '/etc/hosts':
        '127.0.0.1 localhost\n127.0.1.1 web.example.org web\n10.0.0.5\tweb.example.org web\n10.0.0.6 db # web\n::1 localhost\n',
    })
    await twice(guest, { operations: ['etc-hosts'] })
    expect(await text(guest, '/etc/hosts')).toBe(
      '127.0.0.1 localhost\n127.0.1.1 web.example.org web\n10.0.0.6 db # web\n::1 localhost\n',
    )
  })

  it('are the name of an iSCSI initiator', async () => {
    const files = { '/etc/iscsi/initiatorname.iscsi': '## c\nInitiatorName=iqn.1993-08.org.debian:01:abc\n' }
    const debian = await memoryGuest({ ...files, '/etc/os-release': 'ID=debian\n' })
    await twice(debian)
    expect(await text(debian, '/etc/iscsi/initiatorname.iscsi')).toBe('## c\nGenerateName=yes\n')
    const rhel = await memoryGuest({ ...files, '/etc/os-release': 'ID=rhel\n' })
    await twice(rhel)
    expect(await rhel.exists('/etc/iscsi/initiatorname.iscsi')).toBe(false)
  })

  it('leave what cloud-init wrote where it does not run', async () => {
    const guest = await memoryGuest({ ...residue, '/etc/cloud/cloud-init.disabled': '' })
    await twice(guest)
    expect(await guest.exists('/etc/netplan/50-cloud-init.yaml')).toBe(true)
    expect(await guest.exists('/var/lib/cloud/data')).toBe(false)
  })
})

describe('user-account', () => {
  const files = {
    '/etc/passwd':
      'root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\nsvc:x:200:200::/var/lib/svc:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n',
    '/etc/shadow': 'root:*:1::::::\nana:!:1::::::\nbob:!:1::::::\nsvc:!:1::::::\n',
    '/etc/group': 'root:x:0:\nadm:x:4:ana,bob\nana:x:1000:\nbob:x:1001:\nsvc:x:200:\n',
    '/home/ana/a': 'x',
    '/home/bob/b': 'x',
    '/var/lib/svc/c': 'x',
  }
  const guestOf = async () => {
    const guest = await memoryGuest(files)
    await guest.chown('/home/ana', 1000, 1000)
    await guest.chown('/home/bob', 1001, 1001)
    return guest
  }

  it('removes people, and neither root nor services', async () => {
    const guest = await guestOf()
    await twice(guest, { operations: ['user-account'] })
    expect(await text(guest, '/etc/passwd')).toBe(
      'root:x:0:0::/root:/bin/sh\nsvc:x:200:200::/var/lib/svc:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n',
    )
    expect(await text(guest, '/etc/group')).toBe('root:x:0:\nadm:x:4:\nsvc:x:200:\n')
    expect(await guest.exists('/home/ana')).toBe(false)
    expect(await guest.exists('/var/lib/svc/c')).toBe(true)
  })

  it('keeps and removes by name', async () => {
    const kept = await guestOf()
    await twice(kept, { operations: ['user-account'], keepUserAccounts: ['ana'] })
    expect([await kept.exists('/home/ana'), await kept.exists('/home/bob')]).toEqual([true, false])
    const removed = await guestOf()
    await twice(removed, { operations: ['user-account'], removeUserAccounts: ['ana'] })
    expect([await removed.exists('/home/ana'), await removed.exists('/home/bob')]).toEqual([false, true])
    await expect(runSysprep(removed, { removeUserAccounts: ['bob'] })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    })
  })
})

describe('the choice of operations', () => {
  const names = (...lists: string[]) => chooseTasks(lists).map(({ task }) => task.name)

  it('is read as virt-sysprep reads it', () => {
    const defaults = chooseTasks().map(({ task }) => task.name)
    expect(names('defaults')).toEqual(defaults)
    expect(names('ssh-hostkeys,udev-persistent-net')).toEqual(['ssh-hostkeys', 'udev-persistent-net'])
    expect(names('firewall-rules,defaults,-tmp-files')).toEqual(
      [...defaults, 'firewall-rules'].filter(name => name !== 'tmp-files').sort(),
    )
    expect(names('defaults', '-logfiles')).toEqual(defaults.filter(name => name !== 'logfiles'))
    expect(names('all,-defaults,-user-account')).toEqual([
      'ca-certificates',
      'firewall-rules',
      'flag-reconfiguration',
      'fs-uuids',
      'kerberos-data',
    ])
  })

  it('refuses what is unknown by name', () => {
    expect(() => names('nonsense')).toThrow(/no operation "nonsense"/)
    expect(names('defaults,-fs-uuids')).toEqual(names('defaults'))
  })
})
