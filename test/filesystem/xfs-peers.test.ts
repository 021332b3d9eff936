import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { byteKey, decodeUtf8, toBytes } from '../../src/bytes/names.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { SliceDevice } from '../../src/device/slice-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'
import type { XfsFileSystem } from '../../src/filesystem/xfs/filesystem.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import {
  checkWrittenImages,
  haveTool,
  peersFolder,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { withXfs } from '../support/xfs-image.ts'

checkWrittenImages()
const peers = peersFolder()
const isHere = peers !== undefined && haveTool('xfs_repair') && haveTool('qemu-img')

/** What Linux shows of one path, as a line of a manifest has it. */
interface Row {
  readonly path: string
  readonly type: string
  /** Octal digits. */
  readonly mode: string
  readonly uid: number
  readonly gid: number
  /** Whole seconds. */
  readonly mtime: number
  readonly nlink?: number
  readonly size?: number
  readonly sha256?: string
  readonly target?: string
  readonly rdev?: readonly [number, number]
  /** The first 16 digits of each value's SHA-256. */
  readonly xattrs?: Readonly<Record<string, string>>
}

const MOST_BYTES = 512 << 20

const LETTERS: Readonly<Record<string, string>> = {
  file: 'f',
  directory: 'd',
  symlink: 'l',
  'block-device': 'b',
  'character-device': 'c',
  fifo: 'p',
  socket: 's',
}

