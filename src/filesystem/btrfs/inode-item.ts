import type { ByteView } from '../../bytes/byte-view.ts'
import type { DeviceNumber, FileType, Timestamp } from '../filesystem.ts'
import { corrupt } from './errors.ts'

/** On-disk format, "INODE_ITEM". */
export interface InodeItem {
  readonly type: FileType
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly nlink: number
  readonly size: number
  /** Bytes allocated. */
  readonly nbytes: number
  readonly rdev: DeviceNumber
  /** As stored: flags in the lower half, read-only-compatible ones in the upper. */
  readonly flags: bigint
  readonly generation: bigint
  readonly atime: Timestamp
  readonly ctime: Timestamp
  readonly mtime: Timestamp
  readonly otime: Timestamp
}

const SIZE = 160
const NODATASUM = 1n << 0n

/** By the upper four bits of the mode: S_IFREG is 0100000, and so on. */
const TYPES: Readonly<Record<number, FileType>> = {
  8: 'file',
  4: 'directory',
  10: 'symlink',
  2: 'character-device',
  6: 'block-device',
  1: 'fifo',
  12: 'socket',
}

/** btrfs's flag and what FS_IOC_GETFLAGS calls it (btrfs_inode_flags_to_fsflags of Linux names the pairs). */
const FLAGS: readonly (readonly [bigint, number])[] = [
  [1n << 1n, 0x80_0000],
  [1n << 3n, 0x400],
  [1n << 5n, 0x8],
  [1n << 6n, 0x10],
  [1n << 7n, 0x20],
  [1n << 8n, 0x40],
  [1n << 9n, 0x80],
  [1n << 10n, 0x1_0000],
  [1n << 11n, 0x4],
  [1n << 32n, 0x10_0000],
]

/** Inode flags as FS_IOC_GETFLAGS names them. */
export function attributeFlags(flags: bigint): number {
  let out = 0
  for (const [stored, shown] of FLAGS) if ((flags & stored) !== 0n) out |= shown
  return out
}

/** Whether the file's data has checksums. */
export function hasDataChecksums(inode: InodeItem): boolean {
  return (inode.flags & NODATASUM) === 0n
}

export function parseInodeItem(view: ByteView, ino: bigint): InodeItem {
  if (view.length < SIZE)
    throw corrupt('inode', `inode ${ino} has an item of ${view.length} bytes, expected ${SIZE}`, {
      inode: ino,
    })
  const mode = view.u32(52)
  const type = TYPES[mode >>> 12]
  if (type === undefined)
    throw corrupt('inode', `inode ${ino} has mode 0${mode.toString(8)}, which is no file type`, {
      inode: ino,
    })
  return {
    type,
    mode: mode & 0o7777,
    uid: view.u32(44),
    gid: view.u32(48),
    nlink: view.u32(40),
    size: view.u64(16),
    nbytes: view.u64(24),
    rdev: deviceNumber(view.big(56)),
    flags: view.big(64),
    generation: view.big(0),
    atime: time(view, 112),
    ctime: time(view, 124),
    mtime: time(view, 136),
    otime: time(view, 148),
  }
}

/** Linux stores its own dev_t here: 20 bits of minor number below 12 of major. */
function deviceNumber(rdev: bigint): DeviceNumber {
  return { major: Number((rdev >> 20n) & 0xfffn), minor: Number(rdev & 0xf_ffffn) }
}

function time(view: ByteView, at: number): Timestamp {
  return BigInt.asIntN(64, view.big(at)) * 1_000_000_000n + BigInt(view.u32(at + 8))
}
