import fc from 'fast-check'
import { expect, it } from 'vitest'
import { families } from '../../native-fixtures/phony-guests.ts'
import { DrydiskError } from '../../src/errors.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { operations } from '../../src/operations/index.ts'
import type { OperationReport } from '../../src/operations/operation.ts'
import { propertySettings } from '../support/native.ts'
import { watched } from './support/operations.ts'

const runs: [string, (guest: GuestFs) => Promise<OperationReport>][] = [
  ['serial-console', guest => operations['serial-console'].run(guest, {})],
  [
    'kernel-arg',
    guest =>
      operations['kernel-arg'].run(guest, {
        changes: [
          { action: 'set', argument: 'a=1' },
          { action: 'remove', argument: 'quiet' },
        ],
      }),
  ],
  ['sshd', guest => operations.sshd.run(guest, { keyword: 'PermitRootLogin', value: 'yes' })],
  ['sshd AllowUsers', guest => operations.sshd.run(guest, { keyword: 'AllowUsers', value: 'a b' })],
  ['cloud-init', guest => operations['cloud-init'].run(guest, { setting: 'datasource_list=[A, B]' })],
  [
    'cloud-init list',
    guest => operations['cloud-init'].run(guest, { setting: 'cloud_init_modules-=growpart' }),
  ],
  [
    'cloud-init deep',
    guest => operations['cloud-init'].run(guest, { setting: 'system_info.default_user.name=x' }),
  ],
  ['qemu-ga', guest => operations['qemu-ga'].run(guest, {})],
  ['no-zeroconf', guest => operations['no-zeroconf'].run(guest, {})],
  ['hostname', guest => operations.hostname.run(guest, { hostname: 'web' })],
  ['timezone', guest => operations.timezone.run(guest, { timezone: 'Europe/Berlin' })],
  ['password', guest => operations.password.run(guest, { user: 'root', selector: { kind: 'locked' } })],
]

/** Bits of every language that is edited, where they hurt. */
const SPLINTERS = [
  '"',
  "'",
  '`',
  '$(',
  '${',
  '\\',
  '\n',
  '\r\n',
  '\0',
  '#',
  '=',
  '{',
  '[',
  ']',
  ': ',
  '- ',
  '\t',
  ' ',
  '&a ',
  '*a',
  'Match all\n',
  'Include /etc/ssh/*\n',
  'if\n',
  '<<E\n',
  '\u00ff',
  'é',
  'A=(',
  '--',
  'set kernelopts="',
  '%YAML 9\n',
  '? ',
  '| ',
]

it('a damaged guest gives a typed error or an edit that settles, never a crash (property)', async () => {
  const damage = fc.record({
    family: fc.constantFrom(...Object.values(families)),
    pick: fc.nat(),
    cuts: fc.array(
      fc.record({
        at: fc.double({ min: 0, max: 1, noNaN: true }),
        drop: fc.nat(30),
        put: fc.constantFrom(...SPLINTERS, ''),
      }),
      { minLength: 1, maxLength: 4 },
    ),
    binary: fc.option(fc.uint8Array({ maxLength: 40 }), { freq: 8 }),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(damage, { minLength: 1, maxLength: 3 }),
      fc.nat(runs.length - 1),
      async (damages, which) => {
        const files: Record<string, string | Uint8Array> = { ...damages[0]?.family }
        for (const { pick, cuts, binary } of damages) {
          const paths = Object.keys(files)
          const path = paths[pick % paths.length] ?? ''
          let text = String(files[path])
          for (const { at, drop, put } of cuts) {
            const from = Math.floor(at * text.length)
            text = text.slice(0, from) + put + text.slice(from + drop)
          }
          files[path] = binary ?? text
        }
        const [name, run] = runs[which] ?? ['', () => Promise.reject(new Error())]
        const guest = await memoryGuest(files)
        try {
          await run(guest)
        } catch (error) {
          if (!(error instanceof DrydiskError)) throw error
          return
        }
        const again = watched(guest)
        const second = await run(again.guest)
        expect(again.writes, `a second ${name}`).toEqual([])
        expect(second.changes, `a second ${name}`).toEqual([])
      },
    ),
    propertySettings(250),
  )
})
