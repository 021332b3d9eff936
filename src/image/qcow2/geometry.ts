/** 2^32: two 32-bit halves joined by arithmetic are about five times as fast as one BigInt read. */
export const TWO_32 = 0x1_0000_0000

/** What the header says about the shape of the tables. */
export interface Geometry {
  readonly clusterBits: number
  /** Bytes. */
  readonly clusterSize: number
  /** Bytes of one L2 entry: 8, or 16 with extended L2 entries. */
  readonly l2EntrySize: 8 | 16
  /** Entries of one L2 table. */
  readonly l2Entries: number
  /** Guest bytes that one L2 table maps. */
  readonly l2Span: number
  /** 1, or 32 with extended L2 entries. */
  readonly subclusters: 1 | 32
  /** Bits of one refcount. */
  readonly refcountBits: number
  /** Refcounts of one refcount block. */
  readonly refcountsPerBlock: number
  /** Largest refcount that the width holds (2^53 - 1 for 64 bits, which no image reaches). */
  readonly refcountMax: number
}

export function geometryOf(clusterBits: number, refcountOrder: number, extendedL2: boolean): Geometry {
  const clusterSize = 2 ** clusterBits
  const l2EntrySize = extendedL2 ? 16 : 8
  const refcountBits = 2 ** refcountOrder
  return {
    clusterBits,
    clusterSize,
    l2EntrySize,
    l2Entries: clusterSize / l2EntrySize,
    l2Span: (clusterSize / l2EntrySize) * clusterSize,
    subclusters: extendedL2 ? 32 : 1,
    refcountBits,
    refcountsPerBlock: (clusterSize * 8) / refcountBits,
    refcountMax: refcountBits === 64 ? Number.MAX_SAFE_INTEGER : 2 ** refcountBits - 1,
  }
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit
}
