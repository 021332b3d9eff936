import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeFileSystem } from '../../native-fixtures/ext4-journals.ts'
import { byteKey, toBytes } from '../../src/bytes/names.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import type { FileSystem, InodeNumber, InodeStat } from '../../src/filesystem/filesystem.ts'
import { haveTool, peersFolder, propertySettings, runOk, temporaryFolder } from '../support/native.ts'

const peers = peersFolder()

/** Unpacks an archive of cases and gives the folder that has the images. */
async function unpack(archive: string): Promise<string> {
  const folder = temporaryFolder()
  if (peers !== undefined) await runOk('tar', ['-xJf', join(peers, `${archive}.tar.xz`), '-C', folder])
  return folder
}

async function find(folder: string, pattern: string): Promise<string[]> {
  const found = await runOk('find', [folder, '-name', pattern])
  return found.split('\n').filter(Boolean).sort()
}

/** What was read of one path, or the code of the error that it gave. */
interface Seen {
  readonly stat?: InodeStat
  readonly hash?: string
  readonly error?: string
}

/** Bytes that are read of one file, and names of one directory: beyond, an image is merely large. */
const MOST_BYTES = 8 << 20
const MOST_NAMES = 3000

/** Reads everything there is. Any error that is not a DrydiskError fails the test, as does an endless walk. */
async function readAll(fs: FileSystem): Promise<Record<string, Seen>> {
  const seen: Record<string, Seen> = {}
  const visited = new Set<InodeNumber>()
  const chunk = new Uint8Array(64 << 10)
  const typed = async (path: string, what: () => Promise<void>): Promise<void> => {
    try {
      await what()
    } catch (error) {
      if (!isDrydiskError(error)) throw new Error(`${path}: ${String(error)}`, { cause: error })
      seen[path] = { ...seen[path], error: error.code }
    }
  }
  const visit = async (path: string, ino: InodeNumber, depth: number): Promise<void> => {
    await typed(path, async () => {
      const stat = await fs.stat(ino)
      seen[path] = { stat }
      for (const name of await fs.listxattr(ino)) await fs.getxattr(ino, name)
      if (stat.type === 'symlink') seen[path] = { stat, hash: byteKey(await fs.readlink(ino)) }
      if (stat.type === 'file') {
        for await (const extent of fs.fileExtents(ino)) if (extent.offset > MOST_BYTES) break
        const hash = createHash('sha256')
        for (let at = 0; at < Math.min(stat.size, MOST_BYTES); ) {
          const count = await fs.read(ino, at, chunk)
          if (count === 0) throw new Error(`${path} ends at ${at} of ${stat.size}`)
          hash.update(chunk.subarray(0, count))
          at += count
        }
        if (stat.size <= MOST_BYTES) seen[path] = { stat, hash: hash.digest('hex') }
      }
    })
    if (seen[path]?.stat?.type !== 'directory' || visited.has(ino) || depth > 40) return
    visited.add(ino)
    const entries: { name: string; ino: InodeNumber }[] = []
    await typed(path, async () => {
      for await (const entry of fs.readdir(ino)) {
        if (entries.length >= MOST_NAMES) break
        entries.push({ name: byteKey(entry.name), ino: entry.ino })
      }
    })
    for (const entry of entries) await visit(`${path}/${entry.name}`, entry.ino, depth + 1)
  }
  await visit('', fs.root, 0)
  return seen
}

async function readImage(path: string): Promise<Record<string, Seen> | undefined> {
  const device = new StorageDevice(await FileStorage.open(path, 'read'))
  try {
    return await readAll(await openExt4(device))
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return undefined
  } finally {
    await device.close()
  }
}

/** One line of a manifest: what the kernel shows of one path. */
interface ManifestRow {
  readonly path?: string
  /** Octal digits. */
  readonly mode?: string
  readonly uid?: number
  readonly nlink?: number
  readonly sha256?: string
}

type Tree = Readonly<Record<string, readonly [string, number, number, string]>>

