import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32c } from '../src/bytes/crc32c.ts'
import { byteKey } from '../src/bytes/names.ts'
import { FileStorage } from '../src/device/file-storage.ts'
import { StorageDevice } from '../src/device/storage-device.ts'
import type { BtrfsFileSystem } from '../src/filesystem/btrfs/filesystem.ts'
import { openBtrfs } from '../src/filesystem/btrfs/open.ts'
import type { FileSystem } from '../src/filesystem/filesystem.ts'
import { runOk, temporaryFolder } from '../test/support/native.ts'

/** One shape of filesystem that mkfs.btrfs makes, and why it is worth having. */
export interface BtrfsVariant {
  readonly name: string
  readonly arguments: readonly string[]
  /** How the kernel mounts it while it is filled. */
  readonly options: string
  readonly megabytes: number
  /** What turns it into the shape when it is filled. */
  readonly afterwards?: readonly (readonly string[])[]
}

export const BTRFS_VARIANTS: readonly BtrfsVariant[] = [
  { name: 'as mkfs.btrfs makes it', arguments: [], options: 'compress=no', megabytes: 256 },
  {
    name: 'xxhash64, nodes of 4 KiB, LZO',
    arguments: ['--csum', 'xxhash', '--nodesize', '4096'],
    options: 'compress-force=lzo',
    megabytes: 256,
  },
  {
    name: 'sha256, nodes of 64 KiB, zlib, file holes with items',
    arguments: ['--csum', 'sha256', '--nodesize', '65536', '-O', '^no-holes'],
    options: 'compress-force=zlib',
    megabytes: 256,
  },
  {
    name: 'blake2b, mixed block groups, zstd',
    arguments: ['--csum', 'blake2', '--mixed'],
    options: 'compress-force=zstd',
    megabytes: 200,
  },
  {
    name: 'data twice, another metadata UUID, zstd',
    arguments: ['--data', 'dup', '--metadata', 'dup', '-R', '^free-space-tree'],
    options: 'compress=zstd,space_cache=v1',
    megabytes: 400,
    afterwards: [['btrfstune', '-m']],
  },
  {
    name: 'RAID0 of one stripe, and seeding',
    arguments: ['--data', 'raid0', '--metadata', 'single'],
    options: 'compress=zlib',
    megabytes: 256,
    afterwards: [['btrfstune', '-S', '1']],
  },
]

/** Names of one length whose hashes are the same: a pair a line. */
export function collidingNames(pairs: number, prefix = ''): string {
  const seen = new Map<number, string>()
  const lines: string[] = []
  // Names that differ in four bytes in a row never collide, so they differ all over.
  const random = (n: number) => Math.imul(n ^ (n >>> 15), 0x2c1b3c6d) >>> 0
  for (let n = 0; lines.length < pairs && n < 2_000_000; n++) {
    const name = `${prefix}${random(n).toString(36)}-${random(n + 77_777_777).toString(36)}`
    const hash = crc32c(0xffff_fffe, Buffer.from(name))
    const other = seen.get(hash)
    if (other !== undefined) lines.push(`${other} ${name}`)
    seen.set(hash, name)
  }
  return lines.join('\n')
}

export async function makeBtrfs(path: string, megabytes: number, args: readonly string[]): Promise<void> {
  await runOk('truncate', ['-s', `${megabytes}M`, path])
  await runOk('mkfs.btrfs', ['-q', '-f', '-L', 'lab', ...args, path])
}

/** Mounts an image by the kernel while `use` runs. Needs root. */
export async function withMount<Result>(
  image: string,
  options: string,
  use: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = temporaryFolder()
  await runOk('mount', ['-t', 'btrfs', '-o', `loop,${options}`, image, folder])
  try {
    return await use(folder)
  } finally {
    await runOk('umount', [folder])
  }
}

const scripts = new URL('btrfs/', import.meta.url).pathname

