import type { DeviceNumber, FileType } from '../filesystem/filesystem.ts'

/**
 * A path inside a guest, from its root; `/` separates. A string is encoded as UTF-8; use bytes for names
 * that are not UTF-8. A relative path counts from the root.
 */
export type GuestPath = string | Uint8Array

/** The shape of node:fs's `BigIntStats`-and-`Stats`, with nanosecond times. */
export interface GuestStats {
  readonly type: FileType
  /** As st_mode: type bits (S_IFMT) and permission bits together, as node:fs gives it. */
  readonly mode: number
  readonly ino: number
  /** Differs between mounted filesystems of one guest. */
  readonly dev: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  /** 512-byte units. */
  readonly blocks: number
  readonly rdev: DeviceNumber
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  isFile(): boolean
  isDirectory(): boolean
  isSymbolicLink(): boolean
  isCharacterDevice(): boolean
  isBlockDevice(): boolean
  isFIFO(): boolean
  isSocket(): boolean
}

/** A name in a directory of a guest. */
export interface GuestDirent {
  readonly name: Uint8Array
  readonly type: FileType
}

/** What a file gets when it is made; an existing file keeps its own. */
export interface NewFileOptions {
  /** Permission bits; 0o644 for files and 0o755 for directories when left out. */
  readonly mode?: number
  /** Root when left out. */
  readonly uid?: number
  /** When left out: root, or the group of a directory that is setgid. */
  readonly gid?: number
}

/**
 * The node:fs/promises-shaped face of an installed system: of an image's mounted filesystems, of a directory tree
 * and of a tree in memory. Operations are written against this alone.
 *
 * Paths are walked as a chroot would: absolute symlinks start again at the guest's root, `..` at the root stays
 * there, and more than 40 symlinks are `ELOOP`. Errors are `DrydiskError` with the POSIX code that node:fs would give and
 * `context.path`.
 */
export interface GuestFs {
  readonly writable: boolean

  readFile(path: GuestPath): Promise<Uint8Array>
  /** Decoded as UTF-8 where it is valid, else as Latin-1 so that every byte survives a round trip through `writeText`. */
  readText(path: GuestPath): Promise<string>
  /** Replaces the content in place (inode, owner, mode, xattrs and label stay) or makes the file. */
  writeFile(path: GuestPath, data: Uint8Array | string, options?: NewFileOptions): Promise<void>
  /**
   * As `writeFile`, for text that `readText` gave and someone edited: a file that is not UTF-8 now is written as
   * Latin-1 where the text allows it, so that the bytes that nobody edited stay as they are.
   */
  writeText(path: GuestPath, text: string, options?: NewFileOptions): Promise<void>
  appendFile(path: GuestPath, data: Uint8Array | string, options?: NewFileOptions): Promise<void>
  /** Reads up to `into.length` bytes from `offset`; the number of bytes read. */
  readAt(path: GuestPath, offset: number, into: Uint8Array): Promise<number>
  /** Writes at `offset` of an existing file. */
  writeAt(path: GuestPath, offset: number, from: Uint8Array): Promise<void>
  truncate(path: GuestPath, size: number): Promise<void>

  /** In on-disk order. */
  readdir(path: GuestPath): Promise<GuestDirent[]>
  stat(path: GuestPath): Promise<GuestStats>
  lstat(path: GuestPath): Promise<GuestStats>
  exists(path: GuestPath): Promise<boolean>
  readlink(path: GuestPath): Promise<Uint8Array>
  /** The path with every symlink resolved. */
  realpath(path: GuestPath): Promise<Uint8Array>

  mkdir(path: GuestPath, options?: NewFileOptions & { recursive?: boolean }): Promise<void>
  symlink(target: GuestPath, path: GuestPath): Promise<void>
  link(existing: GuestPath, path: GuestPath): Promise<void>
  mknod(
    path: GuestPath,
    type: 'character-device' | 'block-device' | 'fifo' | 'socket',
    device: DeviceNumber,
    options?: NewFileOptions,
  ): Promise<void>
  unlink(path: GuestPath): Promise<void>
  rmdir(path: GuestPath): Promise<void>
  /** Never crosses a symlink; `force`: no error when there is nothing. */
  rm(path: GuestPath, options?: { recursive?: boolean; force?: boolean }): Promise<void>
  rename(from: GuestPath, to: GuestPath): Promise<void>
  /** Follow symlinks. */
  chmod(path: GuestPath, mode: number): Promise<void>
  chown(path: GuestPath, uid: number, gid: number): Promise<void>
  utimes(path: GuestPath, atimeNs: bigint, mtimeNs: bigint): Promise<void>
  /** Do not follow a final symlink. */
  lchown(path: GuestPath, uid: number, gid: number): Promise<void>
  lutimes(path: GuestPath, atimeNs: bigint, mtimeNs: bigint): Promise<void>

  /** These do not follow a final symlink. `ENOTSUP` where the tree below has no xattrs (a host folder). */
  listxattr(path: GuestPath): Promise<string[]>
  getxattr(path: GuestPath, name: string): Promise<Uint8Array | undefined>
  setxattr(path: GuestPath, name: string, value: Uint8Array): Promise<void>
  removexattr(path: GuestPath, name: string): Promise<void>
}
