import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import type { DeviceNumber, FileType, Timestamp } from '../filesystem.ts'
import { checksumIsRight } from './checksum.ts'
import { corrupt } from './errors.ts'
import { readTime, writeTime } from './inode-time.ts'
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

/** di_atime, and where the other times are: di_mtime and di_ctime, and di_crtime of version 3. */
const ATIME = 32
const LATER_TIMES = [40, 48] as const
const LATER_TIMES_V3 = [...LATER_TIMES, 144] as const
/** di_changecount, 64 bits of which are counted in halves. */
const CHANGECOUNT = 104
/** The half of di_flags2 that has flags: without BigInts it takes a fraction of the time. */
const FLAGS2_LOW = 124
/** di_next_unlinked and agi_unlinked: no inode. */
const NULL_AGINO = 0xffff_ffff

/**
 * struct xfs_dinode (xfs_format.h): an inode as its bytes on disk, read and changed in place. Fields that a change needs have
 * setters; the checksum is stored when its buffer is written.
 */
export class Dinode {
  readonly ino: number
  readonly #sb: Superblock
  #view: ByteView
  /** Views of the forks' literal areas, for as long as they are where they were. */
  #dataLiteral: ByteView | undefined
  #attributeLiteral: ByteView | undefined

  constructor(bytes: Uint8Array, ino: number, sb: Superblock) {
    this.ino = ino
    this.#sb = sb
    this.#view = bigEndian(bytes, 'xfs inode')
  }

