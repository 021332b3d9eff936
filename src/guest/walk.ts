import { byteKey } from '../bytes/names.ts'
import { DrydiskError } from '../errors.ts'
import type { FileType } from '../filesystem/filesystem.ts'
import type { GuestPath } from './guest-fs.ts'
import { isDot, isDotDot, splitPath } from './guest-path.ts'
import { fileSystemOf, type MountTable, type Place, rootOf, type WalkedFolder } from './mount-table.ts'

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

/**
 * Walks a path as a process in a chroot would. Everything but the last name has to be there. Whoever goes through a tree asks for
 * each name of a directory by its whole path: where the directory is was found out once.
 */
export async function walk(table: MountTable, path: GuestPath, followLast: boolean): Promise<Walked> {
  const { names, mustBeDirectory } = splitPath(path)
  const start = { at: rootOf(table.root), trail: [], symlinks: 0 }
  const last = names.at(-1)
  if (last === undefined || names.length < 2 || names.some(name => isDot(name) || isDotDot(name)))
    return walkNames(table, start, names, { mustBeDirectory, followLast })
  return walkNames(table, await folderOf(table, names.slice(0, -1)), [last], { mustBeDirectory, followLast })
}

/** Where the names of a directory lead, each directory on the way remembered. */
async function folderOf(table: MountTable, names: readonly Uint8Array[]): Promise<WalkedFolder> {
  let folder: WalkedFolder = { at: rootOf(table.root), trail: [], symlinks: 0 }
  let key = ''
  for (const name of names) {
    key += `/${byteKey(name)}`
    const known = table.folder(key)
    if (known !== undefined) {
      folder = known
      continue
    }
    const { place, trail, symlinks } = await walkNames(table, folder, [name], {
      mustBeDirectory: true,
      followLast: true,
    })
    if (place === undefined) throw new DrydiskError('ENOENT', 'no such file or directory')
    folder = { at: place, trail, symlinks }
    table.rememberFolder(key, folder)
  }
  return folder
}

async function walkNames(
  table: MountTable,
  start: WalkedFolder,
  names: readonly Uint8Array[],
  options: { readonly mustBeDirectory: boolean; readonly followLast: boolean },
): Promise<Walked & { readonly symlinks: number }> {
  const { followLast } = options
  let { mustBeDirectory } = options
  const pending = [...names].reverse()
  const trail = [...start.trail]
  const root = rootOf(table.root)
  let { at, symlinks } = start
  let type: FileType = 'directory'
  let parent: Place | undefined
  let last: Uint8Array | undefined
  let covered = false

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
          symlinks,
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
  return { place: at, type, parent, name: last, trail, covered, symlinks }
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
