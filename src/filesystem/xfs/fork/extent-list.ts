import type { Neighbours } from '../btree-edit.ts'
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
export function listedExtents(fork: Fork, ino: number): BmbtRecord[] {
  requireRoom(fork, ino)
  const records: BmbtRecord[] = []
  for (let index = 0; index < fork.nextents; index++)
    records.push(parseBmbtRecord(fork.literal, index * RECORD))
  return records
}

/** The last of them that begins at block `at` of the file, or before, and the one behind it. */
export function listedAround(fork: Fork, ino: number, at: number): Neighbours<BmbtRecord> {
  requireRoom(fork, ino)
  let next: BmbtRecord | undefined
  for (let index = fork.nextents - 1; index >= 0; index--) {
    const record = parseBmbtRecord(fork.literal, index * RECORD)
    if (record.br_startoff <= at) return { floor: record, next }
    next = record
  }
  return { floor: undefined, next }
}

function requireRoom({ nextents, literal }: Fork, ino: number): void {
  if (nextents > listRoom(literal.length))
    throw corrupt(
      'inode',
      `inode ${ino} counts ${nextents} extents, and ${listRoom(literal.length)} fit into it`,
      { inode: ino },
    )
}

/** Stores all extents of such a fork; they fit. */
export function storeExtentList({ literal }: Fork, records: readonly BmbtRecord[]): void {
  literal.bytes.fill(0)
  records.forEach((record, index) => {
    serialiseBmbtRecord(literal, index * RECORD, record)
  })
}
