import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { operations } from '../../src/operations/index.ts'
import { serviceState } from '../../src/operations/services/service-state.ts'
import { propertySettings } from '../support/native.ts'
import { memoryGuest } from './support/operations.ts'

const words = fc.constantFrom(
  ...[
    'a',
    'root',
    ':',
    ':x:',
    '0',
    '1000',
    '4294967295',
    '-1',
    '99999999999',
    '\n',
    '\r\n',
    ' ',
    '\t',
    '#',
    '+',
    ',',
  ],
  ...[
    '%',
    '!',
    '*',
    '\\',
    '"',
    'ALL',
    '=',
    '(',
    ')',
    'NOPASSWD:',
    '@includedir /etc/sudoers.d',
    '#include /etc/sudoers',
  ],
  ...[
    '[Install]',
    'WantedBy=',
    'Also=',
    'Alias=',
    'DefaultInstance=',
    'a.service',
    'b@.service',
    'b@%i.service',
    '../x',
  ],
  ...[
    'UID_MIN',
    'SUB_UID_COUNT',
    'GID_MAX',
    '0x',
    '/dev/null',
    'start on',
    'manual',
    '# chkconfig: 345 1 99',
    '\xff',
    '\0',
  ],
)
const junk = fc
  .array(words, { maxLength: 30 })
  .map(parts => Uint8Array.from(parts.join(''), c => c.charCodeAt(0)))

const PATHS = [
  ...['passwd', 'shadow', 'group', 'gshadow', 'subuid', 'subgid', 'login.defs', 'sudoers', 'machine-id'].map(
    name => `/etc/${name}`,
  ),
  ...[
    '/etc/default/useradd',
    '/etc/sudoers.d/x',
    '/etc/init.d/a',
    '/etc/init/a.conf',
    '/etc/init/a.override',
  ],
  ...['/usr/lib/systemd/system/a.service', '/usr/lib/systemd/system/b@.service'],
  ...[
    '/etc/systemd/system/a.service.d/x.conf',
    '/usr/lib/systemd/system-preset/x.preset',
    '/etc/ssh/sshd_config',
  ],
]

const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5vdEFSZWFsS2V5Tm90QVJlYWxLZXlOb3RBUmVhbEtl me'
const actions: Readonly<Record<string, (guest: GuestFs) => Promise<unknown>>> = {
  add: guest => operations['user-add'].run(guest, { user: 'a', groups: ['root'] }),
  system: guest => operations['user-add'].run(guest, { user: 'new', system: true }),
  del: guest => operations['user-del'].run(guest, { user: 'a', removeHome: true }),
  mod: guest => operations['user-mod'].run(guest, { user: 'a', name: 'c', uid: 7, groups: [], shell: '/x' }),
  lock: guest => operations['user-lock'].run(guest, { user: 'a' }),
  unlock: guest => operations['user-unlock'].run(guest, { user: 'root' }),
  expire: guest => operations['account-expire'].run(guest, { user: 'root', date: 'never' }),
  group: guest => operations['group-add'].run(guest, { group: 'g', members: ['root'] }),
  ungroup: guest => operations['group-del'].run(guest, { group: 'a' }),
  sudo: guest => operations.sudo.run(guest, { user: 'root' }),
  key: guest => operations['ssh-inject'].run(guest, { user: 'root', keys: key }),
  enable: guest => operations['enable-service'].run(guest, { units: ['a', 'b@x'] }),
  disable: guest => operations['disable-service'].run(guest, { units: ['a', 'b@x.service'] }),
  mask: guest => operations['mask-service'].run(guest, { units: ['a'] }),
  unmask: guest => operations['unmask-service'].run(guest, { units: ['a'] }),
  state: guest => serviceState(guest, 'b@'),
}

describe('hostile account and service files', () => {
  it('give an error with a code or a change, and the second run changes nothing', async () => {
    const files = fc.dictionary(fc.constantFrom(...PATHS), junk, { maxKeys: 12 })
    const rooted = fc.boolean()
    await fc.assert(
      fc.asyncProperty(
        files,
        rooted,
        fc.constantFrom(...Object.keys(actions)),
        async (tree, withRoot, name) => {
          const base = withRoot
            ? {
                '/etc/passwd': 'root:x:0:0::/root:/bin/sh\na:x:5:5::/home/a:/bin/sh\n',
                '/etc/group': 'root:x:0:\n',
                '/root/x': '',
              }
            : {}
          const guest = await memoryGuest({ ...tree, ...base })
          const act = actions[name]
          try {
            await act?.(guest)
          } catch (error) {
            expect(isDrydiskError(error), `${name}: ${String(error)}`).toBe(true)
            return
          }
          const report = await act?.(guest)
          if (report !== undefined && typeof report === 'object' && report !== null && 'changes' in report)
            expect(report.changes, name).toEqual([])
        },
      ),
      propertySettings(400),
    )
  })
})
