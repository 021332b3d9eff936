import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import { crc16 } from '../../bytes/crc16.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import type { BlockNumber } from './context.ts'

/** bg_flags. */
export const GROUP_FLAG = {
  /** The inode bitmap and table were never written. */
  INODE_UNINIT: 0x1,
  /** The block bitmap was never written; only the group's own metadata is used. */
  BLOCK_UNINIT: 0x2,
  /** The inode table is zeroed up to its end. */
  INODE_ZEROED: 0x4,
} as const

const CHECKSUM_OFFSET = 0x1e
const TWO_16 = 0x1_0000
const TWO_32 = 0x1_0000_0000

/** How descriptors of one filesystem are checksummed; `none` before uninit_bg and metadata_csum. */
export type DescriptorChecksum =
  | { readonly kind: 'none' }
  | { readonly kind: 'crc16'; readonly uuid: Uint8Array }
  | { readonly kind: 'crc32c'; readonly seed: number }

/** Four little-endian bytes. */
export function le32(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24)
}

/** A view on struct ext4_group_desc (fs/ext4/ext4.h), 32 bytes or, with 64bit, 64 and more. */
export class GroupDescriptor {
  readonly bytes: Uint8Array
  readonly #view: ByteView
  readonly #wide: boolean

  constructor(bytes: Uint8Array, group: number) {
    this.bytes = bytes
    this.#view = littleEndian(bytes, `group descriptor ${group}`)
    this.#wide = bytes.length >= 64
  }

  get bg_block_bitmap(): BlockNumber {
    return this.#block(0x0, 0x20)
  }
  set bg_block_bitmap(value: BlockNumber) {
    this.#setBlock(0x0, 0x20, value)
  }
  get bg_inode_bitmap(): BlockNumber {
    return this.#block(0x4, 0x24)
  }
  set bg_inode_bitmap(value: BlockNumber) {
    this.#setBlock(0x4, 0x24, value)
  }
  get bg_inode_table(): BlockNumber {
    return this.#block(0x8, 0x28)
  }
  set bg_inode_table(value: BlockNumber) {
    this.#setBlock(0x8, 0x28, value)
  }
  get bg_free_blocks_count(): number {
    return this.#count(0xc, 0x2c)
  }
  set bg_free_blocks_count(value: number) {
    this.#setCount(0xc, 0x2c, value)
  }
  get bg_free_inodes_count(): number {
    return this.#count(0xe, 0x2e)
  }
  set bg_free_inodes_count(value: number) {
    this.#setCount(0xe, 0x2e, value)
  }
  get bg_used_dirs_count(): number {
    return this.#count(0x10, 0x30)
  }
  set bg_used_dirs_count(value: number) {
    this.#setCount(0x10, 0x30, value)
  }
  get bg_flags(): number {
    return this.#view.u16(0x12)
  }
  set bg_flags(value: number) {
    this.#view.setU16(0x12, value)
  }
  /** Inodes at the end of the table that were never used. */
  get bg_itable_unused(): number {
    return this.#count(0x1c, 0x32)
  }
  set bg_itable_unused(value: number) {
    this.#setCount(0x1c, 0x32, value)
  }
  /** Of the block bitmap's crc32c, as many bits as the descriptor stores (16 or 32). */
  blockBitmapChecksumIs(crc: number): boolean {
    return this.#checksumIs(0x18, 0x38, crc)
  }
  set blockBitmapChecksum(crc: number) {
    this.#setCount(0x18, 0x38, crc)
  }
  inodeBitmapChecksumIs(crc: number): boolean {
    return this.#checksumIs(0x1a, 0x3a, crc)
  }
  set inodeBitmapChecksum(crc: number) {
    this.#setCount(0x1a, 0x3a, crc)
  }

  hasFlag(flag: number): boolean {
    return (this.bg_flags & flag) !== 0
  }
  setFlag(flag: number, on: boolean): void {
    this.bg_flags = on ? this.bg_flags | flag : this.bg_flags & ~flag
  }

  checksumIsRight(group: number, how: DescriptorChecksum): boolean {
    return how.kind === 'none' || this.#view.u16(CHECKSUM_OFFSET) === this.#checksum(group, how)
  }
  updateChecksum(group: number, how: DescriptorChecksum): void {
    if (how.kind !== 'none') this.#view.setU16(CHECKSUM_OFFSET, this.#checksum(group, how))
  }
  /** ext4_group_desc_csum: crc32c takes bg_checksum as zero, crc16 leaves it out. */
  #checksum(group: number, how: Exclude<DescriptorChecksum, { kind: 'none' }>): number {
    const before = this.bytes.subarray(0, CHECKSUM_OFFSET)
    const after = this.bytes.subarray(CHECKSUM_OFFSET + 2)
    if (how.kind === 'crc32c') {
      const head = crc32c(crc32c(how.seed, le32(group)), before)
      return crc32c(crc32c(head, new Uint8Array(2)), after) & 0xffff
    }
    const head = crc16(crc16(crc16(0xffff, how.uuid), le32(group)), before)
    return this.#wide ? crc16(head, after) : head
  }

  #block(low: number, high: number): BlockNumber {
    return this.#view.u32(low) + (this.#wide ? this.#view.u32(high) * TWO_32 : 0)
  }
  #setBlock(low: number, high: number, value: BlockNumber): void {
    this.#view.setU32(low, value >>> 0)
    if (this.#wide) this.#view.setU32(high, Math.floor(value / TWO_32))
  }
  #count(low: number, high: number): number {
    return this.#view.u16(low) + (this.#wide ? this.#view.u16(high) * TWO_16 : 0)
  }
  #setCount(low: number, high: number, value: number): void {
    this.#view.setU16(low, value & 0xffff)
    if (this.#wide) this.#view.setU16(high, value >>> 16)
  }
  #checksumIs(low: number, high: number, crc: number): boolean {
    return this.#count(low, high) === (this.#wide ? crc : crc & 0xffff)
  }
}
