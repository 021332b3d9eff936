import { isZero } from '../../bytes/compare.ts'
import type { Storage } from '../../device/storage.ts'
import type { ClusterCounts } from './cluster-counts.ts'
import { unsupported } from './corruption.ts'
import type { Geometry } from './geometry.ts'
import { readPieces } from './padded-read.ts'

/** More refcounts than an image of 64 TiB has: beyond it, a sparse file is made to waste time. */
export const MAX_REFCOUNTS = 2 ** 30

/**
 * Compares the refcounts of the file with the counted references; `found` hears of each difference, in no particular order.
 * @param table host offsets of the refcount blocks; those that are no cluster inside the file must be 0 here.
 */
export async function compareRefcounts(
  storage: Storage,
  geometry: Geometry,
  table: readonly number[],
  counts: ClusterCounts,
  found: (cluster: number, references: number, refcount: number) => void,
): Promise<void> {
  const perBlock = geometry.refcountsPerBlock
  const blocks = table
    .map((offset, index) => ({ offset, index }))
    .filter(({ offset }) => offset !== 0)
    .sort((a, b) => a.offset - b.offset)
  if (blocks.length * perBlock > MAX_REFCOUNTS)
    throw unsupported(storage.name, `${blocks.length} refcount blocks are more than drydisk counts`)
  const offsets = Float64Array.from(blocks, ({ offset }) => offset)
  let next = 0
  await readPieces(storage, offsets, geometry.clusterSize, (_offset, bytes) => {
    const first = (blocks[next++]?.index ?? 0) * perBlock
    if (!counts.anyIn(first, perBlock) && isZero(bytes)) return
    counts.compare(bytes, first, perBlock, geometry.refcountBits, found)
  })
  // Clusters that are in use but that no refcount block covers.
  for (const range of counts.ranges())
    for (let cluster = range.first; cluster < range.first + range.count; ) {
      const block = Math.floor(cluster / perBlock)
      const end = Math.min(range.first + range.count, (block + 1) * perBlock)
      if ((table[block] ?? 0) === 0 && counts.anyIn(cluster, end - cluster))
        for (; cluster < end; cluster++) {
          const references = counts.get(cluster)
          if (references !== 0) found(cluster, references, 0)
        }
      cluster = end
    }
}
