import { type BmbtRecord, parseBmbtRecord, serialiseBmbtRecord } from '../btree-kinds.ts'
import type { Fork } from '../dinode.ts'
import { corrupt } from '../errors.ts'

/** struct xfs_bmbt_rec */
const RECORD = 16

/** Extents that a fork has room for in the inode itself (XFS_IFORK_MAXEXT). */
export function listRoom(bytes: number): number {
  return Math.floor(bytes / RECORD)
}

/** The extents of a fork that keeps them in the inode. */
export function listedExtents({ nextents, literal }: Fork, ino: number): BmbtRecord[] {
  if (nextents > listRoom(literal.length))
    throw corrupt(
      'inode',
      `inode ${ino} counts ${nextents} extents, and ${listRoom(literal.length)} fit into it`,
      { inode: ino },
    )
  return Array.from({ length: nextents }, (_, index) => parseBmbtRecord(literal, index * RECORD))
}

/** Stores all extents of such a fork; they fit. */
export function storeExtentList({ literal }: Fork, records: readonly BmbtRecord[]): void {
  literal.bytes.fill(0)
  for (const [index, record] of records.entries()) serialiseBmbtRecord(literal, index * RECORD, record)
}
