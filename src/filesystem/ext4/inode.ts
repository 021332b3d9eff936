import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import type { FileType, InodeNumber, Timestamp } from '../filesystem.ts'

/** st_mode's type bits, as on disk (fs/ext4/ext4.h, linux/stat.h). */
export const FILE_TYPE_BITS: Readonly<Record<FileType, number>> = {
  fifo: 0x1000,
  'character-device': 0x2000,
  directory: 0x4000,
  'block-device': 0x6000,
  file: 0x8000,
  symlink: 0xa000,
  socket: 0xc000,
}

const TYPE_OF_BITS: ReadonlyMap<number, FileType> = new Map(
  (Object.keys(FILE_TYPE_BITS) as FileType[]).map(type => [FILE_TYPE_BITS[type], type]),
)

/** i_flags that the code acts on (fs/ext4/ext4.h, EXT4_*_FL). */
export const INODE_FLAG = {
  IMMUTABLE: 0x10,
  APPEND: 0x20,
  /** The directory has an htree. */
  INDEX: 0x1000,
  /** i_blocks counts filesystem blocks, not 512-byte units. */
  HUGE_FILE: 0x4_0000,
  /** i_block holds an extent tree. */
  EXTENTS: 0x8_0000,
  VERITY: 0x10_0000,
  /** The inode's content is a large xattr value. */
  EA_INODE: 0x20_0000,
  INLINE_DATA: 0x1000_0000,
  CASEFOLD: 0x4000_0000,
  ENCRYPT: 0x800,
} as const

/** Bytes of the part that every inode has (struct ext4_inode up to i_osd2). */
export const GOOD_OLD_INODE_SIZE = 128

/** 2^32 */
const TWO_32 = 0x1_0000_0000

/**
 * One inode: a view on its bytes with the names of struct ext4_inode (fs/ext4/ext4.h). Setters change the bytes in
 * place; the inode table writes them and sets the checksum.
 */
export class Inode {
  readonly ino: InodeNumber
  /** s_inode_size bytes. */
  readonly bytes: Uint8Array
  readonly #view: ByteView
  /** huge_file: i_blocks has 48 bits. */
  readonly #hugeFile: boolean
  readonly #blockSize: number

  constructor(ino: InodeNumber, bytes: Uint8Array, blockSize: number, hugeFile: boolean) {
    this.ino = ino
    this.bytes = bytes
    this.#view = littleEndian(bytes, `inode ${ino}`)
    this.#blockSize = blockSize
    this.#hugeFile = hugeFile
  }

  /** Type and permission bits together. */
  get mode(): number {
    return this.#view.u16(0x0)
  }
  set mode(value: number) {
    this.#view.setU16(0x0, value)
  }
  /** `undefined` for type bits that mean nothing (0 in a freed inode). */
  get type(): FileType | undefined {
    return TYPE_OF_BITS.get(this.mode & 0xf000)
  }
  get isDirectory(): boolean {
    return (this.mode & 0xf000) === FILE_TYPE_BITS.directory
  }

  get uid(): number {
    return this.#view.u16(0x2) + this.#view.u16(0x78) * 0x1_0000
  }
  set uid(value: number) {
    this.#view.setU16(0x2, value & 0xffff)
    this.#view.setU16(0x78, value >>> 16)
  }
  get gid(): number {
    return this.#view.u16(0x18) + this.#view.u16(0x7a) * 0x1_0000
  }
  set gid(value: number) {
    this.#view.setU16(0x18, value & 0xffff)
    this.#view.setU16(0x7a, value >>> 16)
  }

  /** Bytes. i_size_high counts for files and directories alike (large_dir); ERR_CORRUPT at 2^53. */
  get size(): number {
    return this.#view.u32(0x6c) === 0 ? this.#view.u32(0x4) : joined(this.#view, 0x4, 0x6c)
  }
  set size(value: number) {
    this.#view.setU32(0x4, value >>> 0)
    this.#view.setU32(0x6c, Math.floor(value / TWO_32))
  }

  get linksCount(): number {
    return this.#view.u16(0x1a)
  }
  set linksCount(value: number) {
    this.#view.setU16(0x1a, value)
  }

