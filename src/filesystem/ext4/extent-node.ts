import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { DrydiskError } from '../../errors.ts'
import type { BlockNumber } from './context.ts'

/** eh_magic (fs/ext4/ext4_extents.h, EXT4_EXT_MAGIC). */
export const EXTENT_MAGIC = 0xf30a
/** The kernel refuses deeper trees (EXT4_MAX_EXTENT_DEPTH); five levels of 1 KiB nodes hold 2^32 blocks. */
export const MAX_EXTENT_DEPTH = 5
/** Longest written extent: ee_len above it means an unwritten extent of ee_len - 2^15 blocks (EXT_INIT_MAX_LEN). */
export const MAX_WRITTEN_LENGTH = 0x8000
/** Longest unwritten extent (EXT_UNWRITTEN_MAX_LEN). */
export const MAX_UNWRITTEN_LENGTH = 0x7fff
/** Logical blocks are 32-bit. */
export const LOGICAL_END = 0x1_0000_0000

const HEADER_SIZE = 12
/** Bytes of struct ext4_extent and of struct ext4_extent_idx alike. */
export const ENTRY_SIZE = 12
const TWO_32 = 0x1_0000_0000

/** One ext4_extent: `count` blocks of the file from `logical` lie at `block`. */
export interface ExtentRecord {
  readonly logical: number
  readonly count: number
  readonly block: BlockNumber
  /** Allocated, but reads as zeros. */
  readonly unwritten: boolean
}

/** Where the volume's blocks are: what a block number is checked against. */
export interface VolumeBounds {
  readonly s_first_data_block: number
  readonly s_blocks_count: number
}

/** What is known of a node before it is read. */
export interface NodeExpectation {
  readonly depth: number
  /** The first logical block that may be in the node, and the one after the last. */
  readonly from: number
  readonly to: number
}

/**
 * One node of an extent tree: header, then eh_max slots of extents (eh_depth 0) or indexes, then in a block of its own
 * the checksum tail. A view: changes go to the bytes. `check` has to pass before the entries mean anything.
 */
export class ExtentNode {
  readonly bytes: Uint8Array
  readonly #view: ByteView

  constructor(bytes: Uint8Array, ino: number) {
    this.bytes = bytes
    this.#view = littleEndian(bytes, `extent tree of inode ${ino}`)
  }

  /** An empty node over the whole of `bytes`: eh_max is what fits. */
  static format(bytes: Uint8Array, ino: number, depth: number): ExtentNode {
    bytes.fill(0)
    const node = new ExtentNode(bytes, ino)
    node.#view.setU16(0x0, EXTENT_MAGIC)
    node.#view.setU16(0x4, node.capacity)
    node.depth = depth
    return node
  }

  /** Entries that the bytes have room for. */
  get capacity(): number {
    return Math.floor((this.bytes.length - HEADER_SIZE) / ENTRY_SIZE)
  }
  get eh_magic(): number {
    return this.#view.u16(0x0)
  }
  get entries(): number {
    return this.#view.u16(0x2)
  }
  get max(): number {
    return this.#view.u16(0x4)
  }
  get depth(): number {
    return this.#view.u16(0x6)
  }
  set depth(value: number) {
    this.#view.setU16(0x6, value)
  }

  /** ee_block or ei_block. */
  key(slot: number): number {
    return this.#view.u32(HEADER_SIZE + slot * ENTRY_SIZE)
  }
  setKey(slot: number, logical: number): void {
    this.#view.setU32(HEADER_SIZE + slot * ENTRY_SIZE, logical)
  }
  /** The block of the child that an index entry points to. */
  child(slot: number): BlockNumber {
    const at = HEADER_SIZE + slot * ENTRY_SIZE
    return this.#view.u32(at + 4) + this.#view.u16(at + 8) * TWO_32
  }
  extent(slot: number): ExtentRecord {
    const at = HEADER_SIZE + slot * ENTRY_SIZE
    const length = this.#view.u16(at + 4)
    const unwritten = length > MAX_WRITTEN_LENGTH
    return {
      logical: this.#view.u32(at),
      count: unwritten ? length - MAX_WRITTEN_LENGTH : length,
      block: this.#view.u32(at + 8) + this.#view.u16(at + 6) * TWO_32,
      unwritten,
    }
  }

  /** The last slot whose key is not above `logical`, or -1. */
  search(logical: number): number {
    let low = 0
    let high = this.entries
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.key(middle) <= logical) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  /** The entries as they are on disk; a window, not a copy. */
  raw(from: number, to: number): Uint8Array {
    return this.#view.slice(HEADER_SIZE + from * ENTRY_SIZE, (to - from) * ENTRY_SIZE)
  }
  /** Replaces `remove` entries from slot `at` by those in `insert` (whole on-disk entries). They must fit. */
  splice(at: number, remove: number, insert: Uint8Array): void {
    const old = this.entries
    const count = old - remove + insert.length / ENTRY_SIZE
    const start = HEADER_SIZE + at * ENTRY_SIZE
    const end = HEADER_SIZE + old * ENTRY_SIZE
    this.bytes.copyWithin(start + insert.length, start + remove * ENTRY_SIZE, end)
    this.bytes.set(insert, start)
    const newEnd = HEADER_SIZE + count * ENTRY_SIZE
    if (newEnd < end) this.bytes.fill(0, newEnd, end)
    this.#view.setU16(0x2, count)
  }
  replaceAll(entries: Uint8Array): void {
    this.splice(0, this.entries, entries)
  }

