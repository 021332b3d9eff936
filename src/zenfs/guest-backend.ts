import { type CreationOptions, FileSystem, type InodeLike, type UsageInfo } from '@zenfs/core'
import { DrydiskError } from '../errors.ts'
import type { FileSystemUsage } from '../filesystem/filesystem.ts'
import type { GuestFs, GuestStats } from '../guest/guest-fs.ts'
import { joinNames, splitPath } from '../guest/guest-path.ts'
import { changesOf, inodeOf, markWritten, nanoseconds } from './inode.ts'
import { nameText, pathBytes } from './names.ts'
import { nodeError, noSync } from './node-error.ts'
import { turnsOf } from './turns.ts'

/** "dryd": ZenFS asks for a number of its own for each kind of filesystem. */
const TYPE = 0x64_72_79_64
const S_IFMT = 0o170_000
const S_IFLNK = 0o120_000
const PERMISSIONS = 0o7777

/** What a backend of ZenFS over a guest takes. */
export interface GuestBackendOptions {
  /** The directory of the guest that is the backend's root; `/` when left out. */
  readonly path?: string
  /** False: every change is `EROFS`. As the guest is when left out. */
  readonly writable?: boolean
  /** `GuestStats.dev` of what the backend shows. Paths that lead to another of the guest's mounts are `ENOENT` here; all are shown when left out. */
  readonly dev?: number
  /** By path in the guest, directories that another backend covers: what a listing of the directory above says of them. */
  readonly covered?: ReadonlyMap<string, GuestStats>
  /** What is told of space. */
  readonly usage?: () => Promise<FileSystemUsage>
  /** Has the guest write what it holds in memory. Committing the image stays with whoever opened it. */
  readonly sync?: () => Promise<void>
  readonly name?: string
}

/**
 * A guest, or one of its mounts, as a backend of ZenFS: `bindContext({ mounts: { '/': new GuestBackend(guest.fs) } })`.
 *
 * Errors have the codes of node:fs. There are no synchronous calls (`ENOSYS`), and reading changes no access times. Extended
 * attributes are those of `user.`, which are all that ZenFS lets through. A file that was removed while it is open cannot be read or written
 * any more.
 */
export class GuestBackend extends FileSystem {
  readonly #guest: GuestFs
  readonly #options: GuestBackendOptions
  readonly #root: Uint8Array
  readonly #writable: boolean
  readonly #turn: <T>(step: () => Promise<T>) => Promise<T>
  #usage: UsageInfo = { totalSpace: 0, freeSpace: 0 }

