import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { type PhonyGuestName, phonyGuest } from '../../native-fixtures/phony-guests.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openFileSystem } from '../../src/filesystem/open.ts'
import { makeXfs } from '../../src/filesystem/xfs/mkfs/mkfs.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { steps } from '../../src/operations/steps/index.ts'
import { testHost } from '../recipe/support/recipes.ts'
import { oracle, temporaryFolder } from '../support/native.ts'
import { stepFiles, stepValues } from './support/step-values.ts'

const isRoot = process.getuid?.() === 0
const decoder = new TextDecoder('latin1')

const closers: (() => Promise<void>)[] = []

async function onImage(type: 'ext4' | 'xfs'): Promise<GuestFs> {
  const path = join(temporaryFolder(), 'image')
  const storage = await FileStorage.open(path, 'create')
  await storage.truncate((type === 'xfs' ? 300 : 64) << 20)
  const device = new StorageDevice(storage)
  await (type === 'xfs' ? makeXfs(device, {}) : makeExt4(device, {}))
  const fs = await openFileSystem(device, { writable: true })
  closers.push(async () => {
    await fs.sync()
    await fs.close()
    await device.close()
    await oracle(path, type)
  })
  return new MountedGuest(new MountTable({ fs, source: '/dev/sda' }))
}

/** Every place that a guest can be in. */
const BACKENDS: Readonly<Record<string, () => Promise<GuestFs>>> = {
  memory: () => memoryGuest(),
  'a folder of the host': async () => new HostFolderGuest(temporaryFolder(), { writable: true }),
  'an ext4 image': () => onImage('ext4'),
  'an XFS image': () => onImage('xfs'),
}

async function* walk(guest: GuestFs, folder = ''): AsyncGenerator<string> {
  const entries = await guest.readdir(folder || '/')
  for (const name of entries.map(entry => decoder.decode(entry.name)).sort()) {
    const path = `${folder}/${name}`
    if (name === 'lost+found') continue
    yield path
    if ((await guest.lstat(path)).isDirectory()) yield* walk(guest, path)
  }
}

async function fill(from: GuestFs, to: GuestFs): Promise<void> {
  for await (const path of walk(from)) {
    const { type, mode, uid, gid } = await from.lstat(path)
    const options = { mode: mode & 0o7777, uid, gid }
    if (type === 'directory') await to.mkdir(path, options)
    else if (type === 'symlink') await to.symlink(await from.readlink(path), path)
    else await to.writeFile(path, await from.readFile(path), options)
  }
}

/** One line for each path, with what it is and holds. Times differ. */
async function tree(guest: GuestFs): Promise<string[]> {
  const lines: string[] = []
  for await (const path of walk(guest)) {
    const { type, mode, uid, gid, nlink } = await guest.lstat(path)
    const owner = isRoot ? ` ${uid}:${gid}` : ''
    const links = type === 'directory' ? '' : ` ${nlink}`
    const content =
      type === 'file'
        ? decoder.decode(await guest.readFile(path))
        : type === 'symlink'
          ? decoder.decode(await guest.readlink(path))
          : ''
    const bits = type === 'symlink' ? '' : ` ${(mode & 0o7777).toString(8)}`
    lines.push(`${path} ${type}${bits}${owner}${links} ${JSON.stringify(content)}`)
  }
  return lines
}

/** What a step says, or how it fails. */
async function outcome(guest: GuestFs, name: string, value: string): Promise<unknown> {
  const step = steps.find(one => one.name === name)
  try {
    return await (await step?.plan(value, testHost(stepFiles)))?.(guest)
  } catch (error) {
    if (isDrydiskError(error)) return { code: error.code, message: error.message }
    throw error
  }
}

/** These take away what others need: they come last, in this order. */
const LAST = ['truncate', 'truncate-recursive', 'user-del', 'group-del', 'move', 'scrub', 'delete', 'sysprep']
const CALLS: readonly (readonly [name: string, value: string])[] = [
  ...steps.filter(({ name }) => !LAST.includes(name)),
  ...LAST.flatMap(name => steps.filter(step => step.name === name)),
].flatMap(({ name }): [string, string][] => {
  if (name === 'truncate-recursive') return [[name, '/srv']]
  if (name === 'move') return [[name, '/etc/hosts:/root/hosts.moved']]
  if (name === 'scrub') return [[name, '/root/hosts.moved']]
  return (stepValues[name] ?? []).slice(0, 2).map(value => [name, value])
})

/** Steps that such a guest gives no ground for; the rest does what it is for. */
const CANNOT: Partial<Record<PhonyGuestName, readonly string[]>> = {
  debian: ['enable-service sshd', 'selinux-mode permissive', 'timezone UTC'],
  el9: [
    'enable-service cron',
    'mirror security=http://mirror.example.com/security',
    'timezone Europe/Berlin',
    'timezone UTC',
  ],
}
const FAMILIES = ['debian', 'el9'] as const satisfies readonly PhonyGuestName[]

// All steps in turn, on the same guest in every place: they say the same, and leave the same trees.
describe.each(FAMILIES)('on %s', family => {
  const guests = new Map<string, GuestFs>()
  beforeAll(async () => {
    const source = await phonyGuest(family)
    for (const [name, make] of Object.entries(BACKENDS)) {
      const guest = await make()
      await fill(source, guest)
      guests.set(name, guest)
    }
  }, 60_000)

  test('every step says the same everywhere, and the trees are the same', async () => {
    const [memory, ...others] = [...guests]
    if (memory === undefined) throw new Error('there is no guest in memory')
    const failed: string[] = []
    for (const [index, [name, value]] of CALLS.entries()) {
      const expected = await outcome(memory[1], name, value)
      if (typeof expected === 'object' && expected !== null && 'code' in expected)
        failed.push(`${name} ${value}`)
      for (const [place, guest] of others)
        expect(await outcome(guest, name, value), `${name} ${value} on ${place}`).toEqual(expected)
      if (index % 15 !== 0 && index !== CALLS.length - 1) continue
      const paths = await tree(memory[1])
      for (const [place, guest] of others)
        expect(await tree(guest), `after ${name} ${value} on ${place}`).toEqual(paths)
    }
    for (const close of closers.splice(0)) await close()
    expect(failed).toEqual(CANNOT[family])
  }, 60_000)
})
