import { toBytes } from '../bytes/names.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { DeviceNumber, FileExtent, FileSystem, NewInode } from '../filesystem/filesystem.ts'
import type { GuestDirent, GuestFs, GuestPath, GuestStats, NewFileOptions } from './guest-fs.ts'
import { atPath, joinNames, pathText, splitPath } from './guest-path.ts'
import { Stats } from './guest-stats.ts'
import { decodeText, encodeText } from './guest-text.ts'
import { fileSystemOf, type MountTable, type Place } from './mount-table.ts'
import { removeTree } from './remove-tree.ts'
import { GuestLabels } from './selinux/labels.ts'
import { type Walked, walk } from './walk.ts'

/** Above this a whole file is not read into memory: `readAt` reads it in pieces. */
const READ_FILE_MAX = 512 * 2 ** 20
const S_ISUID = 0o4000
const S_ISGID = 0o2000
const S_IXGRP = 0o0010

type Found = Walked & { place: Place }
type Vacant = { fs: FileSystem; directory: Place; name: Uint8Array; trail: readonly Uint8Array[] }

/**
 * A guest over its mounted filesystems. What is made new belongs to root (or to the group of a setgid directory) and
 * takes the SELinux label that the guest's own policy gives its path, or that of its directory.
 */
export class MountedGuest implements GuestFs {
  readonly #table: MountTable
  readonly #labels = new GuestLabels(this)

  constructor(table: MountTable) {
    this.#table = table
  }

  get writable(): boolean {
    return fileSystemOf(this.#table.root).writable
  }

  /** What is mounted where; a mount added to it counts from the next call on. */
  get table(): MountTable {
    return this.#table
  }

  async #find(path: GuestPath, follow: boolean): Promise<Found> {
    const walked = await walk(this.#table, path, follow)
    if (!walked.place) throw new DrydiskError('ENOENT', 'no such file or directory')
    return { ...walked, place: walked.place }
  }

  /** An existing file for content to be read or written. */
  async #file(path: GuestPath, change = false): Promise<{ fs: FileSystem; ino: number; size: number }> {
    const { place, trail } = await this.#find(path, true)
    if (change) this.#labels.changed(trail)
    const fs = fileSystemOf(place.mount)
    const stat = await fs.stat(place.ino)
    if (stat.type === 'directory') throw new DrydiskError('EISDIR', 'is a directory')
    if (stat.type !== 'file')
      throw new DrydiskError('EINVAL', `is a ${stat.type}, which has no content on disk`)
    return { fs, ino: place.ino, size: stat.size }
  }

  /** Where a new name goes. `EEXIST` when it is taken, whatever it is taken by. */
  async #vacant(path: GuestPath): Promise<Vacant> {
    const { place, parent, name, trail } = await walk(this.#table, path, false)
    if (place || !parent || !name) throw new DrydiskError('EEXIST', 'exists already')
    this.#labels.changed(trail)
    return { fs: fileSystemOf(parent.mount), directory: parent, name, trail }
  }

