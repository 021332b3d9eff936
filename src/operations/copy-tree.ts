import { equalBytes } from '../config/text.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { GuestFs, GuestStats } from '../guest/guest-fs.ts'
import { displayPath, joinPath, lstatOrUndefined } from './guest-files.ts'
import type { ByteSource, SourceNode } from './source-tree.ts'
import { writeFromSource } from './source-tree.ts'

const CHUNK = 1 << 20

/** Deeper folders than this are refused: a tree that comes from an image may be a loop. */
const MAX_DEPTH = 200

/** How many files and folders a copy made and changed so far. */
export interface CopyCounts {
  created: number
  changed: number
  /** Where a file of several names was put first, by its identity. */
  readonly firstNames?: Map<string, Uint8Array>
}

/**
 * Copies a tree from outside to `target` (a path that includes the last name). Existing folders are merged; a file takes
 * the place of a symlink (as tar does), and content is written in place, only where it differs. Where the source says no
 * owner, a file that is there keeps owner and mode. A file where a folder is to go, or the other way round, is `EEXIST`.
 */
export async function copyInto(
  guest: GuestFs,
  target: Uint8Array,
  node: SourceNode,
  counts: CopyCounts,
  depth = 0,
): Promise<void> {
  if (depth > MAX_DEPTH)
    throw new DrydiskError('ELOOP', `${displayPath(target)}: more than ${MAX_DEPTH} folders deep`, {
      path: displayPath(target),
    })
  const { content } = node
  const mode = node.mode & 0o7777
  const uid = node.uid ?? 0
  const gid = node.gid ?? 0
  let existing = await lstatOrUndefined(guest, target)

  if (content.type === 'symlink') {
    if (existing?.isSymbolicLink() && equalBytes(await guest.readlink(target), content.target)) return
    if (existing) await removeNonFolder(guest, target, existing)
    await guest.symlink(content.target, target)
    await guest.lchown(target, uid, gid)
    count(counts, existing)
    return
  }
  if (existing?.isSymbolicLink() && content.type !== 'directory') {
    await guest.unlink(target)
    existing = undefined
  }

  if (content.type === 'directory') {
    const folder = existing?.isSymbolicLink() ? await guest.stat(target) : existing
    if (folder && !folder.isDirectory()) throw mismatch(target, 'a folder', folder)
    if (!folder) {
      await guest.mkdir(target, { mode, uid, gid })
      counts.created++
    }
    for await (const child of content.children())
      await copyInto(guest, joinPath(target, checkName(child.name)), child, counts, depth + 1)
    // A folder that was there keeps its owner and mode: copying into /etc must not change /etc.
    if (!folder && node.mtimeNs !== undefined) await guest.utimes(target, node.mtimeNs, node.mtimeNs)
    return
  }

  if (content.type === 'file') {
    if (existing && !existing.isFile()) throw mismatch(target, 'a file', existing)
    if (!existing && (await linkToFirst(guest, target, content.identity, counts))) {
      counts.created++
      return
    }
    const result = await writeFromSource(guest, target, content.source, { mode, uid, gid })
    const attributes =
      (!existing || node.uid !== undefined) && (await setAttributes(guest, target, mode, uid, gid))
    if (result === 'created') counts.created++
    else if (result === 'changed' || attributes) counts.changed++
    if (result !== 'same' && node.mtimeNs !== undefined)
      await guest.utimes(target, node.mtimeNs, node.mtimeNs)
    return
  }

  if (existing) {
    const same =
      existing.type === content.type &&
      (!('device' in content) ||
        (existing.rdev.major === content.device.major && existing.rdev.minor === content.device.minor))
    if (same) return
    await removeNonFolder(guest, target, existing)
  }
  const device = 'device' in content ? content.device : { major: 0, minor: 0 }
  await guest.mknod(target, content.type, device, { mode, uid, gid })
  count(counts, existing)
}

/** Makes a further name of a file that was copied already. */
async function linkToFirst(
  guest: GuestFs,
  target: Uint8Array,
  identity: string | undefined,
  { firstNames }: CopyCounts,
): Promise<boolean> {
  if (identity === undefined || !firstNames) return false
  const first = firstNames.get(identity)
  if (first === undefined) {
    firstNames.set(identity, target)
    return false
  }
  try {
    await guest.link(first, target)
    return true
  } catch (error) {
    // Another filesystem is mounted there, or there are too many names: a copy of its own will do.
    if (isDrydiskError(error, 'EXDEV') || isDrydiskError(error, 'EMLINK')) return false
    throw error
  }
}