function textOf(name: Uint8Array): string {
  return decodeUtf8(name) ?? byteKey(name)
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function contentHash(fs: XfsFileSystem, ino: InodeNumber, size: number): Promise<string> {
  const hash = createHash('sha256')
  const chunk = new Uint8Array(1 << 20)
  for (let at = 0; at < size; ) {
    const count = await fs.read(ino, at, chunk)
    if (count === 0) throw new Error(`inode ${ino} ends at ${at} of ${size}`)
    hash.update(chunk.subarray(0, count))
    at += count
  }
  return hash.digest('hex')
}

/** Everything that a manifest could have of one inode. */
async function rowOf(fs: XfsFileSystem, path: string, ino: InodeNumber): Promise<Row> {
  const stat = await fs.stat(ino)
  const xattrs: Record<string, string> = {}
  for (const name of await fs.listxattr(ino))
    xattrs[name] = sha256((await fs.getxattr(ino, name)) ?? new Uint8Array()).slice(0, 16)
  return {
    path,
    type: LETTERS[stat.type] ?? stat.type,
    mode: (stat.mode & 0o7777).toString(8).padStart(4, '0'),
    uid: stat.uid,
    gid: stat.gid,
    mtime: Number(stat.mtime / 1_000_000_000n),
    nlink: stat.nlink,
    ...(stat.type === 'file' && { size: stat.size }),
    // A manifest has no hash of a file that is a hole of a terabyte.
    ...(stat.type === 'file' && stat.size <= MOST_BYTES && { sha256: await contentHash(fs, ino, stat.size) }),
    ...(stat.type === 'symlink' && { target: textOf(await fs.readlink(ino)) }),
    ...(stat.rdev !== undefined && { rdev: [stat.rdev.major, stat.rdev.minor] }),
    ...(Object.keys(xattrs).length > 0 && { xattrs }),
  }
}

async function* rows(fs: XfsFileSystem, path = '/', ino = fs.root): AsyncGenerator<Row> {
  const row = await rowOf(fs, path, ino)
  yield row
  if (row.type !== 'd') return
  for await (const entry of fs.readdir(ino))
    yield* rows(fs, `${path === '/' ? '' : path}/${textOf(entry.name)}`, entry.ino)
}

async function unpacked(archive: string, pattern: string): Promise<string[]> {
  const folder = temporaryFolder()
  await runOk('tar', ['-xJf', join(peers ?? '', `${archive}.tar.xz`), '-C', folder, '--wildcards', pattern])
  return (await runOk('find', [folder, '-type', 'f'])).trim().split('\n').sort()
}

/** The image as a raw file, and in it the volume with the XFS. */
async function withVolume(image: string, use: (fs: XfsFileSystem) => Promise<void>): Promise<void> {
  let raw = image
  if (image.endsWith('.vhdx')) {
    raw = join(temporaryFolder(), 'disk.raw')
    await runOk('qemu-img', ['convert', '-O', 'raw', image, raw])
  }
  const device = new StorageDevice(await FileStorage.open(raw, 'read'))
  try {
    const { volumes } = await readVolumes(device)
    const [first] = volumes
    const volume = raw === image ? device : new SliceDevice(device, first?.offset ?? 0, first?.length ?? 0)
    await use(await openXfs(volume))
  } finally {
    await device.close()
  }
}

/** A folder with a file, and nothing else. */
async function edit(image: string): Promise<void> {
  await withXfs(image, 'write', async fs => {
    const made = await fs.mkdir(fs.root, toBytes('drydisk'), { mode: 0o755, uid: 0, gid: 0 })
    const ino = await fs.create(made, toBytes('file'), { mode: 0o644, uid: 0, gid: 0 })
    await fs.write(ino, 100, new Uint8Array(5000).fill(7))
    await fs.sync()
  })
}

describe.skipIf(!isHere)('XFS of other projects', async () => {
  const files = isHere ? await unpacked('peers', '*xfs*') : []

  test.each(files.filter(file => file.endsWith('.jsonl')).map(file => [basename(file), file]))(
    '%s is what Linux shows',
    async (_, manifest) => {
      const theirs = new Map<string, Row>()
      for (const line of readFileSync(manifest, 'utf8').split('\n')) {
        const row = (line === '' ? {} : JSON.parse(line)) as Partial<Row>
        if (row.path !== undefined) theirs.set(row.path, row as Row)
      }
      expect(theirs.size).toBeGreaterThan(3)
      await withVolume(manifest.replace(/\.manifest\.jsonl$/, ''), async fs => {
        const ours = new Map<string, Partial<Row>>()
        for await (const row of rows(fs)) {
          const asked = theirs.get(row.path) ?? row
          // A line may lack fields, but never some of the attributes.
          const told = Object.entries(row).filter(([field]) => field in asked || field === 'xattrs')
          ours.set(row.path, Object.fromEntries(told))
        }
        expect(ours).toEqual(theirs)
      })
    },
  )

  test.each(
    files.filter(file => file.endsWith('.img') && !/_rt\d/.test(file)).map(file => [basename(file), file]),
  )('%s is sound after an edit', async (_, image) => {
    await edit(writes(image, 'xfs'))
  })

  test('beside a real-time device, what is not on it is edited', async () => {
    const [volume = '', realtime = ''] = files.filter(file => /_rt\d\.img$/.test(file))
    const check = async () => (await run('xfs_repair', ['-n', '-r', realtime, volume])).status
    expect(await check()).toBe(0)
    await edit(volume)
    expect(await check()).toBe(0)
    await expect(edit(realtime)).rejects.toSatisfy(isDrydiskError)
  })

  test('images that syzkaller starts from have the tree that Linux sees, and an edit makes none worse', async () => {
    const [answers, ...images] = (await unpacked('syz', '*[sx][yf][zs]*')).sort(
      (a, b) => Number(b.endsWith('.json')) - Number(a.endsWith('.json')),
    )
    const answer = JSON.parse(readFileSync(answers ?? '', 'utf8')) as Record<
      string,
      { readonly entries: string; readonly tool_rc: string }
    >
    let compared = 0
    for (const image of images.filter(path => basename(path).startsWith('xfs_'))) {
      const name = basename(image, '.img')
      const { entries, tool_rc } = answer[name] ?? {}
      const read = async () => {
        let count = 0
        await withXfs(image, 'read', async fs => {
          for await (const _ of rows(fs)) count++
        })
        return count
      }
      const before = await run('xfs_repair', ['-n', image])
      try {
        const count = await read()
        if (entries !== '-') expect({ name, count }).toEqual({ name, count: Number(entries) })
        await edit(image)
        expect({ name, count: await read() }).toEqual({ name, count: count + 2 })
        compared++
      } catch (error) {
        if (!isDrydiskError(error)) throw error
        expect({ name, code: error.code }).toEqual({ name, code: 'ERR_UNSUPPORTED' })
      }
      const after = await run('xfs_repair', ['-n', image])
      expect({ name, tool_rc, status: after.status }).toEqual({ name, tool_rc, status: before.status })
    }
    expect(compared).toBeGreaterThan(10)
  })
})