  /** A name that is there and no mount point: for removal and renaming. */
  async #present(
    path: GuestPath,
  ): Promise<{ place: Place; directory: Place; name: Uint8Array; directoryType: boolean }> {
    const { place, parent, name, covered, type, trail } = await this.#find(path, false)
    if (covered || !parent || !name)
      throw new DrydiskError('EBUSY', 'is a mount point or ends in a name that cannot be removed')
    this.#labels.changed(trail)
    // No path to a directory leads through anything else.
    if (type === 'directory' || type === 'symlink') this.#table.forgetFolders()
    return { place, directory: parent, name, directoryType: type === 'directory' }
  }

  async #attributes(directory: Place, mode: number, options: NewFileOptions): Promise<NewInode> {
    const parent = await fileSystemOf(directory.mount).stat(directory.ino)
    const inherits = options.gid === undefined && (parent.mode & S_ISGID) !== 0
    return { mode, uid: options.uid ?? 0, gid: options.gid ?? (inherits ? parent.gid : 0) }
  }

  readFile(path: GuestPath): Promise<Uint8Array> {
    return atPath(path, async () => {
      const { fs, ino, size } = await this.#file(path)
      if (size > READ_FILE_MAX)
        throw new DrydiskError(
          'EFBIG',
          `${size} bytes are too many to read at once: read it in pieces with readAt`,
        )
      const into = new Uint8Array(size)
      let at = 0
      while (at < size) {
        const count = await fs.read(ino, at, into.subarray(at))
        if (count === 0) break
        at += count
      }
      return into.subarray(0, at)
    })
  }

  async readText(path: GuestPath): Promise<string> {
    return decodeText(await this.readFile(path))
  }

  writeFile(path: GuestPath, data: Uint8Array | string, options: NewFileOptions = {}): Promise<void> {
    return atPath(path, async () => {
      const bytes = toBytes(data)
      const { fs, ino, size } = await this.#openOrCreate(path, options)
      if (bytes.length > 0) await fs.write(ino, 0, bytes)
      if (bytes.length !== size && (bytes.length < size || bytes.length === 0))
        await fs.truncate(ino, bytes.length)
    })
  }

  async writeText(path: GuestPath, text: string, options: NewFileOptions = {}): Promise<void> {
    const present = (await this.exists(path)) ? await this.readFile(path) : undefined
    await this.writeFile(path, encodeText(text, present), options)
  }

  appendFile(path: GuestPath, data: Uint8Array | string, options: NewFileOptions = {}): Promise<void> {
    return atPath(path, async () => {
      const { fs, ino, size } = await this.#openOrCreate(path, options)
      await fs.write(ino, size, toBytes(data))
    })
  }

  /** As open(2) with O_CREAT: a symlink to nothing makes what it points to. */
  async #openOrCreate(
    path: GuestPath,
    options: NewFileOptions,
  ): Promise<{ fs: FileSystem; ino: number; size: number }> {
    const { place, parent, name, trail } = await walk(this.#table, path, true)
    if (place) return this.#file(path, true)
    if (!parent || !name || splitPath(path).mustBeDirectory)
      throw new DrydiskError('EISDIR', 'is a directory')
    const fs = fileSystemOf(parent.mount)
    const ino = await fs.create(
      parent.ino,
      name,
      await this.#attributes(parent, options.mode ?? 0o644, options),
    )
    this.#labels.changed(trail)
    await this.#labels.give(fs, ino, parent.ino, trail, 'file')
    return { fs, ino, size: 0 }
  }

  readAt(path: GuestPath, offset: number, into: Uint8Array): Promise<number> {
    return atPath(path, async () => {
      const { fs, ino } = await this.#file(path)
      return fs.read(ino, offset, into)
    })
  }

  writeAt(path: GuestPath, offset: number, from: Uint8Array): Promise<void> {
    return atPath(path, async () => {
      const { fs, ino } = await this.#file(path, true)
      await fs.write(ino, offset, from)
    })
  }

  /** The content of a file as gapless runs, so that a copy need not read its holes. */
  async *extents(path: GuestPath): AsyncIterable<FileExtent> {
    const { fs, ino } = await atPath(path, () => this.#file(path))
    yield* fs.fileExtents(ino)
  }

  truncate(path: GuestPath, size: number): Promise<void> {
    return atPath(path, async () => {
      const { fs, ino } = await this.#file(path, true)
      await fs.truncate(ino, size)
    })
  }

  readdir(path: GuestPath): Promise<GuestDirent[]> {
    return atPath(path, async () => {
      const { place } = await this.#find(path, true)
      const out: GuestDirent[] = []
      for await (const { name, type } of fileSystemOf(place.mount).readdir(place.ino))
        out.push({ name, type })
      return out
    })
  }

  #stat(path: GuestPath, follow: boolean): Promise<GuestStats> {
    return atPath(path, async () => {
      const { place } = await this.#find(path, follow)
      return new Stats(await fileSystemOf(place.mount).stat(place.ino), place.mount.dev)
    })
  }

  stat(path: GuestPath): Promise<GuestStats> {
    return this.#stat(path, true)
  }

  lstat(path: GuestPath): Promise<GuestStats> {
    return this.#stat(path, false)
  }

  async exists(path: GuestPath): Promise<boolean> {
    try {
      return (await walk(this.#table, path, true)).place !== undefined
    } catch (error) {
      if (isDrydiskError(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return false
      throw error
    }
  }

  readlink(path: GuestPath): Promise<Uint8Array> {
    return atPath(path, async () => {
      const { place } = await this.#find(path, false)
      return fileSystemOf(place.mount).readlink(place.ino)
    })
  }

  realpath(path: GuestPath): Promise<Uint8Array> {
    return atPath(path, async () => joinNames((await this.#find(path, true)).trail))
  }

  async mkdir(path: GuestPath, options: NewFileOptions & { recursive?: boolean } = {}): Promise<void> {
    if (!options.recursive) return this.#mkdir(path, options)
    const { names } = splitPath(path)
    for (let i = 1; i <= names.length; i++) {
      const prefix = joinNames(names.slice(0, i))
      const { place, type } = await atPath(path, () => walk(this.#table, prefix, true))
      if (!place) await this.#mkdir(prefix, options)
      else if (type !== 'directory')
        throw new DrydiskError(
          i === names.length ? 'EEXIST' : 'ENOTDIR',
          `${pathText(prefix)} is a ${type}, not a directory`,
          { path: pathText(path) },
        )
    }
  }

  #mkdir(path: GuestPath, options: NewFileOptions): Promise<void> {
    return atPath(path, async () => {
      const { fs, directory, name, trail } = await this.#vacant(path)
      const attributes = await this.#attributes(directory, options.mode ?? 0o755, options)
      const parent = await fs.stat(directory.ino)
      // A directory in a setgid directory is setgid itself (inode_init_owner in Linux).
      const mode = attributes.mode | (options.gid === undefined ? parent.mode & S_ISGID : 0)
      const ino = await fs.mkdir(directory.ino, name, { ...attributes, mode })
      await this.#labels.give(fs, ino, directory.ino, trail, 'directory')
    })
  }

  symlink(target: GuestPath, path: GuestPath): Promise<void> {
    return atPath(path, async () => {
      const { fs, directory, name, trail } = await this.#vacant(path)
      const attributes = await this.#attributes(directory, 0o777, {})
      const ino = await fs.symlink(directory.ino, name, toBytes(target), attributes)
      await this.#labels.give(fs, ino, directory.ino, trail, 'symlink')
    })
  }

  link(existing: GuestPath, path: GuestPath): Promise<void> {
    return atPath(path, async () => {
      const { place } = await atPath(existing, () => this.#find(existing, false))
      const { fs, directory, name } = await this.#vacant(path)
      if (place.mount !== directory.mount)
        throw new DrydiskError('EXDEV', 'source and target differ in filesystem')
      await fs.link(place.ino, directory.ino, name)
    })
  }

  mknod(
    path: GuestPath,
    type: 'character-device' | 'block-device' | 'fifo' | 'socket',
    device: DeviceNumber,
    options: NewFileOptions = {},
  ): Promise<void> {
    return atPath(path, async () => {
      const { fs, directory, name, trail } = await this.#vacant(path)
      const attributes = await this.#attributes(directory, options.mode ?? 0o644, options)
      const ino = await fs.mknod(directory.ino, name, type, device, attributes)
      await this.#labels.give(fs, ino, directory.ino, trail, type)
    })
  }

  unlink(path: GuestPath): Promise<void> {
    return atPath(path, async () => {
      const { directory, name, directoryType } = await this.#present(path)
      if (directoryType) throw new DrydiskError('EISDIR', 'is a directory')
      await fileSystemOf(directory.mount).unlink(directory.ino, name)
    })
  }

  rmdir(path: GuestPath): Promise<void> {
    return atPath(path, async () => {
      const { directory, name } = await this.#present(path)
      await fileSystemOf(directory.mount).rmdir(directory.ino, name)
    })
  }

  rm(path: GuestPath, options: { recursive?: boolean; force?: boolean } = {}): Promise<void> {
    return atPath(path, async () => {
      const walked = await walk(this.#table, path, false).catch((error: unknown) => {
        if (options.force && isDrydiskError(error, 'ENOENT')) return undefined
        throw error
      })
      if (!walked?.place && options.force) return
      const { directory, name, directoryType } = await this.#present(path)
      if (!directoryType) return fileSystemOf(directory.mount).unlink(directory.ino, name)
      if (!options.recursive) throw new DrydiskError('EISDIR', 'is a directory')
      await removeTree(this.#table, directory, name)
    })
  }

  rename(from: GuestPath, to: GuestPath): Promise<void> {
    return atPath(to, async () => {
      const source = await atPath(from, () => this.#present(from))
      const target = await walk(this.#table, to, false)
      if (!target.parent || !target.name || target.covered)
        throw new DrydiskError('EBUSY', 'is a mount point or ends in a name that cannot be replaced')
      this.#labels.changed(target.trail)
      if (source.directory.mount !== target.parent.mount)
        throw new DrydiskError('EXDEV', 'source and target differ in filesystem')
      const fs = fileSystemOf(source.directory.mount)
      await fs.rename(source.directory.ino, source.name, target.parent.ino, target.name)
      // The way to the target may have led through the source.
      this.#table.forgetFolders()
    })
  }

  chmod(path: GuestPath, mode: number): Promise<void> {
    return atPath(path, async () => {
      const { place } = await this.#find(path, true)
      await fileSystemOf(place.mount).setAttributes(place.ino, { mode: mode & 0o7777 })
    })
  }

  #chown(path: GuestPath, uid: number, gid: number, follow: boolean): Promise<void> {
    return atPath(path, async () => {
      const { place, type } = await this.#find(path, follow)
      const fs = fileSystemOf(place.mount)
      if (type !== 'file') return fs.setAttributes(place.ino, { uid, gid })
      // chown(2) takes setuid, setgid (where the group may execute) and capabilities from a file, for root too.
      const { mode } = await fs.stat(place.ino)
      const dropped = S_ISUID | (mode & S_IXGRP ? S_ISGID : 0)
      await fs.setAttributes(place.ino, { uid, gid, ...(mode & dropped ? { mode: mode & ~dropped } : {}) })
      if (await fs.getxattr(place.ino, 'security.capability'))
        await fs.removexattr(place.ino, 'security.capability')
    })
  }

  chown(path: GuestPath, uid: number, gid: number): Promise<void> {
    return this.#chown(path, uid, gid, true)
  }

  lchown(path: GuestPath, uid: number, gid: number): Promise<void> {
    return this.#chown(path, uid, gid, false)
  }

  #utimes(path: GuestPath, atime: bigint, mtime: bigint, follow: boolean): Promise<void> {
    return atPath(path, async () => {
      const { place } = await this.#find(path, follow)
      await fileSystemOf(place.mount).setAttributes(place.ino, { atime, mtime })
    })
  }

  utimes(path: GuestPath, atimeNs: bigint, mtimeNs: bigint): Promise<void> {
    return this.#utimes(path, atimeNs, mtimeNs, true)
  }

  lutimes(path: GuestPath, atimeNs: bigint, mtimeNs: bigint): Promise<void> {
    return this.#utimes(path, atimeNs, mtimeNs, false)
  }

  #onInode<T>(path: GuestPath, step: (fs: FileSystem, ino: number) => Promise<T>): Promise<T> {
    return atPath(path, async () => {
      const { place } = await this.#find(path, false)
      return step(fileSystemOf(place.mount), place.ino)
    })
  }

  listxattr(path: GuestPath): Promise<string[]> {
    return this.#onInode(path, (fs, ino) => fs.listxattr(ino))
  }

  getxattr(path: GuestPath, name: string): Promise<Uint8Array | undefined> {
    return this.#onInode(path, (fs, ino) => fs.getxattr(ino, name))
  }

  setxattr(path: GuestPath, name: string, value: Uint8Array): Promise<void> {
    return this.#onInode(path, (fs, ino) => fs.setxattr(ino, name, value))
  }

  removexattr(path: GuestPath, name: string): Promise<void> {
    return this.#onInode(path, (fs, ino) => fs.removexattr(ino, name))
  }
}