  constructor(guest: GuestFs, options: GuestBackendOptions = {}) {
    super(TYPE, options.name ?? 'drydisk')
    this.#guest = guest
    this.#options = options
    this.#root = joinNames(splitPath(options.path ?? '/').names)
    this.#writable = options.writable ?? guest.writable
    this.#turn = turnsOf(guest)
    this.attributes.set('no_atime')
    // Without it ZenFS copies the whole guest to memory before the first call.
    this.attributes.set('no_async_preload')
    // Has writes to open files fail at once. What ZenFS calls no_write drops them without a word.
    if (!this.#writable) this.attributes.set('readonly', true)
  }

  override usage(): UsageInfo {
    return this.#usage
  }

  override async ready(): Promise<void> {
    await this.#readUsage()
  }

  async #readUsage(): Promise<void> {
    const { usage } = this.#options
    if (usage === undefined) return
    const { blockSize, blocks, availableBlocks, inodes, freeInodes } = await this.#turn(usage)
    this.#usage = {
      blockSize,
      totalSpace: blocks * blockSize,
      freeSpace: availableBlocks * blockSize,
      totalNodes: inodes,
      freeNodes: freeInodes,
    }
  }

  /** One call at a time: drydisk's filesystems want changes to be alone, and ZenFS keeps to that for one file only. */
  #on<T>(path: string, step: (path: Uint8Array) => Promise<T>): Promise<T> {
    return this.#turn(async () => {
      try {
        return await step(this.#at(path))
      } catch (error) {
        throw nodeError(error, path)
      }
    })
  }

  #change<T>(path: string, step: (path: Uint8Array) => Promise<T>): Promise<T> {
    return this.#on(path, async at => {
      if (!this.#writable) throw new DrydiskError('EROFS', 'the image is open for reading only', { path })
      return step(at)
    })
  }

  #at(path: string): Uint8Array {
    return joinNames([...splitPath(this.#root).names, ...splitPath(pathBytes(path)).names])
  }

  stat(path: string): Promise<InodeLike> {
    return this.#on(path, at => this.#inode(at))
  }

  async #inode(path: Uint8Array): Promise<InodeLike> {
    const { dev, covered } = this.#options
    const hidden = covered?.get(nameText(path))
    if (hidden !== undefined) return inodeOf(hidden)
    const stats = await this.#guest.lstat(path)
    if (dev !== undefined && stats.dev !== dev)
      throw new DrydiskError('ENOENT', 'the path leads to another mount by a symbolic link')
    return inodeOf(stats, await this.#attributes(path))
  }

  async #attributes(path: Uint8Array): Promise<ReadonlyMap<string, Uint8Array>> {
    const values = new Map<string, Uint8Array>()
    for (const name of await this.#userAttributes(path)) {
      const value = await this.#guest.getxattr(path, name)
      if (value !== undefined) values.set(name, value)
    }
    return values
  }

  async #userAttributes(path: Uint8Array): Promise<string[]> {
    try {
      return (await this.#guest.listxattr(path)).filter(name => name.startsWith('user.'))
    } catch (error) {
      // A folder of the host, or a FAT, has none.
      if (error instanceof DrydiskError && error.code === 'ENOTSUP') return []
      throw error
    }
  }

  createFile(path: string, options: CreationOptions): Promise<InodeLike> {
    return this.#change(path, async at => {
      const { mode, uid, gid } = options
      if (await this.#guest.exists(at)) throw new DrydiskError('EEXIST', 'exists already')
      await this.#guest.writeFile(at, new Uint8Array(0), { mode: mode & PERMISSIONS, uid, gid })
      return this.#inode(at)
    })
  }

  mkdir(path: string, options: CreationOptions): Promise<InodeLike> {
    return this.#change(path, async at => {
      const { mode, uid, gid } = options
      await this.#guest.mkdir(at, { mode: mode & PERMISSIONS, uid, gid })
      return this.#inode(at)
    })
  }

  readdir(path: string): Promise<string[]> {
    return this.#on(path, async at => (await this.#guest.readdir(at)).map(({ name }) => nameText(name)))
  }

  unlink(path: string): Promise<void> {
    return this.#change(path, at => this.#guest.unlink(at))
  }

  rmdir(path: string): Promise<void> {
    return this.#change(path, at => this.#guest.rmdir(at))
  }

  rename(oldPath: string, newPath: string): Promise<void> {
    return this.#change(oldPath, at => this.#guest.rename(at, this.#at(newPath)))
  }

  link(target: string, link: string): Promise<void> {
    return this.#change(link, at => this.#guest.link(this.#at(target), at))
  }

  async sync(): Promise<void> {
    const { sync } = this.#options
    if (sync === undefined || !this.#writable) return
    await this.#on('/', () => sync())
    await this.#readUsage()
  }

  read(path: string, buffer: Uint8Array, start: number, end: number): Promise<void> {
    return this.#on(path, async at => {
      const into = buffer.subarray(0, Math.max(0, end - start))
      const stats = await this.#guest.lstat(at)
      if (stats.isSymbolicLink()) {
        into.set((await this.#guest.readlink(at)).subarray(start, start + into.length))
        return
      }
      let got = 0
      while (got < into.length) {
        const count = await this.#guest.readAt(at, start + got, into.subarray(got))
        if (count === 0) break
        got += count
      }
    })
  }

  write(path: string, buffer: Uint8Array, offset: number): Promise<void> {
    return this.#change(path, at => this.#guest.writeAt(at, offset, buffer))
  }

  /**
   * Sets what was changed in an inode. ZenFS makes a symbolic link by having a file with the target as its content become one.
   */
  touch(path: string, metadata: Partial<InodeLike>): Promise<void> {
    return this.#change(path, async at => {
      const { mode, uid, gid, size, atimeMs, mtimeMs, set, removed } = changesOf(metadata)
      const stats = await this.#guest.lstat(at)
      if (mode !== undefined && (mode & S_IFMT) === S_IFLNK && stats.isFile())
        await this.#becomeLink(at, stats)
      else {
        if (size !== undefined && size !== stats.size) await this.#guest.truncate(at, size)
        if ((uid !== undefined && uid !== stats.uid) || (gid !== undefined && gid !== stats.gid))
          await this.#guest.lchown(at, uid ?? stats.uid, gid ?? stats.gid)
        if (mode !== undefined && (mode & PERMISSIONS) !== (stats.mode & PERMISSIONS))
          await this.#chmod(at, stats, mode & PERMISSIONS)
        for (const name of removed) await this.#guest.removexattr(at, name)
        for (const [name, value] of set) await this.#guest.setxattr(at, name, value)
        if (atimeMs !== undefined || mtimeMs !== undefined) {
          // Writing and cutting have set them anew.
          const now = await this.#guest.lstat(at)
          await this.#guest.lutimes(
            at,
            atimeMs === undefined ? now.atimeNs : nanoseconds(atimeMs),
            mtimeMs === undefined ? now.mtimeNs : nanoseconds(mtimeMs),
          )
        }
      }
      markWritten(metadata)
    })
  }

  async #chmod(path: Uint8Array, stats: GuestStats, mode: number): Promise<void> {
    if (stats.isSymbolicLink())
      throw new DrydiskError('ENOTSUP', 'Linux keeps no permissions for symbolic links')
    await this.#guest.chmod(path, mode)
  }

  async #becomeLink(path: Uint8Array, stats: GuestStats): Promise<void> {
    const target = await this.#guest.readFile(path)
    await this.#guest.unlink(path)
    await this.#guest.symlink(target, path)
    if (stats.uid !== 0 || stats.gid !== 0) await this.#guest.lchown(path, stats.uid, stats.gid)
  }

  renameSync(): void {
    noSync('rename')
  }
  statSync(): InodeLike {
    return noSync('stat')
  }
  touchSync(): void {
    noSync('touch')
  }
  createFileSync(): InodeLike {
    return noSync('createFile')
  }
  unlinkSync(): void {
    noSync('unlink')
  }
  rmdirSync(): void {
    noSync('rmdir')
  }
  mkdirSync(): InodeLike {
    return noSync('mkdir')
  }
  readdirSync(): string[] {
    return noSync('readdir')
  }
  linkSync(): void {
    noSync('link')
  }
  syncSync(): void {
    noSync('sync')
  }
  readSync(): void {
    noSync('read')
  }
  writeSync(): void {
    noSync('write')
  }
}
