import { createHash } from 'node:crypto'
import { byteKey } from '../../src/bytes/names.ts'
import type { FileSystem, InodeNumber } from '../../src/filesystem/filesystem.ts'
import { runOk } from './native.ts'

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

/** SHA-256 of a file's content, in hexadecimal. */
export function digester(fs: FileSystem): (ino: InodeNumber) => Promise<string> {
  return async ino => {
    const hash = createHash('sha256')
    const chunk = new Uint8Array(1 << 20)
    for (let at = 0; ; ) {
      const count = await fs.read(ino, at, chunk)
      if (count === 0) return hash.digest('hex')
      hash.update(chunk.subarray(0, count))
      at += count
    }
  }
}
