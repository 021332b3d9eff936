import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import type { PhonyGuest } from '../../native-fixtures/guests/types.ts'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import type { HostAccess } from '../../src/operations/steps/host-access.ts'
import { steps } from '../../src/operations/steps/index.ts'
import { temporaryFolder } from '../support/native.ts'

/** The same guest as a folder of the host. */
function folderOf(name: PhonyGuestName): string {
  const root = temporaryFolder()
  const { files, links, attributes }: PhonyGuest = phonyGuests[name]
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  for (const [path, { mode }] of Object.entries(attributes))
    if (mode !== undefined) chmodSync(join(root, path), mode)
  for (const [path, target] of Object.entries(links)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    symlinkSync(target, join(root, path))
  }
  return root
}

const noHost = new Proxy({} as HostAccess, {
  get() {
    throw new Error('this step reads nothing of the host')
  },
})

const lines: readonly (readonly [string, string])[] = [
  ['network-dhcp', ''],
  ['network-dhcp', 'eth7'],
  ['network-unpin', ''],
  ['mirror', 'http://mirror.example.com/x?a=b'],
  ['mirror', 'security=http://mirror.example.com/security'],
  ['locale', 'C.UTF-8'],
  ['keymap', 'us'],
  ['no-zeroconf', ''],
  ['qemu-ga', 'guest-exec,-guest-file-open'],
  ['cloud-init-unblock', ''],
  ['cloud-init-datasources', '[ OpenStack, None ]'],
  ['cloud-init-user', 'cloud'],
  ['cloud-init-clean', 'seed'],
  ['sshd', 'PermitRootLogin=no'],
]

async function outcome(guest: GuestFs, name: string, value: string): Promise<unknown> {
  const step = steps.find(one => one.name === name)
  try {
    const planned = await step?.plan(value, noHost)
    const report = await planned?.(guest)
    return report && { changes: report.changes, warnings: report.warnings }
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return { code: error.code, message: error.message }
  }
}

// Owners are those of whoever runs the tests, and NetworkManager wants root's.
it.skipIf(process.getuid?.() !== 0)(
  'steps do the same to a folder of the host as to a guest in memory',
  async () => {
    for (const family of ['debian', 'ubuntu', 'el6', 'el9', 'leap', 'alpine'] as const) {
      const memory = await phonyGuest(family)
      const root = folderOf(family)
      const folder = new HostFolderGuest(root, { writable: true })
      for (const [name, value] of lines) {
        const there = await outcome(folder, name, value)
        expect(there, `${name} ${value} on ${family}`).toEqual(await outcome(memory, name, value))
      }
    }
  },
)
