import fc from 'fast-check'
import { expect, it } from 'vitest'
import { families } from '../../native-fixtures/phony-guests.ts'
import { DrydiskError } from '../../src/errors.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import {
  operations,
  readCloudInitBlocks,
  readDatasources,
  readRootGrowth,
} from '../../src/operations/index.ts'
import { propertySettings } from '../support/native.ts'
import { watched } from './support/operations.ts'

const runs: readonly ((guest: GuestFs) => Promise<unknown>)[] = [
  guest => operations['network-dhcp'].run(guest, {}),
  guest => operations['network-dhcp'].run(guest, { interface: 'eth0' }),
  guest => operations['network-unpin'].run(guest, {}),
  guest => operations.mirror.run(guest, { url: 'http://mirror.example.com/x' }),
  guest => operations.mirror.run(guest, { url: 'http://mirror.example.com/x', name: 'security' }),
  guest => operations.locale.run(guest, { locale: 'C.UTF-8' }),
  guest => operations.keymap.run(guest, { keymap: 'us' }),
  guest => operations['cloud-init-datasources'].run(guest, { datasources: ['OpenStack', 'None'] }),
  guest => operations['cloud-init-unblock'].run(guest, {}),
  guest => operations['cloud-init-clean'].run(guest, {}),
  guest => operations['cloud-init-user'].run(guest, { user: 'cloud' }),
  guest => operations['qemu-ga'].run(guest, { allow: ['guest-exec'], block: ['guest-ping'] }),
  guest => operations.sshd.run(guest, { keyword: 'Port', value: '2200' }),
  guest => Promise.all([readCloudInitBlocks(guest), readDatasources(guest), readRootGrowth(guest)]),
]

/** Bits of every language that is edited, where they hurt. */
const SPLINTERS =
  '" | \' | ` | $( | ${ | \\ | # | = | { | [ | ] | :  | -  | \t |   | &a  | *a | [main] | [ipv4] | [Match] | Types: | URIs: | deb [ | iface x inet static | auto | source /etc/* | match: {macaddress: | \u00ff'
    .split(' | ')
    .concat(['\n', '\n\n', '\n ', '\r\n', '\0', '\\\n'])

const interesting =
  /network|netplan|NetworkManager|apt|yum|zypp|apk|cloud|locale|keyboard|vconsole|i18n|qemu|ssh|systemd|udev/

it('damaged settings give a typed error or an edit that settles, never a crash (property)', async () => {
  const cut = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    drop: fc.nat(30),
    put: fc.constantFrom(...SPLINTERS, ''),
  })
  const damage = fc.record({ pick: fc.nat(), cuts: fc.array(cut, { minLength: 1, maxLength: 4 }) })
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.values(families)),
      fc.array(damage, { minLength: 1, maxLength: 4 }),
      fc.nat(runs.length - 1),
      async (family, damages, which) => {
        const files: Record<string, string | Uint8Array> = { ...family }
        const paths = Object.keys(files).filter(path => interesting.test(path))
        for (const { pick, cuts } of damages) {
          const path = paths[pick % paths.length] ?? ''
          let text = String(files[path])
          for (const { at, drop, put } of cuts) {
            const from = Math.floor(at * text.length)
            text = text.slice(0, from) + put + text.slice(from + drop)
          }
          files[path] = text
        }
        const guest = await memoryGuest(files)
        const run = runs[which] ?? (() => Promise.resolve())
        try {
          await run(guest)
        } catch (error) {
          if (!(error instanceof DrydiskError)) throw error
          return
        }
        const again = watched(guest)
        await run(again.guest)
        expect(again.writes, `a second run of ${which}`).toEqual([])
      },
    ),
    propertySettings(150),
  )
})
