import type { Agf } from '../agf.ts'
import { finobtKind, REFCBT, RMAPBT } from '../btree-kinds.ts'
import { after, type Soon } from '../soon.ts'
import type { XfsVolume } from '../volume.ts'
import { neededInFreeList } from './free-list.ts'
import { mostBlocks } from './tree-size.ts'

/** XFS_INODES_PER_CHUNK */
const CHUNK = 64
/** What Linux sets aside in each group for a split of a file's tree of extents (xfs_alloc_set_aside). */
const FOR_BMBT = 4

/** What the trees of an allocation group come to at most, each 0 where there is no such tree. */
interface LargestTrees {
  readonly refcount: number
  readonly finobt: number
  readonly rmapbt: number
}

/**
 * What an allocation group keeps back so that its trees of reference counts, of free inodes and of the reverse mapping can grow
 * to their largest whatever happens (xfs_ag_resv_init); what they have taken already counts.
 */
export class Reserve {
  readonly #volume: XfsVolume
  readonly #agno: number
  #largest: LargestTrees | undefined

  constructor(volume: XfsVolume, agno: number) {
    this.#volume = volume
    this.#agno = agno
  }

  /**
   * Blocks that may be allocated in the group so that its free list can still be filled, and its trees can grow.
   * @param fromReserve for one of those trees.
   */
  available(agf: Agf, fromReserve: boolean): Soon<number> {
    const needed = neededInFreeList(this.#volume.superblock, agf)
    const free = agf.agf_freeblks - Math.max(0, needed - agf.agf_flcount)
    if (fromReserve) return Math.max(0, free)
    return after(this.#keptForTrees(agf), kept => Math.max(0, free - FOR_BMBT - kept))
  }

  #keptForTrees(agf: Agf): Soon<number> {
    this.#largest ??= this.#largestTrees(agf.agf_length)
    const { refcount, finobt, rmapbt } = this.#largest
    const ofReferences = refcount - agf.agf_refcount_blocks
    const ofOwners = Math.max(0, rmapbt - agf.agf_rmap_blocks)
    if (finobt === 0) return Math.max(0, ofReferences) + ofOwners
    return after(this.#volume.readAgi(this.#agno), agi => {
      // Without a count of its blocks the tree has one in each level at least.
      const used = this.#volume.superblock.hasInobtCounts ? agi.agi_fblocks : agi.agi_free_level
      return Math.max(0, ofReferences + finobt - used) + ofOwners
    })
  }

  #largestTrees(agLength: number): LargestTrees {
    const { superblock: sb, geometry } = this.#volume
    const logged = sb.sb_logstart !== 0 && geometry.agOf(sb.sb_logstart) === this.#agno
    // Nothing in the log is ever described by a tree.
    const blocks = Math.max(0, agLength - (logged ? sb.sb_logblocks : 0))
    const chunks = Math.floor((blocks * sb.sb_inopblock) / CHUNK)
    return {
      refcount: sb.hasReflink ? mostBlocks(REFCBT, sb, blocks) : 0,
      finobt: sb.hasFinobt ? mostBlocks(finobtKind(sb.hasSparseInodes), sb, chunks) : 0,
      rmapbt: sb.hasRmapbt ? Math.max(Math.floor(blocks / 100), mostBlocks(RMAPBT, sb, blocks)) : 0,
    }
  }
}
