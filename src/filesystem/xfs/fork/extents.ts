import type { BmbtRecord } from '../btree-kinds.ts'

/** XFS_MAX_BMBT_EXTLEN: br_blockcount has 21 bits. */
export const MOST_EXTENT_BLOCKS = 2 ** 21 - 1

/** The first block in the file behind an extent. */
export function extentEnd({ br_startoff, br_blockcount }: BmbtRecord): number {
  return br_startoff + br_blockcount
}

/** The part of an extent from block `from` of the file up to, not including, `to`. */
export function extentPart(record: BmbtRecord, from: number, to: number): BmbtRecord {
  return {
    br_startoff: from,
    br_startblock: record.br_startblock + (from - record.br_startoff),
    br_blockcount: to - from,
    unwritten: record.unwritten,
  }
}

/** Neighbours that continue each other, in the file and in the filesystem, made one as far as the count has room. */
export function mergeExtents(records: readonly BmbtRecord[]): BmbtRecord[] {
  const merged: BmbtRecord[] = []
  for (const record of records) {
    const before = merged.at(-1)
    if (before !== undefined && continues(before, record))
      merged[merged.length - 1] = { ...before, br_blockcount: before.br_blockcount + record.br_blockcount }
    else merged.push(record)
  }
  return merged
}

function continues(before: BmbtRecord, record: BmbtRecord): boolean {
  return (
    extentEnd(before) === record.br_startoff &&
    before.br_startblock + before.br_blockcount === record.br_startblock &&
    before.unwritten === record.unwritten &&
    before.br_blockcount + record.br_blockcount <= MOST_EXTENT_BLOCKS
  )
}
