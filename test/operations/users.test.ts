import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { operations } from '../../src/operations/index.ts'
import type { Operation } from '../../src/operations/operation.ts'
import { haveTool, propertySettings, run, temporaryFolder } from '../support/native.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

const LOGIN_DEFS = `# login.defs of shadow-utils
MAIL_DIR	/var/spool/mail
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
SYS_GID_MIN               201
SYS_GID_MAX               999
SUB_UID_MIN		   100000
SUB_UID_MAX		600100000
SUB_UID_COUNT		    65536
USERGROUPS_ENAB yes
`

const files = {
  '/etc/passwd':
    'root:x:0:0:root:/root:/bin/bash\n# a comment\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\nsshd:x:74:74::/:/sbin/nologin\nann:x:1000:1000:Ann:/home/ann:/bin/bash\n+::::::\n',
  '/etc/shadow':
    'root:*:19000:0:99999:7:::\ndaemon:*:19000::::::\nsshd:!:19000::::::\nann:$6$x$y:19000:0:99999:7:::\n',
  '/etc/group':
    'root:x:0:\ndaemon:x:1:\nmail:x:12:\nwheel:x:10:ann\nadm:x:4:\nsshd:x:74:\nann:x:1000:\n+:::\n',
  '/etc/gshadow': 'root:::\ndaemon:::\nmail:::\nwheel:::ann\nadm:::\nsshd:!::\nann:!::\n',
  '/etc/subuid': 'ann:100000:65536\n',
  '/etc/subgid': 'ann:100000:65536\n',
  '/etc/login.defs': LOGIN_DEFS,
  '/etc/default/useradd':
    'GROUP=100\nHOME=/home\nINACTIVE=-1\nEXPIRE=\nSHELL=/bin/bash\nSKEL=/etc/skel\nCREATE_MAIL_SPOOL=yes\n',
  '/etc/skel/.bashrc': '# bashrc\n',
  '/etc/skel/.config/x': '',
  '/etc/passwd-': 'old\n',
  '/etc/shadow-': 'old\n',
  '/etc/shells': '/bin/sh\n/bin/bash\n',
  '/bin/bash': '',
  '/home/ann/.bashrc': '',
  '/var/spool/mail/ann': '',
  '/usr/sbin/nologin': '',
  '/sbin/nologin': '',
}

const guestOf = async (more: Record<string, string | Uint8Array> = {}) => {
  const guest = await memoryGuest({ ...files, ...more })
  await guest.chmod('/etc/shadow', 0)
  await guest.chmod('/etc/gshadow', 0)
  await guest.chmod('/etc/skel/.config', 0o700)
  for (const path of ['/home/ann', '/home/ann/.bashrc']) await guest.chown(path, 1000, 1000)
  return guest
}

const line = async (guest: GuestFs, file: string, name: string) =>
  (await text(guest, file)).split('\n').find(one => one.startsWith(`${name}:`))

