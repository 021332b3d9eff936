import type { InodeMarks } from './inode-marks.ts'

/** An inode number. Filesystems refuse an image whose inode numbers reach 2^53. */
export type InodeNumber = number

/** What an inode is, as `S_IFMT` of its mode says it. */
export type FileType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'character-device'
  | 'block-device'
  | 'fifo'
  | 'socket'

/** Nanoseconds since 1970-01-01T00:00:00Z; may be negative. */
export type Timestamp = bigint

/** What stat(2) tells of an inode. `size` is in bytes; `mode` has the permissions alone. */
export interface InodeStat {
  readonly ino: InodeNumber
  readonly type: FileType
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. The type is in `type`. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly nlink: number
  /** Bytes. */
  readonly size: number
  /** Allocated space in 512-byte units, as stat(2). */
  readonly blocks: number
  readonly atime: Timestamp
  readonly mtime: Timestamp
  readonly ctime: Timestamp
  /** When the inode was made, where the filesystem keeps it. */
  readonly birthtime?: Timestamp
  /** Device numbers of a character or block device. */
  readonly rdev?: DeviceNumber
  /** Inode flags as FS_IOC_GETFLAGS names them (immutable 0x10, append-only 0x20, …), as stored. */
  readonly flags: number
  /** Changes when an inode number is used again; 0 where the filesystem has none. */
  readonly generation: number
}

/** Of a character or block device. */
export interface DeviceNumber {
  readonly major: number
  readonly minor: number
}

/** A name in a directory. */
export interface DirectoryEntry {
  /** Bytes as on disk, without `.` and `..`; need not be UTF-8. */
  readonly name: Uint8Array
  readonly ino: InodeNumber
  readonly type: FileType
}

/** What a new inode starts with. */
export interface NewInode {
  /** Permission bits, 0 to 0o7777; no umask is applied. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** All four times; the current time when left out. */
  readonly time?: Timestamp
}

/** Attributes to change; those left out stay, but ctime becomes now unless it is given. */
export interface AttributeChange {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly atime?: Timestamp
  readonly mtime?: Timestamp
  readonly ctime?: Timestamp
}

/** How full a filesystem is, as statvfs(3) counts it. Blocks have `blockSize` bytes. */
export interface FileSystemUsage {
  readonly blockSize: number
  /** Of the filesystem, all in all. */
  readonly blocks: number
  /** Of these, what its own structures take for good: statfs(2), and so df(1), take them off. None when left out. */
  readonly overheadBlocks?: number
  readonly freeBlocks: number
  /** Free to an unprivileged user. */
  readonly availableBlocks: number
  readonly inodes: number
  readonly freeInodes: number
  readonly maxNameLength: number
}

/** A run of a file's content. */
export interface FileExtent {
  readonly offset: number
  readonly length: number
  /** `hole` and `unwritten` read as zeros. `inline`: in the inode. */
  readonly kind: 'data' | 'hole' | 'unwritten' | 'inline'
  /** Byte offset in the volume, for `data` and `unwritten`. */
  readonly deviceOffset?: number
}

/** A run of bytes of a volume. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

/**
 * A filesystem on a volume, addressed by inode and by byte names. Paths, symlinks and mounts belong to guest/.
 *
 * Nothing is checked against permissions: the caller is as root. Reading changes no access time. Writing updates mtime
 * and ctime as the kernel would. Errors are POSIX codes with the meaning that the system call of the same name gives
 * them; corrupt structures are `ERR_CORRUPT`; writing to a read-only filesystem is `EROFS`.
 * Calls are not to overlap unless all of them only read.
 */
export interface FileSystem {
  /** `ext4`, `ext3`, `ext2`, `vfat`, `xfs`, … as mount(8) names it. */
  readonly type: string
  readonly writable: boolean
  readonly root: InodeNumber
  /** Lower-case with hyphens; of FAT the serial number, as blkid writes it: `CBA0-EA3D`. Empty where there is none. */
  readonly uuid: string
  readonly label: string