/** A name from outside must stay one component, or it would lead out of the folder that is copied to. */
function checkName(name: Uint8Array): Uint8Array {
  const dots = name.every(byte => byte === 0x2e) && name.length <= 2
  if (dots || name.includes(0x2f) || name.includes(0))
    throw new DrydiskError('ERR_NOT_ALLOWED', `"${displayPath(name)}" is not a file name`)
  return name
}

function count(counts: CopyCounts, existing: GuestStats | undefined): void {
  if (existing) counts.changed++
  else counts.created++
}

async function setAttributes(
  guest: GuestFs,
  path: Uint8Array,
  mode: number,
  uid: number,
  gid: number,
): Promise<boolean> {
  const stats = await guest.lstat(path)
  let changed = false
  if (stats.uid !== uid || stats.gid !== gid) {
    await guest.lchown(path, uid, gid)
    changed = true
  }
  if (((await guest.lstat(path)).mode & 0o7777) !== mode) {
    await guest.chmod(path, mode)
    changed = true
  }
  return changed
}

async function removeNonFolder(guest: GuestFs, path: Uint8Array, existing: GuestStats): Promise<void> {
  if (existing.isDirectory()) throw mismatch(path, 'something else', existing)
  await guest.unlink(path)
}

function mismatch(path: Uint8Array, wanted: string, found: GuestStats): DrydiskError {
  return new DrydiskError(
    'EEXIST',
    `${displayPath(path)} is a ${found.type} where ${wanted} is to go; remove or rename it first`,
    { path: displayPath(path) },
  )
}

/** A path of the guest as a source, so that copying within the guest and into it are one code. */
export async function guestNode(guest: GuestFs, path: Uint8Array, name: Uint8Array): Promise<SourceNode> {
  const stats = await guest.lstat(path)
  const common = { name, mode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid, mtimeNs: stats.mtimeNs }
  switch (stats.type) {
    case 'file':
      return {
        ...common,
        content: {
          type: 'file',
          source: guestSource(guest, path, stats.size),
          ...(stats.nlink > 1 ? { identity: `${stats.dev}:${stats.ino}` } : {}),
        },
      }
    case 'symlink':
      return { ...common, content: { type: 'symlink', target: await guest.readlink(path) } }
    case 'character-device':
    case 'block-device':
      return { ...common, content: { type: stats.type, device: stats.rdev } }
    case 'fifo':
    case 'socket':
      return { ...common, content: { type: stats.type } }
    case 'directory':
      return {
        ...common,
        content: {
          type: 'directory',
          async *children() {
            for (const entry of await guest.readdir(path))
              yield await guestNode(guest, joinPath(path, entry.name), entry.name)
          },
        },
      }
  }
}

function guestSource(guest: GuestFs, path: Uint8Array, size: number): ByteSource {
  return {
    name: displayPath(path),
    async *chunks() {
      for (let offset = 0; offset < size; ) {
        const chunk = new Uint8Array(Math.min(CHUNK, size - offset))
        const read = await guest.readAt(path, offset, chunk)
        if (read === 0) return
        yield chunk.subarray(0, read)
        offset += read
      }
    },
  }
}

/**
 * Extended attributes of a tree, copied where both ends have them. `security.selinux` is left out: the copy gets the label
 * of its own path.
 */
export async function copyXattrs(guest: GuestFs, from: Uint8Array, to: Uint8Array): Promise<void> {
  try {
    const names = await guest.listxattr(from)
    for (const name of names) {
      if (name === 'security.selinux') continue
      const value = await guest.getxattr(from, name)
      const old = await guest.getxattr(to, name)
      if (value && !(old && equalBytes(value, old))) await guest.setxattr(to, name, value)
    }
  } catch (error) {
    if (isDrydiskError(error, 'ENOTSUP')) return
    throw error
  }
  if (!(await guest.lstat(from)).isDirectory()) return
  for (const entry of await guest.readdir(from))
    await copyXattrs(guest, joinPath(from, entry.name), joinPath(to, entry.name))
}