  /** i_blocks in 512-byte units, whatever unit is stored. */
  get sectors(): number {
    const stored = this.#view.u32(0x1c) + (this.#hugeFile ? this.#view.u16(0x74) * TWO_32 : 0)
    return this.hasFlag(INODE_FLAG.HUGE_FILE) && this.#hugeFile ? stored * (this.#blockSize / 512) : stored
  }
  set sectors(value: number) {
    let stored = value
    // As ext4_inode_blocks_set: the unit changes to blocks only where 48 bits of sectors do not suffice.
    if (this.#hugeFile && value >= 2 ** 48) {
      this.setFlag(INODE_FLAG.HUGE_FILE, true)
      stored = value / (this.#blockSize / 512)
    } else this.setFlag(INODE_FLAG.HUGE_FILE, false)
    this.#view.setU32(0x1c, stored >>> 0)
    if (this.#hugeFile) this.#view.setU16(0x74, Math.floor(stored / TWO_32))
  }
  /** Adds allocated (or with a negative count, freed) filesystem blocks to i_blocks. */
  addBlocks(count: number): void {
    this.sectors += count * (this.#blockSize / 512)
  }

  get flags(): number {
    return this.#view.u32(0x20)
  }
  hasFlag(flag: number): boolean {
    return (this.#view.u32(0x20) & flag) !== 0
  }
  setFlag(flag: number, on: boolean): void {
    const flags = this.#view.u32(0x20)
    this.#view.setU32(0x20, (on ? flags | flag : flags & ~flag) >>> 0)
  }

  /** The 60 bytes of i_block: block map, extent root, fast symlink, device number or inline data. The inode's own. */
  get iBlock(): Uint8Array {
    return this.#view.slice(0x28, 60)
  }
  get generation(): number {
    return this.#view.u32(0x64)
  }
  set generation(value: number) {
    this.#view.setU32(0x64, value)
  }
  /** The block of xattrs, 0 for none. */
  get fileAcl(): number {
    return this.#view.u32(0x68) + this.#view.u16(0x76) * TWO_32
  }
  set fileAcl(value: number) {
    this.#view.setU32(0x68, value >>> 0)
    this.#view.setU16(0x76, Math.floor(value / TWO_32))
  }
  /** Deletion time in seconds; while the inode is on the orphan list, the next inode of that list. */
  get dtime(): number {
    return this.#view.u32(0x14)
  }
  set dtime(value: number) {
    this.#view.setU32(0x14, value)
  }
  /** i_version (lower half), which the kernel counts up with each change. */
  get version(): number {
    return this.#view.u32(0x24)
  }
  set version(value: number) {
    this.#view.setU32(0x24, value >>> 0)
  }

  /** Bytes of the extra fields after the first 128 that are in use; 0 in a 128-byte inode. */
  get extraIsize(): number {
    return this.bytes.length > GOOD_OLD_INODE_SIZE ? this.#view.u16(0x80) : 0
  }
  set extraIsize(value: number) {
    this.#view.setU16(0x80, value)
  }
  /** Whether an extra field that ends at byte `end` of the inode is in use. */
  hasExtra(end: number): boolean {
    return this.bytes.length >= end && GOOD_OLD_INODE_SIZE + this.extraIsize >= end
  }
  /** The bytes after the extra fields, where in-inode xattrs and more inline data live (empty where there are none). */
  get extraSpace(): Uint8Array {
    if (this.bytes.length <= GOOD_OLD_INODE_SIZE) return this.bytes.subarray(this.bytes.length)
    const start = GOOD_OLD_INODE_SIZE + this.extraIsize
    return start > this.bytes.length ? this.bytes.subarray(this.bytes.length) : this.bytes.subarray(start)
  }
  get projid(): number {
    return this.hasExtra(0xa0) ? this.#view.u32(0x9c) : 0
  }
  set projid(value: number) {
    if (this.hasExtra(0xa0)) this.#view.setU32(0x9c, value)
  }

  get atime(): Timestamp {
    return this.#time(0x8, 0x8c)
  }
  set atime(value: Timestamp) {
    this.#setTime(0x8, 0x8c, value)
  }
  get ctime(): Timestamp {
    return this.#time(0xc, 0x84)
  }
  set ctime(value: Timestamp) {
    this.#setTime(0xc, 0x84, value)
  }
  get mtime(): Timestamp {
    return this.#time(0x10, 0x88)
  }
  set mtime(value: Timestamp) {
    this.#setTime(0x10, 0x88, value)
  }
  get crtime(): Timestamp | undefined {
    return this.hasExtra(0x98) ? this.#time(0x90, 0x94) : undefined
  }
  set crtime(value: Timestamp) {
    if (this.hasExtra(0x98)) this.#setTime(0x90, 0x94, value)
  }

  /**
   * Signed 32-bit seconds; the extra field adds 2 epoch bits on top of them and 30 bits of nanoseconds
   * (fs/ext4/ext4.h, ext4_decode_extra_time).
   */
  #time(offset: number, extra: number): Timestamp {
    let seconds = this.#view.i32(offset)
    let nanoseconds = 0
    if (this.hasExtra(extra + 4)) {
      const bits = this.#view.u32(extra)
      seconds += (bits & 3) * TWO_32
      nanoseconds = bits >>> 2
    }
    return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)
  }

  #setTime(offset: number, extra: number, value: Timestamp): void {
    // Floor, so that a time before 1970 keeps nanoseconds that count upwards.
    const wholeSeconds =
      (value - (((value % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n)) / 1_000_000_000n
    const nanoseconds = Number(value - wholeSeconds * 1_000_000_000n)
    const seconds = Number(wholeSeconds)
    const low = seconds | 0
    if (this.hasExtra(extra + 4)) {
      // Times beyond 2446 do not fit; the kernel clamps them too (timestamp_truncate).
      const clamped = Math.min(Math.max(seconds, -0x8000_0000), 0x3_7fff_ffff)
      const epoch = Math.floor((clamped - (clamped | 0)) / TWO_32) & 3
      this.#view.setU32(offset, (clamped | 0) >>> 0)
      this.#view.setU32(extra, ((nanoseconds << 2) | epoch) >>> 0)
    } else {
      const clamped = Math.min(Math.max(seconds, -0x8000_0000), 0x7fff_ffff)
      this.#view.setU32(offset, (clamped === seconds ? low : clamped) >>> 0)
    }
  }
}

function joined(view: ByteView, low: number, high: number): number {
  const both = new Uint8Array(8)
  both.set(view.slice(low, 4), 0)
  both.set(view.slice(high, 4), 4)
  return littleEndian(both, view.structure).u64(0)
}
