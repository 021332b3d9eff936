import type { DeviceNumber, FileType, InodeNumber, InodeStat, NewInode, Timestamp } from '../filesystem.ts'
import { SparseContent } from './sparse-content.ts'

export interface MemoryEntry {
  readonly name: Uint8Array
  readonly ino: InodeNumber
}

/** An inode of a filesystem in memory. */
export class MemoryNode {
  readonly ino: InodeNumber
  readonly type: FileType
  mode: number
  uid: number
  gid: number
  nlink: number
  atime: Timestamp
  mtime: Timestamp
  ctime: Timestamp
  readonly birthtime: Timestamp
  readonly content = new SparseContent()
  /** Keyed by `byteKey` of the name. */
  readonly entries = new Map<string, MemoryEntry>()
  readonly xattrs = new Map<string, Uint8Array>()
  /** Of a directory. */
  parent: InodeNumber
  target: Uint8Array = new Uint8Array()
  rdev: DeviceNumber | undefined

  constructor(ino: InodeNumber, type: FileType, attributes: NewInode, now: Timestamp) {
    const time = attributes.time ?? now
    this.ino = ino
    this.type = type
    this.mode = attributes.mode & 0o7777
    this.uid = attributes.uid
    this.gid = attributes.gid
    this.nlink = type === 'directory' ? 2 : 1
    this.atime = time
    this.mtime = time
    this.ctime = time
    this.birthtime = time
    this.parent = ino
  }

  stat(): InodeStat {
    const directory = this.type === 'directory'
    return {
      ino: this.ino,
      type: this.type,
      mode: this.mode,
      uid: this.uid,
      gid: this.gid,
      nlink: this.nlink,
      size: directory ? 4096 : this.type === 'symlink' ? this.target.length : this.content.size,
      blocks: directory ? 8 : this.content.blocks,
      atime: this.atime,
      mtime: this.mtime,
      ctime: this.ctime,
      birthtime: this.birthtime,
      ...(this.rdev ? { rdev: this.rdev } : {}),
      flags: 0,
      generation: 0,
    }
  }
}
