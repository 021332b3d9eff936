import { cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import { operations } from '../../src/operations/index.ts'
import { haveTool, propertySettings, run, temporaryFolder } from '../support/native.ts'

const FILES: Readonly<Record<string, string>> = {
  '/etc/passwd': 'root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann:/home/ann:/bin/bash\n',
  '/etc/shadow': 'root:*:19000:0:99999:7:::\nann:!:19000:0:99999:7:::\n',
  '/etc/group': 'root:x:0:\nwheel:x:10:ann\nadm:x:4:\nann:x:1000:\n',
  '/etc/gshadow': 'root:*::\nwheel:*::ann\nadm:*::\nann:!::\n',
  '/etc/subuid': 'ann:100000:65536\n',
  '/etc/subgid': 'ann:100000:65536\n',
  '/etc/skel/.profile': '# profile\n',
  '/etc/default/useradd': 'SHELL=/bin/bash\nSKEL=/etc/skel\n',
  '/etc/login.defs':
    'UID_MIN 1000\nUID_MAX 1003\nGID_MIN 1000\nGID_MAX 60000\nSYS_UID_MIN 100\nSYS_UID_MAX 999\nSYS_GID_MIN 100\nSYS_GID_MAX 999\nUSERGROUPS_ENAB yes\nHOME_MODE 0750\nPASS_MAX_DAYS 90\nPASS_MIN_DAYS 1\nPASS_WARN_AGE 7\nSUB_UID_MIN 100000\nSUB_UID_MAX 600100000\nSUB_UID_COUNT 65536\nSUB_GID_MIN 100000\nSUB_GID_MAX 600100000\nSUB_GID_COUNT 65536\n',
  '/bin/bash': '',
  '/bin/sh': '',
}

function makeTree(root: string): void {
  for (const [path, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  mkdirSync(join(root, 'home'))
}

/** Lines by name, members sorted: usermod puts a renamed member elsewhere in its list. */
function accounts(root: string): Record<string, string[]> {
  const found: Record<string, string[]> = {}
  for (const file of ['passwd', 'shadow', 'group', 'gshadow', 'subuid', 'subgid'])
    found[file] = readFileSync(join(root, 'etc', file), 'utf8')
      .split('\n')
      .map(line => {
        const fields = line.split(':')
        if (file.endsWith('group') || file === 'gshadow')
          fields.push((fields.pop() ?? '').split(',').sort().join(','))
        return fields.join(':')
      })
      .sort()
  return found
}

interface Action {
  readonly native: readonly string[]
  act(guest: HostFolderGuest): Promise<unknown>
}

const user = fc.constantFrom('ann', 'bob', 'cid', 'dan', 'eve')
const group = fc.constantFrom('wheel', 'adm', 'ann', 'bob', 'grp')
const groups = fc.uniqueArray(fc.constantFrom('wheel', 'adm'), { maxLength: 2 })

const action: fc.Arbitrary<Action> = fc.oneof(
  fc.tuple(user, groups, fc.boolean()).map(([name, of, system]) => ({
    native: [
      'useradd',
      ...(system ? ['-r', '-M'] : ['-m']),
      ...['-s', '/bin/sh', ...(of.length > 0 ? ['-G', of.join(',')] : [])],
      name,
    ],
    act: (guest: HostFolderGuest) =>
      operations['user-add'].run(guest, { user: name, groups: of, system, shell: '/bin/sh' }),
  })),
  fc.tuple(user, fc.integer({ min: 1000, max: 1005 })).map(([name, uid]) => ({
    native: ['useradd', '-M', '-s', '/bin/sh', '-u', String(uid), name],
    act: (guest: HostFolderGuest) =>
      operations['user-add'].run(guest, { user: name, uid, makeHome: false, shell: '/bin/sh' }),
  })),
  user.map(name => ({
    native: ['userdel', name],
    act: (guest: HostFolderGuest) => operations['user-del'].run(guest, { user: name }),
  })),
  group.map(name => ({
    native: ['groupadd', name],
    act: (guest: HostFolderGuest) => operations['group-add'].run(guest, { group: name }),
  })),
  group.map(name => ({
    native: ['groupdel', name],
    act: (guest: HostFolderGuest) => operations['group-del'].run(guest, { group: name }),
  })),
  fc.tuple(user, groups, fc.constantFrom('/bin/sh', '/bin/bash')).map(([name, of, shell]) => ({
    native: ['usermod', '-G', of.join(','), '-s', shell, '-c', 'Some One', name],
    act: (guest: HostFolderGuest) =>
      operations['user-mod'].run(guest, { user: name, groups: of, shell, comment: 'Some One' }),
  })),
  fc.tuple(user, group).map(([name, of]) => ({
    native: ['usermod', '-a', '-G', of, name],
    act: (guest: HostFolderGuest) => operations['user-mod'].run(guest, { user: name, addGroups: [of] }),
  })),
)

const isRoot = process.getuid?.() === 0

describe.skipIf(!haveTool('useradd') || !isRoot)(
  'beside useradd, usermod, userdel, groupadd, groupdel',
  () => {
    it('leaves the same accounts after any sequence', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(action, { minLength: 6, maxLength: 12 }), async sequence => {
          const base = temporaryFolder()
          const [theirs, ours] = [join(base, 'theirs'), join(base, 'ours')]
          makeTree(theirs)
          cpSync(theirs, ours, { recursive: true })
          for (const { native, act } of sequence) {
            const [command = '', ...args] = native
            const result = await run(command, ['-P', theirs, ...args])
            const code = await act(new HostFolderGuest(ours)).then(
              () => undefined,
              (error: unknown) => {
                if (!isDrydiskError(error)) throw error
                return `${error.code} ${error.message}`
              },
            )
            expect(
              accounts(ours),
              `${native.join(' ')}: ${result.status} ${result.stderr} | ${code}`,
            ).toEqual(accounts(theirs))
          }
        }),
        propertySettings(6),
      )
    }, 600_000)

    it('makes the same home', async () => {
      const base = temporaryFolder()
      const [theirs, ours] = [join(base, 'theirs'), join(base, 'ours')]
      makeTree(theirs)
      cpSync(theirs, ours, { recursive: true })
      await run('useradd', ['-P', theirs, '-m', 'bob'])
      await operations['user-add'].run(new HostFolderGuest(ours), { user: 'bob' })
      for (const path of ['home/bob', 'home/bob/.profile']) {
        const [a, b] = [statSync(join(theirs, path)), statSync(join(ours, path))]
        expect([b.mode, b.uid, b.gid], path).toEqual([a.mode, a.uid, a.gid])
      }
    })
  },
)
