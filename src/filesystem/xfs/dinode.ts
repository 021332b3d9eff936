import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import type { DeviceNumber, FileType, Timestamp } from '../filesystem.ts'
import { checksumIsRight } from './checksum.ts'
import { corrupt } from './errors.ts'
import type { Superblock } from './superblock.ts'

export const DINODE_MAGIC = 0x494e
export const DINODE_CRC_OFFSET = 100
/** Bytes before the forks: struct xfs_dinode of version 3, and what versions 1 and 2 have of it. */
const CORE = { old: 100, v3: 176 } as const

/** di_format and di_aformat (enum xfs_dinode_fmt). */
export const FORMAT = { DEV: 0, LOCAL: 1, EXTENTS: 2, BTREE: 3 } as const

/** di_flags (XFS_DIFLAG_*). */
export const DIFLAG = {
  REALTIME: 1 << 0,
  PREALLOC: 1 << 1,
  IMMUTABLE: 1 << 3,
  APPEND: 1 << 4,
  SYNC: 1 << 5,
  NOATIME: 1 << 6,
  NODUMP: 1 << 7,
  PROJINHERIT: 1 << 9,
} as const

/** di_flags2 (XFS_DIFLAG2_*). */
export const DIFLAG2 = {
  DAX: 1n << 0n,
  REFLINK: 1n << 1n,
  COWEXTSIZE: 1n << 2n,
  BIGTIME: 1n << 3n,
  NREXT64: 1n << 4n,
} as const

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

/** A flag of XFS and what FS_IOC_GETFLAGS calls it (fileattr_fill_xflags of Linux names the pairs). */
const SHOWN_FLAGS: readonly (readonly [number, number])[] = [
  [DIFLAG.SYNC, 0x8],
  [DIFLAG.IMMUTABLE, 0x10],
  [DIFLAG.APPEND, 0x20],
  [DIFLAG.NODUMP, 0x40],
  [DIFLAG.NOATIME, 0x80],
  [DIFLAG.PROJINHERIT, 0x2000_0000],
]
const SHOWN_DAX = 0x200_0000

/** Data or attributes of an inode. */
export interface Fork {
  readonly format: number
  /** As the inode counts them. */
  readonly nextents: number
  /** What the inode itself has room for. */
  readonly literal: ByteView
}

/** struct xfs_dinode (xfs_format.h). */
export interface Dinode {
  readonly ino: number
  readonly type: FileType
  readonly di_mode: number
  readonly di_version: number
  readonly di_uid: number
  readonly di_gid: number
  readonly di_nlink: number
  readonly di_projid: number
  readonly di_size: number
  readonly di_nblocks: number
  readonly di_flags: number
  readonly di_flags2: bigint
  readonly di_gen: number
  readonly di_next_unlinked: number
  readonly atime: Timestamp
  readonly mtime: Timestamp
  readonly ctime: Timestamp
  /** Of version 3 only. */
  readonly crtime: Timestamp | undefined
  readonly data: Fork
  /** `undefined` where there is none. */
  readonly attributes: Fork | undefined
}

/**
 * Checks and parses an inode in use, as xfs_dinode_verify of Linux does.
 * @param bytes sb_inodesize of them.
 */
