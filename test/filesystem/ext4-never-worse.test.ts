import { readdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { copyImage } from '../../native-fixtures/ext4-journals.ts'
import { byteKey, toBytes } from '../../src/bytes/names.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import type { DirectoryEntry, FileSystem, FileType, InodeNumber } from '../../src/filesystem/filesystem.ts'
import { haveTool, peersFolder, run, runOk, temporaryFolder } from '../support/native.ts'

const peers = peersFolder()

/** Edits that are tried on each image; all of them with DRYDISK_RUNS (a few minutes), else a sample of so many. */
const SAMPLE = process.env.DRYDISK_RUNS === undefined ? 1 : Number.POSITIVE_INFINITY

interface Named extends DirectoryEntry {
  readonly directory: InodeNumber
}

type Edit = (fs: FileSystem, target: Named) => Promise<unknown>

const ATTRIBUTES = { mode: 0o644, uid: 0, gid: 0 }
const NEW = toBytes('drydisk-new')
const LONG = toBytes(`drydisk-${'y'.repeat(200)}`)
const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(7)

/** Edits of the root, for which it does not matter what else there is. */
const GENERAL: Readonly<Record<string, (fs: FileSystem) => Promise<unknown>>> = {
  nothing: async () => undefined,
  create: async fs => fs.write(await fs.create(fs.root, NEW, ATTRIBUTES), 0, bytes(5000)),
  'create large': async fs => {
    const ino = await fs.create(fs.root, NEW, ATTRIBUTES)
    await fs.write(ino, 0, bytes(300_000))
    await fs.write(ino, 9_000_000, bytes(3000))
  },
  mkdir: async fs => fs.create(await fs.mkdir(fs.root, NEW, ATTRIBUTES), LONG, ATTRIBUTES),
  symlink: fs => fs.symlink(fs.root, NEW, bytes(200), ATTRIBUTES),
  'new with attribute': async fs =>
    fs.setxattr(await fs.create(fs.root, NEW, ATTRIBUTES), 'user.a', bytes(300)),
}

/** Edits of what is there, for each kind of it. */
const TARGETED: Readonly<Record<string, readonly [FileType | undefined, Edit]>> = {
  unlink: ['file', (fs, { directory, name }) => fs.unlink(directory, name)],
  'unlink symlink': ['symlink', (fs, { directory, name }) => fs.unlink(directory, name)],
  rmdir: ['directory', (fs, { directory, name }) => fs.rmdir(directory, name)],
  rename: [undefined, (fs, { directory, name }) => fs.rename(directory, name, fs.root, NEW)],
  write: ['file', (fs, { ino }) => fs.write(ino, 100, bytes(6000))],
  append: ['file', async (fs, { ino }) => fs.write(ino, (await fs.stat(ino)).size, bytes(6000))],
  truncate: ['file', (fs, { ino }) => fs.truncate(ino, 10)],
  'small attribute': [undefined, (fs, { ino }) => fs.setxattr(ino, 'security.x', bytes(20))],
  'large attribute': [undefined, (fs, { ino }) => fs.setxattr(ino, 'trusted.x', bytes(400))],
  chmod: [undefined, (fs, { ino }) => fs.setAttributes(ino, { mode: 0o600, mtime: 5n })],
  link: ['file', (fs, { ino }) => fs.link(ino, fs.root, NEW)],
  'create in it': ['directory', (fs, { ino }) => fs.create(ino, LONG, ATTRIBUTES)],
  'mkdir in it': ['directory', (fs, { ino }) => fs.mkdir(ino, LONG, ATTRIBUTES)],
}

/** What an image has, as far as it can be read: not deep, and not all of what is large. */
async function namesOf(fs: FileSystem): Promise<Named[]> {
  const found: Named[] = []
  const seen = new Set<InodeNumber>()
  const visit = async (directory: InodeNumber, depth: number): Promise<void> => {
    if (seen.has(directory) || depth > 3 || found.length > 400) return
    seen.add(directory)
    const entries: DirectoryEntry[] = []
    try {
      for await (const entry of fs.readdir(directory)) if (entries.push(entry) >= 150) break
    } catch (error) {
      if (!isDrydiskError(error)) throw error
    }
    for (const entry of entries) {
      found.push({ ...entry, directory })
      if (entry.type === 'directory') await visit(entry.ino, depth + 1)
    }
  }
  await visit(fs.root, 0)
  return found
}

/** The first, the middle and the last. */
function some<Item>(list: readonly Item[]): Item[] {
  return [...new Set([0, list.length >>> 1, list.length - 1])].flatMap(index => list[index] ?? [])
}

async function readNames(path: string): Promise<Named[] | undefined> {
  const device = new StorageDevice(await FileStorage.open(path, 'read'))
  try {
    return await namesOf(await openExt4(device))
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return undefined
  } finally {
    await device.close()
  }
}

function editsFor(names: readonly Named[]): [string, (fs: FileSystem) => Promise<unknown>][] {
  const edits = Object.entries(GENERAL)
  for (const [what, [type, edit]] of Object.entries(TARGETED))
    for (const target of some(names.filter(name => type === undefined || name.type === type)))
      edits.push([`${what} ${byteKey(target.name)} (${target.ino})`, fs => edit(fs, target)])
  return edits
}

/** Edits an image file; false, and the file is of no more interest, where drydisk refuses with a typed error. */
async function edited(path: string, edit: (fs: FileSystem) => Promise<unknown>): Promise<boolean> {
  const device = new StorageDevice(await FileStorage.open(path, 'write'))
  try {
    const fs = await openExt4(device, { writable: true })
    await edit(fs)
    await fs.sync()
    return true
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return false
  } finally {
    await device.close()
  }
}

/** Exit status of `e2fsck -fn`, and how many questions it answered with no. */
async function complaints(path: string): Promise<{ status: number; count: number }> {
  const { status, stdout } = await run('e2fsck', ['-fn', path])
  return { status, count: stdout.match(/\? no$/gm)?.length ?? 0 }
}

/** `e2fsck -fn` looks past a journal that is to be replayed: the state to compare with is the one after that. */
async function complaintsOnceReplayed(
  image: string,
  copy: string,
): Promise<{ status: number; count: number }> {
  await copyImage(image, copy)
  if (/needs_recovery/.test((await run('dumpe2fs', ['-h', copy])).stdout))
    await run('e2fsck', ['-y', '-E', 'journal_only', copy])
  return complaints(copy)
}

// e2fsck repeats, under the new name of `..`, its complaint about obsolete fields that the kernel does not look at either.
const EXCUSED = /^f_recnect_bad.*: mkdir in it/

/** Images that claim far more than is worth copying again and again. */
const MOST_BYTES = 100 << 20

describe.skipIf(peers === undefined || !haveTool('e2fsck'))('damaged images of e2fsprogs', () => {
  test('an edit that drydisk agrees to leaves no more for e2fsck to complain about', async () => {
    const folder = temporaryFolder()
    await runOk('tar', ['-xJf', join(peers ?? '', 'e2fsprogs.tar.xz'), '-C', folder])
    const root = folder
    const path = join(folder, 'edited.img')
    const images = readdirSync(root).filter(name => name.endsWith('.img'))
    const worse: string[] = []
    let turn = 0
    let done = 0
    for (const image of images.sort()) {
      const original = join(root, image)
      if (statSync(original).blocks * 512 > MOST_BYTES) continue
      const names = await readNames(original)
      if (names === undefined) continue
      const edits = editsFor(names)
      let before: { status: number; count: number } | undefined
      for (let count = 0; count < Math.min(SAMPLE, edits.length); count++) {
        // Steps through the list so that the sample has something of every kind over all images.
        turn += SAMPLE < edits.length ? 7 : 1
        const [what, edit] = edits[turn % edits.length] ?? ['', async () => undefined]
        const where = `${basename(image, '.img')}: ${what}`
        if (EXCUSED.test(where)) continue
        await copyImage(original, path)
        if (!(await edited(path, edit))) continue
        done++
        const after = await complaints(path)
        if (after.status === 0) continue
        before ??= await complaintsOnceReplayed(original, join(folder, 'before.img'))
        if (after.status > before.status || after.count > before.count)
          worse.push(`${where}: ${JSON.stringify(before)} became ${JSON.stringify(after)}`)
      }
    }
    expect(worse).toEqual([])
    expect(done).toBeGreaterThan(70)
  }, 900_000)
})
