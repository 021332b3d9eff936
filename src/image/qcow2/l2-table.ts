import { corrupt } from './corruption.ts'
import { type Geometry, TWO_32 } from './geometry.ts'

/** Bit 63, in the high half: the refcount of the cluster is exactly 1. */
export const COPIED = 0x8000_0000
/** Bit 62, in the high half. */
export const COMPRESSED = 0x4000_0000
/** Bit 0, in the low half: reads as zeros (standard entries of version 3). */
export const ZERO = 1
/** Bits 9 to 55 of an entry are a host offset. */
export const OFFSET_HIGH = 0x00ff_ffff
export const OFFSET_LOW = 0xffff_fe00
/** Bits 56 to 61 and 1 to 8 are reserved in standard entries. */
export const RESERVED_HIGH = 0x3f00_0000
export const RESERVED_LOW = 0x1fe

/** Bits 56 to 62 and 0 to 8 are reserved in L1 entries. */
export const L1_RESERVED_HIGH = 0x7f00_0000
export const L1_RESERVED_LOW = 0x1ff

/** Where the bytes of a compressed cluster lie. */
export interface CompressedDescriptor {
  readonly offset: number
  /** Bytes from `offset` to the end of the last 512-byte sector; the tail of that sector is padding. */
  readonly length: number
}

/** Host offset of an entry that is not compressed. Below 2^56; a file is never that long, so 2^53 is no issue here. */
export function entryOffset(high: number, low: number): number {
  return (high & OFFSET_HIGH) * TWO_32 + ((low & OFFSET_LOW) >>> 0)
}

/**
 * The compressed cluster descriptor: with x = 62 - (cluster_bits - 8), bits 0 to x-1 are the byte offset and bits x to 61
 * the number of 512-byte sectors after the one that the offset lies in.
 */
export function compressedDescriptor(clusterBits: number, high: number, low: number): CompressedDescriptor {
  const shift = 62 - (clusterBits - 8) - 32
  const offset = (high & (2 ** shift - 1)) * TWO_32 + low
  const sectors = ((high & 0x3fff_ffff) >>> shift) + 1
  return { offset, length: sectors * 512 - (offset % 512) }
}

/**
 * The entry of a compressed cluster whose stream is `length` bytes from `offset`; `undefined` when the offset is beyond what the
 * descriptor holds (512 TiB with clusters of 2 MiB).
 */
export function compressedEntry(
  clusterBits: number,
  offset: number,
  length: number,
): { readonly high: number; readonly low: number } | undefined {
  const shift = 62 - (clusterBits - 8) - 32
  const offsetHigh = Math.floor(offset / TWO_32)
  if (offsetHigh >= 2 ** shift) return undefined
  const sectors = Math.floor((offset + length - 1) / 512) - Math.floor(offset / 512)
  return { high: (COMPRESSED | (sectors << shift) | offsetHigh) >>> 0, low: offset >>> 0 }
}

/** One L2 table in memory, in the bytes of the file. */
export class L2Table {
  /** Host offset of the table. */
  readonly offset: number
  readonly bytes: Uint8Array
  readonly #view: DataView
  readonly #stride: number
  /** Differs from what the file holds at `offset`. */
  dirty = false

  constructor(geometry: Geometry, offset: number, bytes: Uint8Array) {
    this.offset = offset
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#stride = geometry.l2EntrySize
  }

  high(index: number): number {
    return this.#view.getUint32(index * this.#stride)
  }
  low(index: number): number {
    return this.#view.getUint32(index * this.#stride + 4)
  }
  /** Standard entries from `from` up to `to` that say nothing. @returns the first other one, or `to`. */
  endOfHole(from: number, to: number): number {
    const view = this.#view
    let at = from * 8
    const end = to * 8
    while (at < end && view.getUint32(at) === 0 && view.getUint32(at + 4) === 0) at += 8
    return at / 8
  }

  /** As `endOfHole`, of plain data clusters that lie in a row from `host` on. */
  endOfData(from: number, to: number, host: number, clusterSize: number): number {
    const view = this.#view
    let offset = host
    for (let index = from; index < to; index++) {
      const high = view.getUint32(index * 8)
      const low = view.getUint32(index * 8 + 4)
      if ((high & COMPRESSED) !== 0 || (low & ZERO) !== 0 || entryOffset(high, low) !== offset) return index
      offset += clusterSize
    }
    return to
  }

  /** Extended entries: bit n set means that subcluster n reads as zeros. */
  zeroBitmap(index: number): number {
    return this.#view.getUint32(index * this.#stride + 8)
  }
  /** Extended entries: bit n set means that subcluster n is allocated. */
  allocatedBitmap(index: number): number {
    return this.#view.getUint32(index * this.#stride + 12)
  }

  set(index: number, high: number, low: number): void {
    this.#view.setUint32(index * this.#stride, high)
    this.#view.setUint32(index * this.#stride + 4, low)
    this.dirty = true
  }
  setBitmaps(index: number, zero: number, allocated: number): void {
    this.#view.setUint32(index * this.#stride + 8, zero)
    this.#view.setUint32(index * this.#stride + 12, allocated)
    this.dirty = true
  }
}

/** The L1 table in memory, in the bytes of the file. */
export class L1Table {
  readonly bytes: Uint8Array
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get length(): number {
    return this.bytes.length / 8
  }

  high(index: number): number {
    return this.#view.getUint32(index * 8)
  }
  low(index: number): number {
    return this.#view.getUint32(index * 8 + 4)
  }
  /** Host offset of the L2 table, 0 when there is none. */
  offset(index: number): number {
    return entryOffset(this.high(index), this.low(index))
  }
  /** @param copied the table's refcount is exactly 1. */
  set(index: number, offset: number, copied = true): void {
    this.#view.setUint32(index * 8, (Math.floor(offset / TWO_32) | (copied ? COPIED : 0)) >>> 0)
    this.#view.setUint32(index * 8 + 4, offset >>> 0)
  }
  clone(): L1Table {
    return new L1Table(this.bytes.slice())
  }
}

/** Host offset of the L2 table that an L1 entry names, checked; 0 when there is none. */
export function checkedL2Offset(name: string, geometry: Geometry, l1: L1Table, index: number): number {
  const offset = l1.offset(index)
  if (offset % geometry.clusterSize !== 0)
    throw corrupt(name, `L1 entry ${index} points at byte ${offset}, which is no cluster boundary`, {
      structure: 'L1 table',
      index,
    })
  return offset
}
