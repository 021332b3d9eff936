import { type Geometry, TWO_32 } from './geometry.ts'
import { COMPRESSED, COPIED, OFFSET_HIGH, OFFSET_LOW, RESERVED_HIGH, RESERVED_LOW, ZERO } from './l2-table.ts'

/** What is wrong with an entry in itself, whatever the refcounts say. */
export type EntryFault =
  | 'reserved bits'
  /** Compressed, and OFLAG_COPIED is set. */
  | 'copied compressed'
  /** Compressed, in an image with an external data file. */
  | 'compressed data file'
  /** Compressed, and has a subcluster bitmap. */
  | 'compressed bitmap'
  /** A subcluster is called allocated and zero. */
  | 'bitmap'
  /** A subcluster is called allocated, and there is no cluster. */
  | 'bitmap without cluster'
  /** The host offset is no cluster boundary. */
  | 'misaligned'
  /** As `misaligned`, and the entry reads as zeros: nothing is lost without the cluster. */
  | 'misaligned zero'

/** Whether an entry with this fault takes a cluster all the same, as qemu counts it. */
export function isPlaced(fault: EntryFault): boolean {
  return fault === 'bitmap' || fault === 'misaligned' || fault === 'misaligned zero'
}

/** Hears what an L2 table holds, in ascending order of the entries. */
export interface L2Sink {
  /** `count` entries in a row that name host clusters in a row from `host`, all with the same OFLAG_COPIED. */
  clusters(index: number, host: number, count: number, copied: boolean): void
  /** One compressed cluster. */
  compressed(index: number, high: number, low: number): void
  fault(index: number, fault: EntryFault, high: number, low: number): void
}

/**
 * Goes over the entries of one L2 table. Most of a large image's entries are 0 or go on with the one before, so these two cost
 * next to nothing.
 */
export function scanL2(bytes: Uint8Array, geometry: Geometry, dataFile: boolean, sink: L2Sink): void {
  const { clusterSize, l2EntrySize, subclusters } = geometry
  const extended = subclusters > 1
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // Only whether they are 0 is asked of these, which no byte order changes.
  const words =
    bytes.byteOffset % 4 === 0
      ? new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
      : undefined
  const stride = l2EntrySize >>> 2
  const lowMask = (OFFSET_LOW & (clusterSize - 1)) >>> 0
  const entries = Math.floor(bytes.length / l2EntrySize)
  let first = 0
  let host = 0
  let count = 0
  let copied = false
  const end = (): void => {
    if (count > 0) sink.clusters(first, host, count, copied)
    count = 0
  }
  for (let index = 0; index < entries; index++) {
    if (words !== undefined) {
      // An extended entry has four words, and the first two may be 0.
      index = Math.floor(nextUsed(words, index * stride) / stride)
      if (index >= entries) break
    }
    const at = index * l2EntrySize
    const high = view.getUint32(at)
    const low = view.getUint32(at + 4)
    const zeros = extended ? view.getUint32(at + 8) : (low & ZERO) !== 0 ? 0xffff_ffff : 0
    const allocated = extended ? view.getUint32(at + 12) : 0
    if ((high | low | zeros | allocated) === 0) continue
    if ((high & COMPRESSED) !== 0) {
      end()
      if ((high & COPIED) !== 0) sink.fault(index, 'copied compressed', high, low)
      if (dataFile) sink.fault(index, 'compressed data file', high, low)
      else if (extended && (zeros | allocated) !== 0) sink.fault(index, 'compressed bitmap', high, low)
      else sink.compressed(index, high, low)
      continue
    }
    const reserved = (high & RESERVED_HIGH) !== 0 || (low & RESERVED_LOW) !== 0
    if (reserved) sink.fault(index, 'reserved bits', high, low)
    const offset = (high & OFFSET_HIGH) * TWO_32 + ((low & OFFSET_LOW) >>> 0)
    const isCopied = (high & COPIED) !== 0
    if (offset === 0 && !(dataFile && isCopied)) {
      if (allocated !== 0) sink.fault(index, 'bitmap without cluster', high, low)
      continue
    }
    if (extended && (zeros & allocated) !== 0) {
      end()
      sink.fault(index, 'bitmap', high, low)
      continue
    }
    if ((low & lowMask) !== 0) {
      end()
      const isZero = extended ? allocated === 0 : zeros !== 0
      sink.fault(index, isZero ? 'misaligned zero' : 'misaligned', high, low)
      continue
    }
    if (count > 0 && index === first + count && offset === host + count * clusterSize && isCopied === copied)
      count++
    else {
      end()
      first = index
      host = offset
      count = 1
      copied = isCopied
    }
    // Entries that differ from this one by a cluster only: in 32-bit integers, with the carry. Odd ones are met one by one.
    if (extended || reserved) continue
    let nextHigh = high | 0
    let nextLow = low | 0
    while (index + 1 < entries) {
      nextLow = (nextLow + clusterSize) | 0
      if (nextLow >>> 0 < clusterSize) nextHigh = (nextHigh + 1) | 0
      const next = (index + 1) * l2EntrySize
      if (view.getInt32(next + 4) !== nextLow || view.getInt32(next) !== nextHigh) break
      index++
      count++
    }
  }
  end()
}

/** Index of the first word of the first entry of two words, from `from`, that is not 0; the length where there is none. */
function nextUsed(words: Int32Array, from: number): number {
  const end = words.length
  let at = from
  for (const last = end - 8; at <= last; at += 8)
    if (
      ((words[at] as number) |
        (words[at + 1] as number) |
        (words[at + 2] as number) |
        (words[at + 3] as number) |
        (words[at + 4] as number) |
        (words[at + 5] as number) |
        (words[at + 6] as number) |
        (words[at + 7] as number)) !==
      0
    )
      break
  for (; at < end; at += 2) if (((words[at] as number) | (words[at + 1] as number)) !== 0) return at
  return end
}