export function parseDinode(bytes: Uint8Array, ino: number, sb: Superblock): Dinode {
  const wrong = (what: string) => corrupt('inode', `inode ${ino} ${what}`, { inode: ino })
  const view = bigEndian(bytes, 'xfs inode')
  if (view.u16(0) !== DINODE_MAGIC)
    throw wrong(`has the magic number 0x${view.u16(0).toString(16)}, expected 0x494e: there is none`)
  const di_version = view.u8(4)
  if (sb.isV5 ? di_version !== 3 : di_version !== 1 && di_version !== 2)
    throw wrong(`has version ${di_version}, which its filesystem cannot have`)
  if (sb.isV5) {
    if (!checksumIsRight(bytes, DINODE_CRC_OFFSET)) throw wrong('has a wrong checksum')
    if (view.big(152) !== BigInt(ino)) throw wrong(`says that it is inode ${view.big(152)}`)
    if (!equalBytes(view.slice(160, 16), sb.metaUuid)) throw wrong('belongs to another filesystem')
  }
  const mode = view.u16(2)
  if (mode === 0) throw wrong('is free, and something refers to it')
  const type = TYPES[mode >>> 12]
  if (type === undefined) throw wrong(`has mode 0${mode.toString(8)}, which is no file type`)
  const di_flags2 = di_version === 3 ? view.big(120) : 0n
  const time = di_flags2 & DIFLAG2.BIGTIME ? bigTime : legacyTime
  return {
    ino,
    type,
    di_mode: mode & 0o7777,
    di_version,
    di_uid: view.u32(8),
    di_gid: view.u32(12),
    // Version 1 has it in di_onlink, and no project.
    di_nlink: di_version === 1 ? view.u16(6) : view.u32(16),
    di_projid: di_version === 1 ? 0 : view.u16(22) * 0x1_0000 + view.u16(20),
    di_size: view.u64(56),
    di_nblocks: view.u64(64),
    di_flags: view.u16(90),
    di_flags2,
    di_gen: view.u32(92),
    di_next_unlinked: view.u32(96),
    atime: time(view, 32),
    mtime: time(view, 40),
    ctime: time(view, 48),
    crtime: di_version === 3 ? time(view, 144) : undefined,
    ...forks(view, di_flags2, type, wrong),
  }
}

function forks(
  view: ByteView,
  flags2: bigint,
  type: FileType,
  wrong: (what: string) => Error,
): Pick<Dinode, 'data' | 'attributes'> {
  const core = view.u8(4) === 3 ? CORE.v3 : CORE.old
  const room = view.length - core
  const forkoff = view.u8(82) * 8
  if (forkoff >= room) throw wrong(`has its attributes at ${forkoff} of ${room} bytes`)
  const large = (flags2 & DIFLAG2.NREXT64) !== 0n
  const data: Fork = {
    format: view.u8(5),
    nextents: large ? view.u64(24) : view.u32(76),
    literal: bigEndian(view.slice(core, forkoff === 0 ? room : forkoff), 'xfs data fork'),
  }
  const allowed = formatsOf(type)
  if (!allowed.includes(data.format)) throw wrong(`is a ${type} with data of format ${data.format}`)
  if (forkoff === 0) return { data, attributes: undefined }
  const attributes: Fork = {
    format: view.u8(83),
    nextents: large ? view.u32(76) : view.u16(80),
    literal: bigEndian(view.slice(core + forkoff, room - forkoff), 'xfs attribute fork'),
  }
  if (attributes.format < FORMAT.LOCAL || attributes.format > FORMAT.BTREE)
    throw wrong(`has attributes of format ${attributes.format}`)
  return { data, attributes }
}

function formatsOf(type: FileType): readonly number[] {
  if (type === 'file') return [FORMAT.EXTENTS, FORMAT.BTREE]
  if (type === 'directory' || type === 'symlink') return [FORMAT.LOCAL, FORMAT.EXTENTS, FORMAT.BTREE]
  return [FORMAT.DEV]
}

/** Seconds and nanoseconds, both signed words. */
function legacyTime(view: ByteView, at: number): Timestamp {
  return BigInt(view.i32(at)) * 1_000_000_000n + BigInt(view.i32(at + 4))
}

/** Nanoseconds since the earliest time of the other form (XFS_BIGTIME_EPOCH_OFFSET). */
function bigTime(view: ByteView, at: number): Timestamp {
  return view.big(at) - (1n << 31n) * 1_000_000_000n
}

/** As FS_IOC_GETFLAGS shows them. */
export function attributeFlags({ di_flags, di_flags2 }: Dinode): number {
  let out = di_flags2 & DIFLAG2.DAX ? SHOWN_DAX : 0
  for (const [stored, shown] of SHOWN_FLAGS) if ((di_flags & stored) !== 0) out |= shown
  return out
}

/** Of a device: 14 bits of major number above 18 of minor (sysv_encode_dev of Linux). */
export function deviceNumber(inode: Dinode): DeviceNumber {
  const device = inode.data.literal.u32(0)
  return { major: device >>> 18, minor: device & 0x3_ffff }
}
