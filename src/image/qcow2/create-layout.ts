import { type Geometry, roundUp } from './geometry.ts'

/** A run of host clusters. */
interface Clusters {
  readonly first: number
  readonly count: number
}

/** Where everything of a new image lies: one part after another, behind the header's cluster. */
export interface CreateLayout {
  /** Bytes of the disk: whole sectors. */
  readonly size: number
  /** Entries of the L1 table. */
  readonly l1Size: number
  readonly l1: Clusters
  readonly refcountBlocks: Clusters
  readonly refcountTable: Clusters
  /** Empty unless the image is preallocated, as `data`. */
  readonly l2: Clusters
  readonly data: Clusters
  /** Clusters of the whole file. */
  readonly total: number
}

/**
 * @param diskSize bytes of the disk; rounded up to a whole sector.
 * @param preallocated every cluster of the disk has its place from the beginning.
 */
export function createLayout(geometry: Geometry, diskSize: number, preallocated: boolean): CreateLayout {
  const { clusterSize, refcountsPerBlock, l2Span } = geometry
  const size = roundUp(diskSize, 512)
  const l1Size = Math.ceil(size / l2Span)
  const l1 = Math.ceil((l1Size * 8) / clusterSize)
  const l2 = preallocated ? l1Size : 0
  const data = preallocated ? Math.ceil(size / clusterSize) : 0
  // The blocks count themselves and the table.
  let blocks = 1
  let table = 1
  for (;;) {
    const neededBlocks = Math.ceil((1 + l1 + blocks + table + l2 + data) / refcountsPerBlock)
    const neededTable = Math.ceil((neededBlocks * 8) / clusterSize)
    if (neededBlocks <= blocks && neededTable <= table) break
    blocks = Math.max(blocks, neededBlocks)
    table = Math.max(table, neededTable)
  }
  let first = 1
  const next = (count: number): Clusters => {
    first += count
    return { first: first - count, count }
  }
  return {
    size,
    l1Size,
    l1: next(l1),
    refcountBlocks: next(blocks),
    refcountTable: next(table),
    l2: next(l2),
    data: next(data),
    total: first,
  }
}
