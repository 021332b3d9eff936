import type { ByteView } from '../../bytes/byte-view.ts'
import type { DaFork } from './da-block.ts'
import type { LeafShape } from './da-tree.ts'
import type { Complainer } from './dir-data.ts'

/** XFS_DIR2_LEAF1_MAGIC, XFS_DIR2_LEAFN_MAGIC; XFS_DIR3_* of version 5. */
export const LEAF1_MAGIC = [0xd2f1, 0x3df1] as const
export const LEAFN_MAGIC = [0xd2ff, 0x3dff] as const
const ENTRY = 8

/** Hash entries, in order: of a leaf, or behind the data of a directory of one block (struct xfs_dir2_leaf_entry). */
export interface HashEntries {
  readonly count: number
  hash(index: number): number
  /** In units of 8 bytes from the directory's beginning; 0 for an entry that is stale. */
  address(index: number): number
}

export function hashEntries(view: ByteView, at: number, count: number): HashEntries {
  return {
    count,
    hash: index => view.u32(at + index * ENTRY),
    address: index => view.u32(at + index * ENTRY + 4),
  }
}

/** The entries of a checked leaf. */
export function leafEntries(view: ByteView, isV5: boolean): HashEntries {
  return hashEntries(view, isV5 ? 64 : 16, view.u16(isV5 ? 56 : 12))
}

/** A leaf that stands alone has the free space of the data blocks at its end. */
export function dirLeafShape(fork: DaFork): LeafShape {
  const { isV5 } = fork.volume.superblock
  const which = isV5 ? 1 : 0
  return {
    magics: [LEAF1_MAGIC[which], LEAFN_MAGIC[which]],
    check: (view, magic) => {
      const start = isV5 ? 64 : 16
      const tail = magic === LEAF1_MAGIC[which] ? 4 + view.u32(view.length - 4) * 2 : 0
      const { count } = leafEntries(view, isV5)
      if (start + count * ENTRY + tail > view.length)
        throw fork.corrupt(`a leaf of the directory says that it has ${count} entries`)
      checkOrder(fork, leafEntries(view, isV5))
    },
  }
}

export function checkOrder(complainer: Complainer, entries: HashEntries): void {
  for (let index = 1; index < entries.count; index++)
    if (entries.hash(index - 1) > entries.hash(index))
      throw complainer.corrupt(`the hashes of the directory are out of order at ${index}`)
}

/** The first entry whose hash is not below the given one; `count` when all are. */
export function firstFrom(entries: HashEntries, hash: number): number {
  let low = 0
  let high = entries.count
  while (low < high) {
    const middle = (low + high) >>> 1
    if (entries.hash(middle) < hash) low = middle + 1
    else high = middle
  }
  return low
}
