import { truncateSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { byteKey } from '../../src/bytes/names.ts'
import type { FileSystem, InodeNumber } from '../../src/filesystem/filesystem.ts'
import { run, runOk } from './native.ts'

/** Options of mke2fs that decide the shape of a filesystem; not every mix of them is one that mke2fs makes. */
export interface RandomShape {
  readonly kilobytes: number
  readonly options: readonly string[]
  /** For tune2fs -E: how names are hashed from now on. */
  readonly hash: string | undefined
}

/** Features that may be on or off in a filesystem that is written to. */
const TOGGLES = [
  'ext_attr',
  'resize_inode',
  'dir_index',
  'filetype',
  'extent',
  '64bit',
  'flex_bg',
  'meta_bg',
  'sparse_super',
  'sparse_super2',
  'large_file',
  'huge_file',
  'dir_nlink',
  'extra_isize',
  'metadata_csum',
  'metadata_csum_seed',
  'uninit_bg',
  'inline_data',
  'large_dir',
  'ea_inode',
  'orphan_file',
  'fast_commit',
] as const

/** Shapes that mke2fs refuses are refused here by the test: `makeRandom` says so. */
export const randomShape: fc.Arbitrary<RandomShape> = fc
  .record({
    type: fc.constantFrom('ext2', 'ext3', 'ext4', 'ext4', 'ext4'),
    blockSize: fc.constantFrom(1024, 1024, 2048, 4096),
    inodeSize: fc.constantFrom(128, 256, 256, 512, 1024),
    toggles: fc.uniqueArray(fc.tuple(fc.constantFrom(...TOGGLES), fc.boolean()), {
      selector: ([name]) => name,
      maxLength: 6,
    }),
    blocksPerGroup: fc.option(fc.constantFrom(256, 512, 1024, 2048, 8192), { nil: undefined, freq: 2 }),
    groupsPerFlex: fc.constantFrom(undefined, 1, 2, 4, 64),
    inodes: fc.constantFrom(undefined, 64, 128, 600, 4000),
    journal: fc.constantFrom(undefined, undefined, 4, 8),
    megabytes: fc.constantFrom(6, 16, 24, 40),
    reserved: fc.constantFrom(0, 5),
    hash: fc.constantFrom(undefined, 'legacy', 'half_md4', 'tea'),
  })
  .map(shape => {
    const options = ['-t', shape.type, '-b', `${shape.blockSize}`, '-m', `${shape.reserved}`]
    options.push('-I', `${Math.min(shape.inodeSize, shape.blockSize)}`)
    if (shape.toggles.length > 0)
      options.push('-O', shape.toggles.map(([name, on]) => (on ? name : `^${name}`)).join(','))
    if (shape.blocksPerGroup !== undefined)
      options.push('-g', `${Math.min(shape.blocksPerGroup, shape.blockSize * 8)}`)
    if (shape.groupsPerFlex !== undefined) options.push('-G', `${shape.groupsPerFlex}`)
    if (shape.inodes !== undefined) options.push('-N', `${shape.inodes}`)
    if (shape.journal !== undefined && shape.type !== 'ext2') options.push('-J', `size=${shape.journal}`)
    return { kilobytes: shape.megabytes * 1024, options, hash: shape.hash }
  })

/** Makes the image; `false` where mke2fs or e2fsck say that there is no such filesystem. */
export async function makeRandom(path: string, shape: RandomShape): Promise<boolean> {
  writeFileSync(path, '')
  truncateSync(path, shape.kilobytes * 1024)
  if ((await run('mke2fs', ['-q', '-F', ...shape.options, path])).status !== 0) return false
  if (shape.hash !== undefined) await run('tune2fs', ['-E', `hash_alg=${shape.hash}`, path])
  return (await run('e2fsck', ['-fn', path])).status === 0
}

/** What both the kernel and drydisk can say of one path. */
export interface TreeRow {
  /** Type and permissions, `0o100644`. */
  readonly mode: string
  readonly uid: number
  readonly gid: number
  readonly nlink: number
  /** Nanoseconds, in decimal digits. */
  readonly mtime: string
  readonly ctime: string
  readonly ino: number
  /** Values in hexadecimal. */
  readonly xattrs: Readonly<Record<string, string>>
  readonly size?: number
  readonly sha256?: string
  readonly target?: string
  readonly rdev?: readonly number[]
}

/** The tree as the kernel shows it below a mount point; needs python3. */
export async function kernelTree(root: string): Promise<Record<string, TreeRow>> {
  const script = new URL('../real/walk.py', import.meta.url).pathname
  const rows: Record<string, TreeRow> = {}
  for (const line of (await runOk('python3', [script, root])).split('\n')) {
    if (line === '') continue
    const {
      path,
      atime: _,
      ...row
    } = JSON.parse(line.replace(/"([cm]time)": (-?\d+)/g, '"$1": "$2"')) as TreeRow & {
      path: string
      atime: unknown
    }
    rows[path] = row
  }
  return rows
}

/** The same rows as drydisk reads them. */
export async function ownTree(
  fs: FileSystem,
  digest: (ino: InodeNumber) => Promise<string>,
): Promise<Record<string, TreeRow>> {
  const types: Readonly<Record<string, number>> = {
    fifo: 0x1000,
    'character-device': 0x2000,
    directory: 0x4000,
    'block-device': 0x6000,
    file: 0x8000,
    symlink: 0xa000,
    socket: 0xc000,
  }
  const rows: Record<string, TreeRow> = {}
  const visit = async (path: string, ino: InodeNumber): Promise<void> => {
    const stat = await fs.stat(ino)
    const xattrs: Record<string, string> = {}
    for (const name of [...(await fs.listxattr(ino))].sort())
      xattrs[name] = Buffer.from((await fs.getxattr(ino, name)) ?? []).toString('hex')
    rows[path === '' ? '/' : path] = {
      mode: `0o${((types[stat.type] ?? 0) | stat.mode).toString(8)}`,
      uid: stat.uid,
      gid: stat.gid,
      nlink: stat.nlink,
      mtime: String(stat.mtime),
      ctime: String(stat.ctime),
      ino,
      xattrs,
      ...(stat.type === 'file' ? { size: stat.size, sha256: await digest(ino) } : {}),
      ...(stat.type === 'symlink' ? { target: byteKey(await fs.readlink(ino)) } : {}),
      ...(stat.rdev === undefined ? {} : { rdev: [stat.rdev.major, stat.rdev.minor] }),
    }
    if (stat.type !== 'directory') return
    const entries: { name: string; ino: InodeNumber }[] = []
    for await (const entry of fs.readdir(ino)) entries.push({ name: byteKey(entry.name), ino: entry.ino })
    for (const entry of entries) await visit(`${path}/${entry.name}`, entry.ino)
  }
  await visit('', fs.root)
  return rows
}
