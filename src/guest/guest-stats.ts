import type { DeviceNumber, FileType, InodeStat } from '../filesystem/filesystem.ts'
import type { GuestStats } from './guest-fs.ts'

/** S_IFMT values of stat(2). */
const TYPE_BITS: Readonly<Record<FileType, number>> = {
  fifo: 0o010_000,
  'character-device': 0o020_000,
  directory: 0o040_000,
  'block-device': 0o060_000,
  file: 0o100_000,
  symlink: 0o120_000,
  socket: 0o140_000,
}

/** The type that the S_IFMT bits of a mode name. */
export function typeOfMode(mode: number): FileType {
  for (const [type, bits] of Object.entries(TYPE_BITS))
    if ((mode & 0o170_000) === bits) return type as FileType
  return 'file'
}

export class Stats implements GuestStats {
  readonly type: FileType
  readonly mode: number
  readonly ino: number
  readonly dev: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly blocks: number
  readonly rdev: DeviceNumber
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint

  constructor(stat: Omit<InodeStat, 'flags' | 'generation'>, dev: number) {
    this.type = stat.type
    this.mode = TYPE_BITS[stat.type] | stat.mode
    this.ino = stat.ino
    this.dev = dev
    this.nlink = stat.nlink
    this.uid = stat.uid
    this.gid = stat.gid
    this.size = stat.size
    this.blocks = stat.blocks
    this.rdev = stat.rdev ?? { major: 0, minor: 0 }
    this.atimeNs = stat.atime
    this.mtimeNs = stat.mtime
    this.ctimeNs = stat.ctime
  }

  isFile(): boolean {
    return this.type === 'file'
  }
  isDirectory(): boolean {
    return this.type === 'directory'
  }
  isSymbolicLink(): boolean {
    return this.type === 'symlink'
  }
  isCharacterDevice(): boolean {
    return this.type === 'character-device'
  }
  isBlockDevice(): boolean {
    return this.type === 'block-device'
  }
  isFIFO(): boolean {
    return this.type === 'fifo'
  }
  isSocket(): boolean {
    return this.type === 'socket'
  }
}
