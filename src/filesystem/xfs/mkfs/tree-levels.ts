import { btreeHeaderSize } from '../btree-header.ts'
import { BMBT, BNOBT, inobtKind, REFCBT, RMAPBT } from '../btree-kinds.ts'
import { type BlockShape, leastEntries, levelsFor, mostLevels } from '../space/tree-size.ts'

/** xfs_bmap_compute_maxlevels: the root in the inode has room for fewer entries. */
function bmbtLevels(shape: BlockShape, extents: number, rootEntries: number): number {
  const least = leastEntries(BMBT, shape)
  let levels = 1
  for (let blocks = Math.ceil(extents / least.leaf); blocks > 1; levels++)
    blocks = blocks <= rootEntries ? 1 : Math.ceil(blocks / least.node)
  return levels
}

/** What decides how high trees can grow. */
export interface TreeGeometry {
  readonly blockSize: number
  readonly inodeSize: number
  readonly agBlocks: number
  readonly rmapbt: boolean
  readonly reflink: boolean
  readonly nrext64: boolean
}

/** Levels at most, as Linux reckons with when it reserves room in the log. */
export interface TreeLevels {
  readonly alloc: number
  /** 0 without rmapbt. */
  readonly rmap: number
  /** 0 without reflink. */
  readonly refcount: number
  readonly inobt: number
  readonly data: number
  readonly attribute: number
}

/** Linux reckoned with so many in the first years of shared blocks, and what a log has to hold still does (XFS_OLD_REFLINK_RMAP_MAXLEVELS). */
const OLD_RMAP_LEVELS = 9
const INODES_PER_CHUNK = 64
/** MINDBTPTRS and MINABTPTRS: entries of a root in an inode with the least room for it. */
const LEAST_ROOT = { data: 3, attribute: 2 } as const

export function treeLevels(geometry: TreeGeometry): TreeLevels {
  const { blockSize, inodeSize, agBlocks, rmapbt, reflink, nrext64 } = geometry
  const shape = { sb_blocksize: blockSize, isV5: true, sb_agblocks: agBlocks }
  const rmap = reflink ? OLD_RMAP_LEVELS : levelsFor(RMAPBT, shape, agBlocks)
  const inodes = (2 ** Math.ceil(Math.log2(agBlocks)) * blockSize) / inodeSize
  return {
    alloc: mostLevels(shape),
    rmap: rmapbt ? rmap : 0,
    refcount: reflink ? levelsFor(REFCBT, shape, agBlocks) : 0,
    inobt: levelsFor(inobtKind(true), shape, Math.floor(inodes / INODES_PER_CHUNK)),
    data: bmbtLevels(shape, nrext64 ? 2 ** 48 - 1 : 2 ** 31 - 1, LEAST_ROOT.data),
    attribute: bmbtLevels(shape, nrext64 ? 2 ** 32 - 1 : 2 ** 15 - 1, LEAST_ROOT.attribute),
  }
}

/** Records of a free-space leaf that a split leaves room for (XFS_MAX_CONTIG_EXTENTS_PER_BLOCK). */
export function contiguousExtents(blockSize: number): number {
  const most = Math.floor((blockSize - btreeHeaderSize('short', true)) / BNOBT.recordSize)
  return most - Math.floor(most / 2)
}

/** Blocks that the free list of an empty group has: enough for every tree of one level to grow (xfs_alloc_min_freelist). */
export function leastFreeList({ alloc, rmap }: TreeLevels): number {
  return 2 * Math.min(2, alloc) + Math.min(2, rmap)
}