describe.skipIf(peers === undefined || !haveTool('e2fsck'))('images of other projects', async () => {
  const folder = await unpack('e2fsprogs')
  const images = await find(folder, '[dfjmrtu]_*.img')
  const answer = async <Answers>(name: string): Promise<Answers> =>
    JSON.parse(readFileSync((await find(folder, name))[0] ?? '/dev/null', 'utf8') || '{}') as Answers
  const trees = await answer<Record<string, Tree>>('e2fsprogs-trees.json')
  const checks = await answer<Record<string, { fn_rc: string; needs_recovery: string }>>('e2fsprogs.json')

  test('damaged ones give a tree or a typed error, soon; sound ones the tree that e2fsck leaves', async () => {
    expect(images.length).toBeGreaterThan(150)
    for (const image of images) {
      const name = basename(image, '.img')
      const started = performance.now()
      const seen = await readImage(image)
      expect(performance.now() - started, name).toBeLessThan(20_000)
      const tree = trees[name]
      const sound = checks[name]?.fn_rc === '0' && checks[name]?.needs_recovery === '0'
      if (seen === undefined || tree === undefined || !sound) continue
      for (const [path, { stat, hash, error }] of Object.entries(seen)) {
        const expected = tree[path]
        if (!Array.isArray(expected) || error !== undefined || stat === undefined) continue
        expect({ name, path, mode: stat.mode }).toEqual({ name, path, mode: expected[1] })
        // Longer files have no hash here, and `big` there.
        if (stat.type === 'file' && hash !== undefined && String(expected[3]).length === 64)
          expect({ name, path, size: stat.size, hash }).toEqual({
            name,
            path,
            size: expected[2],
            hash: expected[3],
          })
      }
    }
    expect(process.memoryUsage().rss).toBeLessThan(900 << 20)
  })

  test('trees of other implementations read as the kernel shows them', async () => {
    const real = await unpack('peers')
    let compared = 0
    for (const manifest of await find(real, '*.manifest.jsonl')) {
      const image = manifest.replace(/\.manifest\.jsonl$/, '')
      const seen = /xfs/.test(image) ? undefined : await readImage(image)
      if (seen === undefined) continue
      for (const line of readFileSync(manifest, 'utf8').split('\n')) {
        const row: ManifestRow = line === '' ? {} : JSON.parse(line)
        if (row.path === undefined) continue
        const path = row.path === '/' ? '' : row.path
        const { stat, hash } = seen[path] ?? seen[byteKey(toBytes(path))] ?? {}
        expect({
          image: basename(image),
          path,
          mode: stat?.mode,
          uid: stat?.uid,
          nlink: stat?.nlink,
        }).toEqual({
          image: basename(image),
          path,
          mode: Number.parseInt(String(row.mode), 8),
          uid: row.uid,
          nlink: row.nlink,
        })
        if (row.sha256 !== undefined && hash !== undefined) expect(hash).toBe(row.sha256)
        compared++
      }
    }
    expect(compared).toBeGreaterThan(20)
  })

  test('images that syzkaller starts from give a tree or a typed error', async () => {
    for (const image of await find(await unpack('syz'), 'ext4_*.img')) await readImage(image)
  })
})

describe.skipIf(!haveTool('mkfs.ext4'))('bytes that changed', () => {
  test.each([
    ['without checksums', ['-O', '^metadata_csum,inline_data', '-b', '1024', '-N', '64']],
    ['with checksums', ['-O', 'metadata_csum,inline_data', '-b', '1024', '-N', '64']],
    ['ext2', ['-t', 'ext2', '-b', '1024', '-N', '64']],
  ])('%s: reading and writing end in a result or a typed error', async (_, options) => {
    const folder = temporaryFolder()
    const source = join(folder, 'source')
    await runOk('sh', [
      '-ec',
      `mkdir -p ${source}/d/e; cd ${source}; for i in $(seq 1 40); do echo $i > d/name-$i; done
      head -c 300000 /dev/urandom > big; dd if=big of=holes bs=1 seek=900000 count=10 conv=notrunc status=none
      ln -s $(printf 't%.0s' $(seq 1 80)) slow; ln -s fast fast`,
    ])
    const path = join(folder, 'good.img')
    await makeFileSystem(path, 3 << 20, [...options, '-O', '^has_journal', '-d', source])
    const good = new Uint8Array(readFileSync(path))
    // Metadata lies at the start here: superblock, descriptors, bitmaps, the inode table, directories.
    const spots = fc.array(fc.tuple(fc.nat(60 << 10), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 6,
    })
    await fc.assert(
      fc.asyncProperty(spots, fc.boolean(), async (flips, write) => {
        const bad = good.slice()
        for (const [offset, flip] of flips) bad[1024 + offset] = (bad[1024 + offset] ?? 0) ^ flip
        const started = performance.now()
        const device = new OverlayDevice(new MemoryDevice(bad))
        try {
          const fs = await openExt4(device, { writable: write })
          const seen = await readAll(fs)
          if (write) {
            const made = await fs.mkdir(fs.root, toBytes('new'), { mode: 0o755, uid: 0, gid: 0 })
            const ino = await fs.create(made, toBytes('file'), { mode: 0o644, uid: 0, gid: 0 })
            await fs.write(ino, 100, new Uint8Array(5000))
            for (const [name, { stat }] of Object.entries(seen))
              if (stat?.type === 'file' && name.lastIndexOf('/') === 0) {
                await fs.truncate(stat.ino, Math.min(stat.size, 10_000) >>> 1)
                await fs.unlink(fs.root, toBytes(name.slice(1)))
              }
            await fs.sync()
          }
        } catch (error) {
          if (!isDrydiskError(error)) {
            writeFileSync(join(folder, 'bad.img'), bad)
            throw error
          }
        }
        expect(performance.now() - started).toBeLessThan(20_000)
      }),
      propertySettings(100),
    )
    expect(readdirSync(folder)).not.toContain('bad.img')
  })
})
