import { btreeHeaderSize } from '../btree-block.ts'
import { BMBT, BNOBT, type BtreeKind, inobtKind, REFCBT, RMAPBT } from '../btree-kinds.ts'

/** Entries that the blocks of a tree have at least, unless they are the root. */
interface LeastEntries {
  readonly leaf: number
  readonly node: number
}

/** Entries of a leaf and of a node at most. */
function mostEntries<Record>(kind: BtreeKind<Record>, blockSize: number): LeastEntries {
  const room = blockSize - btreeHeaderSize(kind.pointers, true)
  const pointer = kind.pointers === 'short' ? 4 : 8
  return { leaf: Math.floor(room / kind.recordSize), node: Math.floor(room / (kind.keySize + pointer)) }
}

function leastEntries<Record>(kind: BtreeKind<Record>, blockSize: number): LeastEntries {
  const { leaf, node } = mostEntries(kind, blockSize)
  return { leaf: Math.floor(leaf / 2), node: Math.floor(node / 2) }
}

/** Levels of a tree whose blocks are as empty as they may be (xfs_btree_compute_maxlevels). */
function levelsFor(least: LeastEntries, records: number): number {
  let levels = 1
  for (let blocks = Math.ceil(records / least.leaf); blocks > 1; blocks = Math.ceil(blocks / least.node))
    levels++
  return levels
}

/** xfs_bmap_compute_maxlevels: the root in the inode has room for fewer entries. */
function bmbtLevels(blockSize: number, extents: number, rootEntries: number): number {
  const least = leastEntries(BMBT, blockSize)
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

/**
 * Linux reckoned with this many as long as it knew of both rmapbt and reflink first, and the size of the log still depends on it
 * (XFS_OLD_REFLINK_RMAP_MAXLEVELS).
 */
const OLD_RMAP_LEVELS = 9
const INODES_PER_CHUNK = 64
/** MINDBTPTRS and MINABTPTRS: entries of a root in an inode with the least room for it. */
const LEAST_ROOT = { data: 3, attribute: 2 } as const

export function treeLevels(geometry: TreeGeometry): TreeLevels {
  const { blockSize, inodeSize, agBlocks, rmapbt, reflink, nrext64 } = geometry
  const rmap = reflink ? OLD_RMAP_LEVELS : levelsFor(leastEntries(RMAPBT, blockSize), agBlocks)
  const inodes = (2 ** Math.ceil(Math.log2(agBlocks)) * blockSize) / inodeSize
  return {
    alloc: levelsFor(leastEntries(BNOBT, blockSize), Math.floor((agBlocks + 1) / 2)),
    rmap: rmapbt ? rmap : 0,
    refcount: reflink ? levelsFor(leastEntries(REFCBT, blockSize), agBlocks) : 0,
    inobt: levelsFor(leastEntries(inobtKind(true), blockSize), Math.floor(inodes / INODES_PER_CHUNK)),
    data: bmbtLevels(blockSize, nrext64 ? 2 ** 48 - 1 : 2 ** 31 - 1, LEAST_ROOT.data),
    attribute: bmbtLevels(blockSize, nrext64 ? 2 ** 32 - 1 : 2 ** 15 - 1, LEAST_ROOT.attribute),
  }
}

/** Records of a free-space leaf that a split leaves room for (XFS_MAX_CONTIG_EXTENTS_PER_BLOCK). */
export function contiguousExtents(blockSize: number): number {
  return mostEntries(BNOBT, blockSize).leaf - leastEntries(BNOBT, blockSize).leaf
}

/** Blocks that the free list of an empty group has: enough for every tree of one level to grow (xfs_alloc_min_freelist). */
export function leastFreeList({ alloc, rmap }: TreeLevels): number {
  return 2 * Math.min(2, alloc) + Math.min(2, rmap)
}