/** An image with everything in it. Needs root. */
export async function makeFullBtrfs(variant: BtrfsVariant, seed: number): Promise<string> {
  const folder = temporaryFolder()
  const image = join(folder, 'image')
  const names = join(folder, 'names')
  writeFileSync(names, `${collidingNames(3)}\n${collidingNames(2, 'user.')}\n`)
  await makeBtrfs(image, variant.megabytes, variant.arguments)
  await withMount(image, variant.options, top =>
    runOk('python3', [join(scripts, 'populate.py'), top, String(seed), names]),
  )
  for (const [command = '', ...args] of variant.afterwards ?? []) await runOk(command, [...args, image])
  return image
}

/** What is below a mounted folder by the kernel's word, by path. */
export async function kernelTree(folder: string): Promise<Map<string, unknown>> {
  const text = await runOk('python3', [join(scripts, 'walk.py'), folder])
  const rows = text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as { path: string })
  return new Map(rows.map(row => [row.path, row]))
}

const MODES = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  'character-device': 0o020000,
  'block-device': 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
}
const MIB = 1 << 20
/** Numbers of inodes in one subvolume; see InodeNumbers. */
const INODES = 2 ** 38

/** The same by drydisk's. */
export async function ownTree(fs: FileSystem): Promise<Map<string, unknown>> {
  const out = new Map<string, unknown>()
  const visit = async (path: string, ino: number): Promise<void> => {
    const { createHash } = await import('node:crypto')
    const stat = await fs.stat(ino)
    const xattrs: Record<string, string> = {}
    for (const name of (await fs.listxattr(ino)).sort())
      xattrs[name] = Buffer.from((await fs.getxattr(ino, name)) ?? 'missing').toString('hex')
    const row: Record<string, unknown> = {
      path: path || '/',
      mode: MODES[stat.type] + stat.mode,
      ...{
        uid: stat.uid,
        gid: stat.gid,
        nlink: stat.nlink,
        ino: ino % INODES,
        blocks: stat.blocks,
        size: stat.size,
      },
      ...{ atime: `${stat.atime}`, mtime: `${stat.mtime}`, ctime: `${stat.ctime}`, xattrs },
    }
    if (stat.type === 'file') {
      const digest = createHash('sha256')
      const chunk = new Uint8Array(MIB)
      let at = 0
      for await (const { offset, length, kind } of fs.fileExtents(ino)) {
        if (kind === 'hole' || kind === 'unwritten') continue
        at = Math.max(at, Math.floor(offset / MIB) * MIB)
        for (; at < offset + length; at += MIB) {
          const bytes = chunk.subarray(0, await fs.read(ino, at, chunk))
          if (bytes.some(byte => byte !== 0)) digest.update(`${at / MIB}:`).update(bytes)
        }
      }
      row.digest = digest.digest('hex')
    } else if (stat.type === 'symlink') row.target = byteKey(await fs.readlink(ino))
    else if (stat.rdev) row.rdev = `${stat.rdev.major}:${stat.rdev.minor}`
    out.set(row.path as string, row)
    if (stat.type !== 'directory') return
    for await (const entry of fs.readdir(ino)) {
      if ((await fs.lookup(ino, entry.name)) !== entry.ino) throw new Error(`${path}: another inode`)
      await visit(`${path}/${byteKey(entry.name)}`, entry.ino)
      if (entry.type === 'directory' && (await fs.lookup(entry.ino, Buffer.from('..'))) !== ino)
        throw new Error(`${path}: .. leads elsewhere`)
    }
  }
  await visit('', fs.root)
  return out
}

export async function withBtrfs<Result>(
  image: string,
  mountOptions: readonly string[],
  use: (fs: BtrfsFileSystem) => Promise<Result>,
): Promise<Result> {
  const device = new StorageDevice(await FileStorage.open(image, 'read'))
  try {
    return await use(await openBtrfs(device, { mountOptions }))
  } finally {
    await device.close()
  }
}

export function imageBytes(path: string): Uint8Array {
  return new Uint8Array(readFileSync(path))
}
