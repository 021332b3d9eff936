import { DIFLAG2 } from '../dinode.ts'
import { corrupt } from '../errors.ts'
import { INCOMPAT, VERSION } from '../features.ts'
import type { Superblock } from '../superblock.ts'

/** XFS_INODES_PER_CHUNK: inodes of one record. */
export const CHUNK = 64
/** XFS_INODES_PER_HOLEMASK_BIT: inodes that are there or not together. */
export const HOLE_UNIT = 4

/** XFS_INODE_BIG_CLUSTER_SIZE, of inodes of 256 bytes (XFS_DINODE_MIN_SIZE). */
const CLUSTER_BYTES = 8192
const LEAST_INODE = 256

/** How inodes are laid out in blocks (xfs_ialloc_setup_geometry of Linux). */
export interface InodeGeometry {
  /** Inodes that are made at a time: a chunk, or those of a block where it holds more (ialloc_inos). */
  readonly inodes: number
  /** Their blocks (ialloc_blks). */
  readonly blocks: number
  /** Of their first block, in the allocation group (cluster_align). Linux finds inodes by it, so it is no preference. */
  readonly alignment: number
  /** Blocks that are made when there is no room for a whole chunk, and their alignment; `undefined` where that is not done. */
  readonly sparse: number | undefined
  /** Inodes that the filesystem has at most; 0 for as many as there is space for (maxicount). */
  readonly most: number
  /** A chunk whose inodes are all free goes, unless a block holds more than one chunk (xfs_difree_inobt). */
  readonly chunksGo: boolean
}

/** `ERR_CORRUPT` where alignments cannot be; Linux does not mount that either. */
export function inodeGeometry(sb: Superblock): InodeGeometry {
  const { sb_inopblock, sb_inoalignmt, sb_dblocks, sb_imax_pct } = sb
  const inodes = Math.max(CHUNK, sb_inopblock)
  const blocks = inodes / sb_inopblock
  if (sb_inoalignmt !== 0 && !isPower(sb_inoalignmt))
    throw corrupt('superblock', `sb_inoalignmt is ${sb_inoalignmt}, expected a power of two`)
  const most = Math.floor(Math.floor((sb_dblocks * sb_imax_pct) / 100) / blocks) * blocks * sb_inopblock
  return {
    inodes,
    blocks,
    alignment: clusterAlignment(sb),
    sparse: sparseBlocks(sb, blocks),
    most,
    chunksGo: sb_inopblock <= CHUNK,
  }
}

/** xfs_ialloc_cluster_alignment */
function clusterAlignment(sb: Superblock): number {
  const { sb_blocksize, sb_inodesize, sb_inoalignmt, sb_versionnum, isV5 } = sb
  const scaled = (CLUSTER_BYTES * sb_inodesize) / LEAST_INODE
  const cluster = isV5 && sb_inoalignmt >= Math.floor(scaled / sb_blocksize) ? scaled : CLUSTER_BYTES
  const blocksPerCluster = Math.max(1, Math.floor(cluster / sb_blocksize))
  const isAligned = isV5 || (sb_versionnum & VERSION.ALIGN) !== 0
  return isAligned && sb_inoalignmt >= blocksPerCluster ? sb_inoalignmt : 1
}

/**
 * With sparse inodes every record begins at a multiple of a chunk's blocks (xfs_validate_sb_common), so that parts of one chunk
 * that are made at different times meet in one record.
 */
function sparseBlocks(sb: Superblock, blocks: number): number | undefined {
  const { hasSparseInodes, sb_inopblock, sb_inoalignmt, sb_spino_align } = sb
  if (!hasSparseInodes || sb_spino_align === 0 || sb_spino_align >= blocks) return undefined
  if (!isPower(sb_spino_align) || (sb_spino_align * sb_inopblock) % HOLE_UNIT !== 0)
    throw corrupt(
      'superblock',
      `sb_spino_align is ${sb_spino_align}, expected a power of two below ${blocks}`,
    )
  if (sb_inoalignmt !== blocks)
    throw corrupt('superblock', `sb_inoalignmt is ${sb_inoalignmt}, expected ${blocks} with sparse inodes`)
  return sb_spino_align
}

function isPower(value: number): boolean {
  return Number.isInteger(Math.log2(value))
}

/** di_flags2 that every inode has, free ones too (new_diflags2 of Linux). */
export function commonFlags2({ hasBigtime, sb_features_incompat }: Superblock): bigint {
  const large = (sb_features_incompat & INCOMPAT.NREXT64) !== 0
  return (hasBigtime ? DIFLAG2.BIGTIME : 0n) | (large ? DIFLAG2.NREXT64 : 0n)
}
