import type { FileSystemUsage } from '../filesystem.ts'
import type { Geometry } from './geometry.ts'
import type { Superblock } from './superblock.ts'
import type { Ext4Volume } from './volume.ts'

/** EXT4_NAME_LEN */
const MAX_NAME = 255
/** Clusters that the kernel keeps for delayed allocation at every mount (ext4_calculate_resv_clusters). */
const MOST_RESERVED_CLUSTERS = 4096

/** As statfs(2) counts, with what the filesystem's own structures take told apart. */
export async function usage(volume: Ext4Volume): Promise<FileSystemUsage> {
  const { superblock, geometry } = volume
  const free = await volume.countFree()
  const freeBlocks = free.blocks * geometry.clusterRatio
  const clusters = Math.floor(geometry.blocksCount / geometry.clusterRatio)
  const reserved = superblock.has('extent') ? Math.min(MOST_RESERVED_CLUSTERS, Math.floor(clusters / 50)) : 0
  const kept = superblock.s_r_blocks_count + reserved * geometry.clusterRatio
  return {
    blockSize: geometry.blockSize,
    blocks: geometry.blocksCount,
    overheadBlocks: overhead(superblock, geometry) + (await journalBlocks(volume)),
    freeBlocks,
    availableBlocks: Math.max(0, freeBlocks - kept),
    inodes: geometry.inodesCount,
    freeInodes: free.inodes,
    maxNameLength: MAX_NAME,
  }
}

/** As ext4_calculate_overhead counts since Linux 6.6: with the blocks that are kept for more descriptors. */
function overhead(superblock: Superblock, geometry: Geometry): number {
  let blocks = geometry.firstDataBlock
  for (let group = 0; group < geometry.groups; group++)
    blocks += geometry.groupBaseBlocks(group) + geometry.inodeTableBlocks + 2
  const stated = superblock.s_overhead_clusters * geometry.clusterRatio
  // With clusters of several blocks the sum counts some twice, and the kernel takes what mke2fs wrote.
  return geometry.clusterRatio > 1 && stated > 0 && stated <= geometry.blocksCount ? stated : blocks
}

/** Of an internal journal. */
async function journalBlocks({ superblock, geometry, inodes }: Ext4Volume): Promise<number> {
  if (!superblock.has('has_journal') || superblock.s_journal_inum === 0) return 0
  if (geometry.clusterRatio > 1 && superblock.s_overhead_clusters > 0) return 0
  const { size } = await inodes.read(superblock.s_journal_inum)
  return Math.min(geometry.blocksCount, Math.floor(size / geometry.blockSize))
}
