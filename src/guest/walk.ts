import { DrydiskError } from '../errors.ts'
import type { FileType } from '../filesystem/filesystem.ts'
import type { GuestPath } from './guest-fs.ts'
import { isDot, isDotDot, splitPath } from './guest-path.ts'
import { fileSystemOf, type MountTable, type Place, rootOf } from './mount-table.ts'

/** As MAXSYMLINKS in Linux (include/linux/namei.h). */
const MAX_SYMLINKS = 40

export interface Walked {
  /** What the path names; `undefined` when only the last name is missing. */
  readonly place: Place | undefined
  readonly type: FileType | undefined
  /** The directory that holds the last name, and the name; `undefined` when the path ends in `/`, `.` or `..`. */
  readonly parent: Place | undefined
  readonly name: Uint8Array | undefined
  /** The names from the root, every symlink resolved. */
  readonly trail: readonly Uint8Array[]
  /** Whether a filesystem is mounted on it. */
  readonly covered: boolean
}

/** Walks a path as a process in a chroot would. Everything but the last name has to be there. */
export async function walk(table: MountTable, path: GuestPath, followLast: boolean): Promise<Walked> {
  const split = splitPath(path)
  const pending = [...split.names].reverse()
  const trail: Uint8Array[] = []
  const root = rootOf(table.root)
  let at: Place = root
  let type: FileType = 'directory'
  let parent: Place | undefined
  let last: Uint8Array | undefined
  let covered = false
  let symlinks = 0
  let mustBeDirectory = split.mustBeDirectory

  for (let name = pending.pop(); name; name = pending.pop()) {
    if (type !== 'directory') throw new DrydiskError('ENOTDIR', 'a part of the path is not a directory')
    parent = undefined
    last = undefined
    covered = false
    if (isDot(name)) continue
    if (isDotDot(name)) {
      at = await parentOf(table, at, name)
      trail.pop()
      continue
    }
    const fs = fileSystemOf(at.mount)
    const isLast = pending.length === 0
    let ino: number
    try {
      ino = await fs.lookup(at.ino, name)
    } catch (error) {
      if (isLast && error instanceof DrydiskError && error.code === 'ENOENT')
        return {
          place: undefined,
          type: undefined,
          parent: at,
          name,
          trail: [...trail, name],
          covered: false,
        }
      throw error
    }
    const stat = await fs.stat(ino)
    if (stat.type === 'symlink' && (!isLast || followLast || mustBeDirectory)) {
      if (++symlinks > MAX_SYMLINKS) throw new DrydiskError('ELOOP', 'more than 40 symlinks on the way')
      const target = await fs.readlink(ino)
      const inner = splitPath(target)
      if (isLast) mustBeDirectory ||= inner.mustBeDirectory
      for (let i = inner.names.length - 1; i >= 0; i--) {
        const one = inner.names[i]
        if (one) pending.push(one)
      }
      if (target[0] === 0x2f) {
        at = root
        trail.length = 0
      }
      continue
    }
    parent = at
    last = name
    trail.push(name)
    at = { mount: at.mount, ino }
    type = stat.type
    const mount = type === 'directory' ? table.covering(at) : undefined
    if (mount) {
      at = rootOf(mount)
      covered = true
    }
  }
  if (mustBeDirectory && type !== 'directory')
    throw new DrydiskError('ENOTDIR', 'a part of the path is not a directory')
  return { place: at, type, parent, name: last, trail, covered }
}

/** `..`: out of a mounted filesystem where it has to, and never out of the guest. */
async function parentOf(table: MountTable, place: Place, dotDot: Uint8Array): Promise<Place> {
  let at = place
  for (let root = rootOf(at.mount); at.ino === root.ino; root = rootOf(at.mount)) {
    const { covers } = at.mount
    if (!covers) return at
    at = covers
  }
  const above: Place = { mount: at.mount, ino: await fileSystemOf(at.mount).lookup(at.ino, dotDot) }
  const mount = table.covering(above)
  return mount ? rootOf(mount) : above
}