  /** `ENOENT` when there is no such name, `ENOTDIR` when `directory` is not one. `.` and `..` are found. */
  lookup(directory: InodeNumber, name: Uint8Array): Promise<InodeNumber>
  stat(ino: InodeNumber): Promise<InodeStat>
  /** In on-disk order, without `.` and `..`. The directory must not change meanwhile. */
  readdir(directory: InodeNumber): AsyncIterable<DirectoryEntry>
  /** Fills as much of `into` as there is content from `offset`; returns the number of bytes. */
  read(ino: InodeNumber, offset: number, into: Uint8Array): Promise<number>
  readlink(ino: InodeNumber): Promise<Uint8Array>
  /** The file's content as gapless merged runs from 0 to its size. */
  fileExtents(ino: InodeNumber): AsyncIterable<FileExtent>

  /** Writes anywhere, growing the file; a gap becomes a hole, or zeros where the filesystem has no holes. */
  write(ino: InodeNumber, offset: number, from: Uint8Array): Promise<void>
  /** Cuts the file, or grows it by a hole, or by zeros. */
  truncate(ino: InodeNumber, size: number): Promise<void>
  create(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber>
  mkdir(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber>
  symlink(
    directory: InodeNumber,
    name: Uint8Array,
    target: Uint8Array,
    attributes: NewInode,
  ): Promise<InodeNumber>
  mknod(
    directory: InodeNumber,
    name: Uint8Array,
    type: 'character-device' | 'block-device' | 'fifo' | 'socket',
    device: DeviceNumber,
    attributes: NewInode,
  ): Promise<InodeNumber>
  link(ino: InodeNumber, directory: InodeNumber, name: Uint8Array): Promise<void>
  /** Not for directories (`EISDIR`). The inode is freed with its last name. */
  unlink(directory: InodeNumber, name: Uint8Array): Promise<void>
  /** `ENOTEMPTY` unless empty. */
  rmdir(directory: InodeNumber, name: Uint8Array): Promise<void>
  /** As rename(2): replaces a target of the same kind, refuses to move a directory into itself (`EINVAL`). */
  rename(
    fromDirectory: InodeNumber,
    fromName: Uint8Array,
    toDirectory: InodeNumber,
    toName: Uint8Array,
  ): Promise<void>
  setAttributes(ino: InodeNumber, change: AttributeChange): Promise<void>

  /** Full names with their namespace: `user.x`, `security.selinux`, `system.posix_acl_access`, … */
  listxattr(ino: InodeNumber): Promise<string[]>
  /** `undefined` when there is none. POSIX ACLs come in the form that getxattr(2) gives them. */
  getxattr(ino: InodeNumber, name: string): Promise<Uint8Array | undefined>
  setxattr(ino: InodeNumber, name: string, value: Uint8Array): Promise<void>
  /** `ENODATA` when there is none. */
  removexattr(ino: InodeNumber, name: string): Promise<void>

  statfs(): Promise<FileSystemUsage>
  /**
   * The space of the volume that is the filesystem's and holds nothing: whatever is written there, the filesystem reads
   * as before. Merged and in order. Only where drydisk can tell for this type.
   *
   * An error at any point means that the filesystem's accounting is not to be believed, and that what was given before
   * counts for nothing either: `ERR_CORRUPT`, `ERR_UNSUPPORTED`, `ERR_IN_USE`.
   * @param warn is told, in whole sentences, what was taken as in use because its accounting is damaged.
   */
  freeRanges?(warn?: (warning: string) => void): AsyncIterable<ByteRange>
  /**
   * Inodes of which nothing is read from certain bytes of the volume, neither attributes nor names nor content: where another state of
   * it differs in these bytes alone, they are the same there. What is not told of may be the same too. Only
   * where drydisk can tell for this type.
   * @param changed whether any of a run of bytes may be another.
   * @returns `undefined` where the filesystem is not read as it lies on the volume: open for writing, or its journal replayed in memory.
   */
  untouchedInodes?(changed: (offset: number, length: number) => boolean): Promise<InodeMarks | undefined>
  /** Writes everything held in memory to the volume; the volume is then consistent by the native checker's word. */
  sync(): Promise<void>
  /** `sync()` where writable, then lets go. The volume stays open. */
  close(): Promise<void>
}