  /** Position of et_checksum: after the last slot (EXT4_EXTENT_TAIL_OFFSET). */
  get #tail(): number {
    return HEADER_SIZE + this.max * ENTRY_SIZE
  }
  setChecksum(seed: number): void {
    const tail = this.#tail
    this.#view.setU32(tail, crc32c(seed, this.bytes.subarray(0, tail)))
  }
  checksumMatches(seed: number): boolean {
    const tail = this.#tail
    if (tail + 4 > this.bytes.length) return false
    return this.#view.u32(tail) === crc32c(seed, this.bytes.subarray(0, tail))
  }

  /** The rules of the header (fs/ext4/extents.c, __ext4_ext_check). @returns what is wrong, or `undefined`. */
  headerFault(depth: number): string | undefined {
    if (this.eh_magic !== EXTENT_MAGIC)
      return `magic 0x${this.eh_magic.toString(16)} where an extent node has 0x${EXTENT_MAGIC.toString(16)}`
    if (this.depth !== depth) return `depth ${this.depth} where ${depth} was expected`
    if (depth > MAX_EXTENT_DEPTH) return `depth ${depth}, more than ${MAX_EXTENT_DEPTH}`
    if (this.max === 0 || this.max > this.capacity)
      return `room for ${this.max} entries claimed where there is room for ${this.capacity}`
    if (this.entries > this.max) return `${this.entries} entries where ${this.max} fit`
    if (this.entries === 0 && depth > 0) return 'an index node without entries'
    return undefined
  }

  /** Every entry ascending, not overlapping, and within the volume. @returns what is wrong, or `undefined`. */
  entriesFault(bounds: VolumeBounds): string | undefined {
    let next = 0
    for (let slot = 0; slot < this.entries; slot++) {
      const key = this.key(slot)
      if (key < next) return `entry ${slot} starts at logical block ${key}, before ${next}`
      if (this.depth === 0) {
        const { count, block } = this.extent(slot)
        if (count === 0) return `extent ${slot} is empty`
        next = key + count
        if (next > LOGICAL_END) return `extent ${slot} passes logical block 2^32`
        if (!inVolume(bounds, block, count))
          return `extent ${slot} lies at blocks ${block} to ${block + count - 1}, outside the volume`
      } else {
        next = key + 1
        const child = this.child(slot)
        if (!inVolume(bounds, child, 1)) return `index ${slot} points to block ${child}, outside the volume`
      }
    }
    return undefined
  }

  /** The entries lie where the parent says. @returns what is wrong, or `undefined`. */
  rangeFault(from: number, to: number): string | undefined {
    if (this.entries === 0) return undefined
    const last = this.entries - 1
    const end = this.depth === 0 ? this.key(last) + this.extent(last).count : this.key(last) + 1
    if (this.key(0) < from || end > to)
      return `entries of logical blocks ${this.key(0)} to ${end - 1} in a node for ${from} to ${to - 1}`
    return undefined
  }
}

/** Block 0 (and with 1 KiB blocks, block 1) is the superblock's, never a file's. */
export function inVolume(bounds: VolumeBounds, block: BlockNumber, count: number): boolean {
  return block > bounds.s_first_data_block && block + count <= bounds.s_blocks_count
}

/** Extents in their on-disk form. */
export function encodeExtents(extents: readonly ExtentRecord[]): Uint8Array {
  const bytes = new Uint8Array(extents.length * ENTRY_SIZE)
  const view = littleEndian(bytes, 'new extents')
  let at = 0
  for (const { logical, count, block, unwritten } of extents) {
    view.setU32(at, logical)
    view.setU16(at + 4, unwritten ? count + MAX_WRITTEN_LENGTH : count)
    view.setU16(at + 6, Math.floor(block / TWO_32))
    view.setU32(at + 8, block >>> 0)
    at += ENTRY_SIZE
  }
  return bytes
}

/** An index entry in its on-disk form. */
export function encodeIndex(logical: number, child: BlockNumber): Uint8Array {
  const bytes = new Uint8Array(ENTRY_SIZE)
  const view = littleEndian(bytes, 'new extent index')
  view.setU32(0, logical)
  view.setU32(4, child >>> 0)
  view.setU16(8, Math.floor(child / TWO_32))
  return bytes
}

export function corruptTree(ino: number, block: BlockNumber | undefined, fault: string): DrydiskError {
  const where = block === undefined ? 'in the inode' : `in block ${block}`
  return new DrydiskError(
    'ERR_CORRUPT',
    `the extent tree of inode ${ino} is damaged ${where}: ${fault}; repair the filesystem with e2fsck`,
    { structure: 'extent tree', inode: ino, ...(block === undefined ? {} : { block }) },
  )
}
