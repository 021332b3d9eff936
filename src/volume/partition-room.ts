/** What became of a partition. */
export interface PartitionGrowth {
  /** Bytes. The same as `after` where there is no room behind it. */
  readonly before: number
  readonly after: number
  /** What keeps it from being longer, in words that follow "it ends where ". */
  readonly limit: string
}

/** What lies behind a partition. Units are sectors. */
export interface PartitionRoom {
  readonly start: number
  readonly length: number
  /** The first sector that is not to be had. */
  readonly end: number
  readonly limit: string
}

/** Everything that partitions disks ends them on such a multiple, since 2009. */
const ALIGNMENT = 1 << 20

/** Sectors of the longest partition, aligned, that the room gives; never fewer than it has. */
export function grownLength({ start, length, end }: PartitionRoom, sectorSize: number): number {
  const unit = ALIGNMENT / sectorSize
  return Math.max(length, Math.floor(end / unit) * unit - start)
}
