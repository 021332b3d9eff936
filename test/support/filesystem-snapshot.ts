import { createHash } from 'node:crypto'
import { byteKey } from '../../src/bytes/names.ts'
import type { FileSystem, InodeNumber } from '../../src/filesystem/filesystem.ts'

export interface SnapshotEntry {
  readonly type: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly nlink: number
  /** Of files: length and sha256 of the content. Of symlinks: the target, one character per byte. */
  readonly content?: string
  readonly rdev?: string
  readonly xattrs: Readonly<Record<string, string>>
  readonly mtime?: bigint
  /** The first path, in order, that has the same inode. */
  readonly sameAs: string
}

/** A whole tree as plain data, keyed by path (one character per byte), so that two filesystems can be compared. */
export async function snapshot(
  fs: FileSystem,
  options: { times?: boolean; skip?: readonly string[] } = {},
): Promise<Record<string, SnapshotEntry>> {
  const out: Record<string, SnapshotEntry> = {}
  const first = new Map<InodeNumber, string>()
  const visit = async (path: string, ino: InodeNumber): Promise<void> => {
    if (options.skip?.includes(path)) return
    const stat = await fs.stat(ino)
    if (!first.has(ino)) first.set(ino, path)
    const xattrs: Record<string, string> = {}
    for (const name of (await fs.listxattr(ino)).sort())
      xattrs[name] = Buffer.from((await fs.getxattr(ino, name)) ?? []).toString('hex')
    let content: string | undefined
    if (stat.type === 'file') content = await digest(fs, ino, stat.size)
    if (stat.type === 'symlink') content = byteKey(await fs.readlink(ino))
    out[path] = {
      type: stat.type,
      mode: stat.type === 'symlink' ? 0o777 : stat.mode,
      uid: stat.uid,
      gid: stat.gid,
      nlink: stat.nlink,
      ...(content === undefined ? {} : { content }),
      ...(stat.rdev ? { rdev: `${stat.rdev.major}:${stat.rdev.minor}` } : {}),
      xattrs,
      ...(options.times ? { mtime: stat.mtime } : {}),
      sameAs: first.get(ino) ?? path,
    }
    if (stat.type !== 'directory') return
    const entries: { name: string; ino: InodeNumber; type: string }[] = []
    for await (const entry of fs.readdir(ino)) entries.push({ ...entry, name: byteKey(entry.name) })
    entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    for (const entry of entries) {
      const child = `${path === '/' ? '' : path}/${entry.name}`
      if (out[child]) throw new Error(`${child} is listed twice`)
      await visit(child, entry.ino)
      const { type } = await fs.stat(entry.ino)
      if (type !== entry.type) throw new Error(`${child} is listed as ${entry.type} and is a ${type}`)
    }
  }
  await visit('/', fs.root)
  return out
}

async function digest(fs: FileSystem, ino: InodeNumber, size: number): Promise<string> {
  const hash = createHash('sha256')
  const chunk = new Uint8Array(1 << 20)
  let at = 0
  while (at < size) {
    const count = await fs.read(ino, at, chunk)
    if (count === 0) throw new Error(`inode ${ino} ends at ${at} of ${size} bytes`)
    hash.update(chunk.subarray(0, count))
    at += count
  }
  return `${size}:${hash.digest('hex')}`
}
