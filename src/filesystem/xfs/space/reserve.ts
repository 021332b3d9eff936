import type { Agf } from '../agf.ts'
import { finobtKind, REFCBT, RMAPBT } from '../btree-kinds.ts'
import type { XfsVolume } from '../volume.ts'
import { neededInFreeList } from './free-list.ts'
import { mostBlocks } from './tree-size.ts'

/** XFS_INODES_PER_CHUNK */
const CHUNK = 64
/** What Linux sets aside in each group for a split of a file's tree of extents (xfs_alloc_set_aside). */
const FOR_BMBT = 4

/**
 * Blocks that an allocation group keeps back so that its trees of reference counts, of free inodes and of the reverse mapping
 * can grow to their largest whatever happens (xfs_ag_resv_init); what they have taken already counts.
 */
async function keptForTrees(volume: XfsVolume, agno: number, agf: Agf): Promise<number> {
  const { superblock: sb, geometry } = volume
  const logged = sb.sb_logstart !== 0 && geometry.agOf(sb.sb_logstart) === agno
  // Nothing in the log is ever described by a tree.
  const blocks = Math.max(0, agf.agf_length - (logged ? sb.sb_logblocks : 0))
  let metadata = 0
  if (sb.hasReflink) metadata += mostBlocks(REFCBT, sb, blocks) - agf.agf_refcount_blocks
  if (sb.hasFinobt) {
    const agi = await volume.readAgi(agno)
    const chunks = Math.floor((blocks * sb.sb_inopblock) / CHUNK)
    // Without a count of its blocks the tree has one in each level at least.
    const used = sb.hasInobtCounts ? agi.agi_fblocks : agi.agi_free_level
    metadata += mostBlocks(finobtKind(sb.hasSparseInodes), sb, chunks) - used
  }
  if (!sb.hasRmapbt) return Math.max(0, metadata)
  const rmapbt = Math.max(Math.floor(blocks / 100), mostBlocks(RMAPBT, sb, blocks))
  return Math.max(0, metadata) + Math.max(0, rmapbt - agf.agf_rmap_blocks)
}

/**
 * Blocks that may be allocated in a group so that its free list can still be filled, and its trees can grow.
 * @param fromReserve for one of those trees.
 */
export async function availableBlocks(
  volume: XfsVolume,
  agno: number,
  fromReserve: boolean,
): Promise<number> {
  const agf = await volume.readAgf(agno)
  const needed = neededInFreeList(volume.superblock, agf)
  const free = agf.agf_freeblks - Math.max(0, needed - agf.agf_flcount)
  const kept = fromReserve ? 0 : FOR_BMBT + (await keptForTrees(volume, agno, agf))
  return Math.max(0, free - kept)
}