/** `pwck -r` and `grpck -r` on copies without comments, which the C library reads past and pwck does not; the messages that are about the tree (homes, shells) are no business of theirs. */
async function checkAccounts(guest: GuestFs): Promise<void> {
  if (!haveTool('pwck')) return
  const root = temporaryFolder()
  for (const file of ['passwd', 'shadow', 'group', 'gshadow'])
    if (await guest.exists(`/etc/${file}`)) {
      mkdirSync(join(root, 'etc'), { recursive: true })
      writeFileSync(join(root, 'etc', file), (await text(guest, `/etc/${file}`)).replace(/^#.*\n/gm, ''))
    }
  const at = (file: string) => join(root, 'etc', file)
  const passwd = await run('pwck', ['-r', '-q', at('passwd'), at('shadow')])
  const about = passwd.stdout
    .split('\n')
    .filter(one => !/directory|program|no matching|no changes|^$/.test(one))
  expect(about, passwd.stdout).toEqual([])
  const group = await run('grpck', ['-r', at('group'), at('gshadow')])
  const problems = group.stdout.split('\n').filter(one => !/no changes|^$|no user|delete member/.test(one))
  expect(problems, group.stdout).toEqual([])
}

describe('user-add', () => {
  it('adds a person as useradd would, in every file, before the NIS lines', async () => {
    const guest = await guestOf()
    const before = await guest.stat('/etc/shadow')
    const report = await runTwice(guest, operations['user-add'], {
      user: 'deploy',
      groups: ['wheel', 'adm'],
      comment: 'Déploy',
    })
    const today = Math.floor(Date.now() / 86_400_000)
    expect(await text(guest, '/etc/passwd')).toBe(
      files['/etc/passwd'].replace('+::::::', 'deploy:x:1001:1001:Déploy:/home/deploy:/bin/bash\n+::::::'),
    )
    expect(await line(guest, '/etc/shadow', 'deploy')).toBe(`deploy:!:${today}:0:99999:7:::`)
    expect(await text(guest, '/etc/group')).toBe(
      'root:x:0:\ndaemon:x:1:\nmail:x:12:\nwheel:x:10:ann,deploy\nadm:x:4:deploy\nsshd:x:74:\nann:x:1000:\ndeploy:x:1001:\n+:::\n',
    )
    expect(await line(guest, '/etc/gshadow', 'wheel')).toBe('wheel:::ann,deploy')
    expect(await line(guest, '/etc/gshadow', 'deploy')).toBe('deploy:!::')
    expect(await text(guest, '/etc/subuid')).toBe('ann:100000:65536\ndeploy:165536:65536\n')
    const home = await guest.stat('/home/deploy')
    expect([home.mode & 0o7777, home.uid, home.gid]).toEqual([0o700, 1001, 1001])
    const nested = await guest.stat('/home/deploy/.config')
    expect([nested.mode & 0o7777, nested.uid, nested.gid]).toEqual([0o700, 1001, 1001])
    expect((await guest.stat('/home/deploy/.config/x')).uid).toBe(1001)
    const spool = await guest.stat('/var/spool/mail/deploy')
    expect([spool.mode & 0o7777, spool.uid, spool.gid]).toEqual([0o660, 1001, 12])
    const after = await guest.stat('/etc/shadow')
    expect([after.ino, after.mode]).toEqual([before.ino, before.mode])
    expect(await text(guest, '/etc/passwd-')).toBe('old\n')
    expect(report.warnings).toEqual([])
    await checkAccounts(guest)
  })

  it('adds a system user from the top of its range, without a home', async () => {
    const guest = await guestOf()
    await runTwice(guest, operations['user-add'], { user: 'svc', system: true })
    expect(await line(guest, '/etc/passwd', 'svc')).toBe('svc:x:999:999::/home/svc:/usr/sbin/nologin')
    expect(await line(guest, '/etc/shadow', 'svc')).toMatch(/^svc:!:\d+::::::$/)
    expect(await guest.exists('/home/svc')).toBe(false)
    await runTwice(guest, operations['user-add'], { user: 'svc2', system: true })
    expect(await line(guest, '/etc/passwd', 'svc2')).toContain(':998:998:')
    await checkAccounts(guest)
  })

  it('says what differs of a user that is there, and what is taken', async () => {
    const guest = await guestOf()
    const add = (args: Parameters<(typeof operations)['user-add']['run']>[1]) =>
      operations['user-add'].run(guest, args)
    expect((await add({ user: 'ann', groups: ['wheel'], uid: 1000 })).changes).toEqual([])
    await expect(add({ user: 'ann', shell: '/bin/zsh' })).rejects.toThrow(
      /shell is \/bin\/bash, not \/bin\/zsh/,
    )
    await expect(add({ user: 'bob', uid: 1000 })).rejects.toThrow(/taken by ann/)
    await expect(add({ user: 'bob', groups: ['nogroup'] })).rejects.toThrow(/no group "nogroup"/)
    await expect(add({ user: 'wheel' })).rejects.toThrow(/group=wheel/)
    for (const user of ['-x', '1000', 'a b', 'a:b', '', '.', 'x'.repeat(33)])
      await expect(add({ user })).rejects.toThrow(/not a user name/)
    await expect(add({ user: 'bob', comment: 'a:b' })).rejects.toThrow(/colon/)
    await expect(add({ user: 'bob', home: '/a/../b' })).rejects.toThrow(/no home/)
    // Nothing of what failed was written.
    expect(await text(guest, '/etc/passwd')).toBe(files['/etc/passwd'])
    expect(await text(guest, '/etc/group')).toBe(files['/etc/group'])
  })

  it('works on each family', async () => {
    for (const [name, family] of Object.entries(phony.families)) {
      const before: Readonly<Record<string, string>> = family
      const guest = await memoryGuest(before)
      await runTwice(guest, operations['user-add'], { user: 'deploy' })
      await runTwice(guest, operations['user-del'], { user: 'deploy', removeHome: true })
      for (const file of ['/etc/passwd', '/etc/shadow'])
        expect(await text(guest, file), `${name} ${file}`).toBe(before[file])
      expect(await guest.exists('/home/deploy'), name).toBe(false)
    }
  })
})

describe('user-del, user-mod', () => {
  it('removes every trace, and the home where it is asked to', async () => {
    const guest = await guestOf({ '/etc/sudoers.d/90-x': 'ann ALL=(ALL) NOPASSWD:ALL\n' })
    await guest.chown('/home/ann', 1000, 1000)
    const report = await runTwice(guest, operations['user-del'], { user: 'ann', removeHome: true })
    for (const file of ['passwd', 'shadow', 'group', 'gshadow', 'subuid', 'subgid'])
      expect(await text(guest, `/etc/${file}`), file).not.toMatch(/\bann\b/)
    expect(await guest.exists('/home/ann')).toBe(false)
    expect(await guest.exists('/var/spool/mail/ann')).toBe(false)
    expect(report.warnings).toEqual([expect.stringContaining('/etc/sudoers.d/90-x:1')])
    await checkAccounts(guest)
    await expect(operations['user-del'].run(guest, { user: 'root' })).rejects.toThrow(/uid 0/)
  })

  it('removes administrators of groups with the user, and keeps them where only its groups change', async () => {
    const guest = await guestOf({ '/etc/gshadow': 'wheel:!:ann:ann,root\nadm:!:root,ann:\nann:!::\n' })
    await runTwice(guest, operations['user-mod'], { user: 'ann', groups: ['adm'] })
    expect(await text(guest, '/etc/gshadow')).toBe('wheel:!:ann:root\nadm:!:root,ann:ann\nann:!::\n')
    await runTwice(guest, operations['user-del'], { user: 'ann' })
    expect(await text(guest, '/etc/gshadow')).toBe('wheel:!::root\nadm:!:root:\n')
  })

  it('takes a moment where a user is in a hundred thousand groups', async () => {
    const lines = (of: (i: number) => string) =>
      Array.from({ length: 100_000 }, (_, i) => `${of(i)}\n`).join('')
    const guest = await guestOf({
      '/etc/group': lines(i => `g${i}:x:${i + 100_000}:ann`),
      '/etc/gshadow': lines(i => `g${i}:!:ann:ann`),
    })
    const start = Date.now()
    await operations['user-del'].run(guest, { user: 'ann' })
    expect(await text(guest, '/etc/group')).not.toContain('ann')
    expect(Date.now() - start).toBeLessThan(10_000)
  })

  it('leaves a home that is not the user’s own', async () => {
    const guest = await guestOf()
    const report = await operations['user-del'].run(guest, { user: 'sshd', removeHome: true })
    expect(await guest.exists('/etc')).toBe(true)
    expect(report.warnings).toEqual([expect.stringContaining('/ stays')])
  })

  it('renames a user in every file', async () => {
    const guest = await guestOf()
    await runTwice(guest, operations['user-mod'], {
      user: 'ann',
      name: 'anna',
      home: '/home/anna',
      moveHome: true,
    })
    expect(await line(guest, '/etc/passwd', 'anna')).toBe('anna:x:1000:1000:Ann:/home/anna:/bin/bash')
    expect(await line(guest, '/etc/shadow', 'anna')).toContain('$6$x$y')
    expect(await line(guest, '/etc/group', 'wheel')).toBe('wheel:x:10:anna')
    expect(await line(guest, '/etc/gshadow', 'wheel')).toBe('wheel:::anna')
    expect(await text(guest, '/etc/subuid')).toBe('anna:100000:65536\n')
    expect(await guest.exists('/home/anna/.bashrc')).toBe(true)
    expect(await guest.exists('/home/ann')).toBe(false)
    await checkAccounts(guest)
  })

  it('gives files in the home to the new ids', async () => {
    const guest = await guestOf()
    await guest.writeFile('/home/ann/other', '', { uid: 5, gid: 1000 })
    await runTwice(guest, operations['user-mod'], { user: 'ann', uid: 2000, group: 'adm' })
    expect(await line(guest, '/etc/passwd', 'ann')).toBe('ann:x:2000:4:Ann:/home/ann:/bin/bash')
    const owner = async (path: string) => [(await guest.stat(path)).uid, (await guest.stat(path)).gid]
    expect(await owner('/home/ann')).toEqual([2000, 4])
    expect(await owner('/home/ann/.bashrc')).toEqual([2000, 4])
    expect(await owner('/home/ann/other')).toEqual([5, 4])
  })

  it('sets groups, adds and takes out', async () => {
    const guest = await guestOf()
    await runTwice(guest, operations['user-mod'], { user: 'ann', groups: ['adm'] })
    expect(await line(guest, '/etc/group', 'wheel')).toBe('wheel:x:10:')
    expect(await line(guest, '/etc/group', 'adm')).toBe('adm:x:4:ann')
    await runTwice(guest, operations['user-mod'], {
      user: 'ann',
      addGroups: ['wheel'],
      removeGroups: ['adm'],
    })
    expect(await line(guest, '/etc/gshadow', 'wheel')).toBe('wheel:::ann')
    expect(await line(guest, '/etc/gshadow', 'adm')).toBe('adm:::')
    await expect(operations['user-mod'].run(guest, { user: 'ann', name: 'sshd' })).rejects.toThrow(/already/)
  })
})

describe('groups', () => {
  it('adds, fills, empties and removes', async () => {
    const guest = await guestOf()
    await runTwice(guest, operations['group-add'], { group: 'app', members: ['ann'] })
    expect(await line(guest, '/etc/group', 'app')).toBe('app:x:1001:ann')
    expect(await line(guest, '/etc/gshadow', 'app')).toBe('app:!::ann')
    await runTwice(guest, operations['group-member'], { group: 'app', add: ['daemon'], remove: ['ann'] })
    expect(await line(guest, '/etc/group', 'app')).toBe('app:x:1001:daemon')
    await checkAccounts(guest)
    await runTwice(guest, operations['group-del'], { group: 'app' })
    expect(await text(guest, '/etc/group')).toBe(files['/etc/group'])
    expect(await text(guest, '/etc/gshadow')).toBe(files['/etc/gshadow'])
    await expect(operations['group-del'].run(guest, { group: 'ann' })).rejects.toThrow(/primary group/)
    await expect(operations['group-member'].run(guest, { group: 'app', add: ['ann'] })).rejects.toThrow(
      /no group/,
    )
    await expect(operations['group-member'].run(guest, { group: 'adm', add: ['bob'] })).rejects.toThrow(
      /no user/,
    )
  })
})

describe('lock, unlock, expire', () => {
  it('locks both the password and the account, and takes both back', async () => {
    const guest = await guestOf()
    await runTwice(guest, operations['user-lock'], { user: 'ann' })
    expect(await line(guest, '/etc/shadow', 'ann')).toBe('ann:!$6$x$y:19000:0:99999:7::1:')
    await runTwice(guest, operations['user-unlock'], { user: 'ann' })
    expect(await line(guest, '/etc/shadow', 'ann')).toBe('ann:$6$x$y:19000:0:99999:7:::')
    await runTwice(guest, operations['user-unlock'], { user: 'sshd' })
    expect(await line(guest, '/etc/shadow', 'sshd')).toBe('sshd:!:19000::::::')
    await checkAccounts(guest)
  })

  it('expires passwords and accounts', async () => {
    const guest = await guestOf({ '/etc/shadow': 'root:*:19000:0:99999:7:::\nann:$6$x$y\n' })
    await runTwice(guest, operations['password-expire'], { user: 'ann' })
    expect(await line(guest, '/etc/shadow', 'ann')).toBe('ann:$6$x$y:0::::::')
    const report = await runTwice(guest, operations['account-expire'], { user: 'ann', date: '2027-01-31' })
    expect(await line(guest, '/etc/shadow', 'ann')).toBe('ann:$6$x$y:0:::::20849:')
    expect(report.changes[0]).toMatchObject({
      before: 'never',
      after: '2027-01-31',
      file: '/etc/shadow',
      line: 2,
    })
    await runTwice(guest, operations['account-expire'], { user: 'ann', date: 'never' })
    await runTwice(guest, operations['password-age'], { user: 'ann', max: 90, warn: 7, inactive: -1 })
    expect(await line(guest, '/etc/shadow', 'ann')).toBe('ann:$6$x$y:0::90:7:::')
    for (const date of ['2027-02-30', 'soon', '', '-1'])
      await expect(operations['account-expire'].run(guest, { user: 'ann', date })).rejects.toThrow(
        /not a day/,
      )
    // A user that shadow does not know gets a line there.
    await runTwice(guest, operations['account-expire'], { user: 'sshd', date: '1' })
    expect(await line(guest, '/etc/shadow', 'sshd')).toMatch(/^sshd:!:\d+:::::1:$/)
  })
})

describe('account files of any kind', () => {
  const name = fc.stringMatching(/^[a-z_][a-z0-9_-]{0,6}$/)
  const junk = fc.constantFrom(
    '# a comment',
    '',
    '+@netgroup::::::',
    '-bad',
    'no colons here',
    'short:x',
    ':::',
    'ümlaut:x:9:9::/:',
  )
  const gecos = fc.constantFrom('', 'Ann Person,,,', 'J\u00e4ger', 'a "quoted" one')
  const account = fc.tuple(name, fc.integer({ min: 0, max: 70_000 }), gecos)

  const file = fc.record({
    lines: fc.array(fc.oneof({ weight: 3, arbitrary: account }, { weight: 1, arbitrary: junk }), {
      maxLength: 12,
    }),
    final: fc.constantFrom('', '\n'),
    latin1: fc.boolean(),
    crlf: fc.boolean(),
  })

  const render = (
    {
      lines,
      final,
      latin1,
      crlf,
    }: { lines: (string | [string, number, string])[]; final: string; latin1: boolean; crlf: boolean },
    of: (entry: [string, number, string]) => string,
  ) => {
    const whole =
      lines.map(one => (typeof one === 'string' ? one : of(one))).join(crlf ? '\r\n' : '\n') + final
    return latin1 ? Uint8Array.from(whole, c => c.charCodeAt(0) & 0xff) : new TextEncoder().encode(whole)
  }

  const actions: [string, (guest: GuestFs, user: string) => Promise<unknown>][] = [
    ['add', (guest, user) => operations['user-add'].run(guest, { user, makeHome: false })],
    ['del', (guest, user) => operations['user-del'].run(guest, { user })],
    ['lock', (guest, user) => operations['user-lock'].run(guest, { user })],
    ['expire', (guest, user) => operations['password-expire'].run(guest, { user })],
    [
      'password',
      (guest, user) => operations.password.run(guest, { user, selector: { kind: 'hash', hash: '$6$a$b' } }),
    ],
    ['member', (guest, user) => operations['group-member'].run(guest, { group: 'adm', add: [user] })],
    ['shell', (guest, user) => operations['user-mod'].run(guest, { user, shell: '/bin/sh' })],
  ]

  it('changes no byte of a line that is not its own, and none the second time', async () => {
    await fc.assert(
      fc.asyncProperty(
        file,
        file,
        name,
        fc.constantFrom(...actions),
        async (passwd, group, user, [, act]) => {
          const tree: Record<string, Uint8Array> = {
            '/etc/passwd': render(passwd, ([n, id, g]) => `${n}:x:${id}:${id}:${g}:/home/${n}:/bin/sh`),
            '/etc/shadow': render(passwd, ([n]) => `${n}:!:19000:0:99999:7:::`),
            '/etc/group': render(
              { ...group, lines: [...group.lines, ['adm', 4, '']] },
              ([n, id]) => `${n}:x:${id}:`,
            ),
            '/etc/gshadow': render(
              { ...group, lines: [...group.lines, ['adm', 4, '']] },
              ([n]) => `${n}:!::`,
            ),
          }
          const guest = await memoryGuest(tree)
          try {
            await act(guest, user)
          } catch (error) {
            if (!isDrydiskError(error)) throw error
            // What fails leaves every file as it was.
            for (const [path, bytes] of Object.entries(tree))
              expect(await guest.readFile(path), path).toEqual(bytes)
            return
          }
          const binary = (bytes: Uint8Array) => Array.from(bytes, b => String.fromCharCode(b)).join('')
          const own = new RegExp(`^${user}:`)
          for (const [path, bytes] of Object.entries(tree)) {
            const keep = (all: Uint8Array) =>
              binary(all)
                .split(/\r?\n/)
                .filter(one => one !== '' && !own.test(one) && !one.startsWith('adm:'))
            expect(keep(await guest.readFile(path)), path).toEqual(keep(bytes))
          }
          const once = new Map<string, Uint8Array>()
          for (const path of Object.keys(tree)) once.set(path, await guest.readFile(path))
          await act(guest, user)
          for (const path of Object.keys(tree))
            expect(await guest.readFile(path), path).toEqual(once.get(path))
        },
      ),
      propertySettings(300),
    )
  })
})

describe('names of operations', () => {
  it('are those of the list', () => {
    for (const [name, operation] of Object.entries(operations) as [string, Operation<never>][])
      expect(operation.name).toBe(name)
  })
})
