import type { FileSystemUsage } from '../filesystem.ts'
import { MOST_NAME } from './dir-name.ts'
import type { XfsVolume } from './volume.ts'

/** What all allocation groups count. */
interface Counts {
  icount: number
  ifree: number
  fdblocks: number
  /** Blocks of the free-space trees without their roots. */
  allocbt: number
}

async function countGroups(volume: XfsVolume): Promise<Counts> {
  const counts = { icount: 0, ifree: 0, fdblocks: 0, allocbt: 0 }
  for (let agno = 0; agno < volume.geometry.agCount; agno++) {
    const agf = await volume.readAgf(agno)
    const agi = await volume.readAgi(agno)
    counts.icount += agi.agi_count
    counts.ifree += agi.agi_freecount
    counts.fdblocks += agf.agf_freeblks + agf.agf_flcount + agf.agf_btreeblks
    counts.allocbt += Math.max(0, agf.agf_btreeblks - Math.max(0, agf.agf_rmap_blocks - 1))
  }
  return counts
}

/**
 * As statfs(2) of a read-only mount counts (xfs_fs_statfs). Mounted for writing, Linux also sets aside what its trees may still take.
 * Inodes are made as they are needed, so free blocks count as inodes, up to sb_imax_pct of the space.
 * @param replayed whether the log was dirty: the superblock's counters are then of the last unmount (xfs_initialize_perag_data).
 */
export async function usage(volume: XfsVolume, replayed: boolean): Promise<FileSystemUsage> {
  const { superblock } = volume
  const { sb_dblocks, sb_logstart, sb_logblocks, sb_agcount, sb_blocksize, sb_inopblock } = superblock
  const groups = await countGroups(volume)
  const stored = await volume.counters()
  const { icount, ifree, fdblocks } = replayed && superblock.hasLazyCounts ? groups : stored
  // Of each group's free blocks its free list may need eight (xfs_alloc_set_aside), and the trees' blocks count as free.
  const free = Math.max(0, fdblocks - sb_agcount * 8 - groups.allocbt)
  const possible = icount + free * sb_inopblock
  const most = Math.floor((sb_dblocks * superblock.sb_imax_pct) / 100) * sb_inopblock
  const inodes = Math.max(icount, most === 0 ? possible : Math.min(possible, most))
  return {
    blockSize: sb_blocksize,
    blocks: sb_dblocks,
    overheadBlocks: sb_logstart === 0 ? 0 : sb_logblocks,
    freeBlocks: free,
    availableBlocks: free,
    inodes,
    freeInodes: inodes - (icount - ifree),
    maxNameLength: MOST_NAME,
  }
}
