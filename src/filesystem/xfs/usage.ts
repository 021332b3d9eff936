import type { FileSystemUsage } from '../filesystem.ts'
import { MOST_NAME } from './dir-name.ts'
import type { XfsVolume } from './volume.ts'

/**
 * As statfs(2) of a read-only mount counts (xfs_fs_statfs). Mounted for writing, Linux also sets aside what its trees may still take.
 * Inodes are made as they are needed, so free blocks count as inodes, up to sb_imax_pct of the space.
 */
export function usage({ superblock }: XfsVolume): FileSystemUsage {
  const { sb_dblocks, sb_logstart, sb_logblocks, sb_agcount, sb_blocksize, sb_inopblock } = superblock
  const { sb_icount, sb_ifree, sb_fdblocks, sb_imax_pct } = superblock
  // Of each group's free blocks its free list may need eight (xfs_alloc_set_aside).
  const free = Math.max(0, sb_fdblocks - sb_agcount * 8)
  const possible = sb_icount + free * sb_inopblock
  const most = Math.floor((sb_dblocks * sb_imax_pct) / 100) * sb_inopblock
  const inodes = Math.max(sb_icount, most === 0 ? possible : Math.min(possible, most))
  return {
    blockSize: sb_blocksize,
    blocks: sb_dblocks,
    overheadBlocks: sb_logstart === 0 ? 0 : sb_logblocks,
    freeBlocks: free,
    availableBlocks: free,
    inodes,
    freeInodes: inodes - (sb_icount - sb_ifree),
    maxNameLength: MOST_NAME,
  }
}