  /** The whole inode; to be changed only while it is open for change. */
  get bytes(): Uint8Array {
    return this.#view.bytes
  }
  /** The same, for what has no field here. */
  get view(): ByteView {
    return this.#view
  }
  /** The same inode in another buffer. */
  rebind(bytes: Uint8Array): void {
    if (!isSameMemory(bytes, this.#view.bytes)) this.#view = bigEndian(bytes, 'xfs inode')
  }

  /** An inode of version 1 becomes one of version 2 before it is changed, as in Linux. */
  makeCurrent(): void {
    if (this.di_version !== 1) return
    const links = this.#view.u16(6)
    this.#view.setU8(4, 2)
    this.#view.setU16(6, 0)
    this.#view.setU32(16, links)
    this.#view.setU32(20, 0)
  }

  /** `undefined` for a mode that is no file type, such as that of a free inode. */
  get typeIfAny(): FileType | undefined {
    return TYPES[this.#view.u16(2) >>> 12]
  }
  get type(): FileType {
    const type = this.typeIfAny
    if (type === undefined)
      throw corrupt(
        'inode',
        `inode ${this.ino} has mode 0${this.#view.u16(2).toString(8)}, which is no file type`,
      )
    return type
  }
  /** Permission bits alone. */
  get di_mode(): number {
    return this.#view.u16(2) & 0o7777
  }
  /** Permission bits; the type stays. */
  set di_mode(permissions: number) {
    this.#view.setU16(2, (this.#view.u16(2) & 0o170000) | (permissions & 0o7777))
  }
  get di_version(): number {
    return this.#view.u8(4)
  }
  get di_format(): number {
    return this.#view.u8(5)
  }
  set di_format(format: number) {
    this.#view.setU8(5, format)
  }
  get di_aformat(): number {
    return this.#view.u8(83)
  }
  set di_aformat(format: number) {
    this.#view.setU8(83, format)
  }
  get di_uid(): number {
    return this.#view.u32(8)
  }
  set di_uid(uid: number) {
    this.#view.setU32(8, uid)
  }
  get di_gid(): number {
    return this.#view.u32(12)
  }
  set di_gid(gid: number) {
    this.#view.setU32(12, gid)
  }
  /** Version 1 has it in di_onlink. */
  get di_nlink(): number {
    return this.di_version === 1 ? this.#view.u16(6) : this.#view.u32(16)
  }
  set di_nlink(links: number) {
    this.#view.setU32(16, links)
  }
  /** Version 1 has none. */
  get di_projid(): number {
    return this.di_version === 1 ? 0 : this.#view.u16(22) * 0x1_0000 + this.#view.u16(20)
  }
  set di_projid(project: number) {
    this.#view.setU16(20, project & 0xffff)
    this.#view.setU16(22, project >>> 16)
  }
  get di_size(): number {
    return this.#view.u64(56)
  }
  set di_size(size: number) {
    this.#view.setU64(56, size)
  }
  get di_nblocks(): number {
    return this.#view.u64(64)
  }
  set di_nblocks(blocks: number) {
    this.#view.setU64(64, blocks)
  }
  get di_extsize(): number {
    return this.#view.u32(72)
  }
  /** Where the attributes begin behind the core, in units of 8 bytes; 0 where there are none. */
  get di_forkoff(): number {
    return this.#view.u8(82)
  }
  set di_forkoff(units: number) {
    this.#view.setU8(82, units)
  }
  get di_flags(): number {
    return this.#view.u16(90)
  }
  set di_flags(flags: number) {
    this.#view.setU16(90, flags)
  }
  get di_flags2(): bigint {
    return this.di_version === 3 ? this.#view.big(120) : 0n
  }
  set di_flags2(flags: bigint) {
    if (this.di_version === 3) this.#view.setBig(120, flags)
  }
  get di_gen(): number {
    return this.#view.u32(92)
  }
  set di_gen(generation: number) {
    this.#view.setU32(92, generation)
  }
  get di_next_unlinked(): number {
    return this.#view.u32(96)
  }
  set di_next_unlinked(agino: number) {
    this.#view.setU32(96, agino)
  }
  get isUnlinkedLast(): boolean {
    return this.di_next_unlinked === NULL_AGINO
  }
  /** Of version 3: goes up with every change. */
  bumpChangeCount(): void {
    if (this.di_version !== 3) return
    const low = (this.#view.u32(CHANGECOUNT + 4) + 1) >>> 0
    this.#view.setU32(CHANGECOUNT + 4, low)
    if (low === 0) this.#view.setU32(CHANGECOUNT, (this.#view.u32(CHANGECOUNT) + 1) >>> 0)
  }

  get atime(): Timestamp {
    return this.#time(ATIME)
  }
  set atime(time: Timestamp) {
    this.#setTime(ATIME, time)
  }
  get mtime(): Timestamp {
    return this.#time(40)
  }
  set mtime(time: Timestamp) {
    this.#setTime(40, time)
  }
  get ctime(): Timestamp {
    return this.#time(48)
  }
  set ctime(time: Timestamp) {
    this.#setTime(48, time)
  }
  /** Of version 3 only. */
  get crtime(): Timestamp | undefined {
    return this.di_version === 3 ? this.#time(144) : undefined
  }
  set crtime(time: Timestamp) {
    if (this.di_version === 3) this.#setTime(144, time)
  }
  /** All of them: what completes a new inode is no later change of it. */
  stamp(time: Timestamp): void {
    this.atime = time
    const [first, second] = [this.#view.u32(ATIME), this.#view.u32(ATIME + 4)]
    for (const at of this.di_version === 3 ? LATER_TIMES_V3 : LATER_TIMES) {
      this.#view.setU32(at, first)
      this.#view.setU32(at + 4, second)
    }
  }
  get hasBigTime(): boolean {
    return this.di_version === 3 && (this.#view.u32(FLAGS2_LOW) & Number(DIFLAG2.BIGTIME)) !== 0
  }

  /** Extents of the data fork, as counted. */
  get dataExtents(): number {
    return this.#large ? this.#view.u64(24) : this.#view.u32(76)
  }
  set dataExtents(count: number) {
    if (this.#large) this.#view.setU64(24, count)
    else this.#view.setU32(76, count)
  }
  /** Extents of the attribute fork, as counted. */
  get attributeExtents(): number {
    return this.#large ? this.#view.u32(76) : this.#view.u16(80)
  }
  set attributeExtents(count: number) {
    if (this.#large) this.#view.setU32(76, count)
    else this.#view.setU16(80, count)
  }
  /** The counts above are wider (nrext64). */
  get #large(): boolean {
    return this.di_version === 3 && (this.#view.u32(FLAGS2_LOW) & Number(DIFLAG2.NREXT64)) !== 0
  }

  /** Bytes of the core, and so where the data fork begins. */
  get coreSize(): number {
    return this.di_version === 3 ? CORE.v3 : CORE.old
  }
  /** Bytes of both forks together. */
  get literalSize(): number {
    return this.#sb.sb_inodesize - this.coreSize
  }
  get data(): Fork {
    const length = this.di_forkoff === 0 ? this.literalSize : this.di_forkoff * 8
    this.#dataLiteral = this.#literal(this.#dataLiteral, this.coreSize, length)
    return { format: this.di_format, nextents: this.dataExtents, literal: this.#dataLiteral }
  }
  /** `undefined` where there is none. */
  get attributes(): Fork | undefined {
    const forkoff = this.di_forkoff * 8
    if (forkoff === 0) return undefined
    const length = this.literalSize - forkoff
    this.#attributeLiteral = this.#literal(this.#attributeLiteral, this.coreSize + forkoff, length)
    return { format: this.di_aformat, nextents: this.attributeExtents, literal: this.#attributeLiteral }
  }

  #literal(kept: ByteView | undefined, at: number, length: number): ByteView {
    const { bytes } = this.#view
    const isThere =
      kept !== undefined &&
      kept.length === length &&
      kept.bytes.buffer === bytes.buffer &&
      kept.bytes.byteOffset === bytes.byteOffset + at
    return isThere ? kept : bigEndian(this.#view.slice(at, length), 'xfs inode fork')
  }

  #time(at: number): Timestamp {
    return readTime(this.#view, at, this.hasBigTime)
  }

  #setTime(at: number, time: Timestamp): void {
    writeTime(this.#view, at, this.hasBigTime, time)
  }
}

function isSameMemory(one: Uint8Array, other: Uint8Array): boolean {
  return one.buffer === other.buffer && one.byteOffset === other.byteOffset
}

/**
 * Checks an inode in use, as xfs_dinode_verify of Linux does.
 * @param bytes sb_inodesize of them.
 */
export function checkDinode(bytes: Uint8Array, ino: number, sb: Superblock): void {
  const wrong = (what: string) => corrupt('inode', `inode ${ino} ${what}`, { inode: ino })
  checkDinodeIdentity(bytes, ino, sb)
  const view = bigEndian(bytes, 'xfs inode')
  const mode = view.u16(2)
  if (mode === 0) throw wrong('is free, and something refers to it')
  const type = TYPES[mode >>> 12]
  if (type === undefined) throw wrong(`has mode 0${mode.toString(8)}, which is no file type`)
  const room = view.length - (sb.isV5 ? CORE.v3 : CORE.old)
  const forkoff = view.u8(82) * 8
  if (forkoff >= room) throw wrong(`has its attributes at ${forkoff} of ${room} bytes`)
  const [format, aformat] = [view.u8(5), view.u8(83)]
  if (!formatsOf(type).includes(format)) throw wrong(`is a ${type} with data of format ${format}`)
  if (forkoff !== 0 && (aformat < FORMAT.LOCAL || aformat > FORMAT.BTREE))
    throw wrong(`has attributes of format ${aformat}`)
}

/** What is to be right of a free inode too: that it is one, that it is whole, and which it is. */
export function checkDinodeIdentity(bytes: Uint8Array, ino: number, sb: Superblock): void {
  const wrong = (what: string) => corrupt('inode', `inode ${ino} ${what}`, { inode: ino })
  const view = bigEndian(bytes, 'xfs inode')
  if (view.u16(0) !== DINODE_MAGIC)
    throw wrong(`has the magic number 0x${view.u16(0).toString(16)}, expected 0x494e: there is none`)
  const di_version = view.u8(4)
  if (sb.isV5 ? di_version !== 3 : di_version !== 1 && di_version !== 2)
    throw wrong(`has version ${di_version}, which its filesystem cannot have`)
  if (!sb.isV5) return
  if (!checksumIsRight(bytes, DINODE_CRC_OFFSET)) throw wrong('has a wrong checksum')
  if (view.big(152) !== BigInt(ino)) throw wrong(`says that it is inode ${view.big(152)}`)
  if (!equalBytes(view.slice(160, 16), sb.metaUuid)) throw wrong('belongs to another filesystem')
}

function formatsOf(type: FileType): readonly number[] {
  if (type === 'file') return [FORMAT.EXTENTS, FORMAT.BTREE]
  if (type === 'directory' || type === 'symlink') return [FORMAT.LOCAL, FORMAT.EXTENTS, FORMAT.BTREE]
  return [FORMAT.DEV]
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
