import { DrydiskError } from '../../../errors.ts'
import type { Agf } from '../agf.ts'
import { AGFL_HEADER, agflSize } from '../agfl.ts'
import type { BlockSource } from '../btree-edit-store.ts'
import { corrupt } from '../errors.ts'
import type { Superblock } from '../superblock.ts'
import type { XfsVolume } from '../volume.ts'
import type { FreedBlocks } from './freed-blocks.ts'
import { mostLevels } from './tree-size.ts'

/**
 * Blocks that a free list holds before its group's trees change (xfs_alloc_min_freelist since Linux 6.7): each tree may split
 * from its leaf to its root and grow by a level, and once more, below the new root, with a second record.
 */
export function neededInFreeList(sb: Superblock, agf: Agf): number {
  const most = mostLevels(sb)
  const needed = forTree(agf.bnoLevel, most) + forTree(agf.cntLevel, most)
  // Blocks that are shared have several records, so that nothing but the format limits the levels of a reverse mapping.
  return sb.hasRmapbt ? needed + forTree(agf.rmapLevel, Number.POSITIVE_INFINITY) : needed
}

/** @param limit of levels. */
function forTree(levels: number, limit: number): number {
  return Math.min(levels + 1, limit) * 2 - 2
}

/** The free list of one allocation group: blocks that its trees take and give back without a change of the free space. */
export class FreeList {
  readonly #volume: XfsVolume
  readonly #agno: number

  constructor(volume: XfsVolume, agno: number) {
    this.#volume = volume
    this.#agno = agno
  }

  async put(block: number): Promise<void> {
    const agf = await this.#volume.editAgf(this.#agno)
    const view = await this.#volume.editAgfl(this.#agno, agf)
    const size = agflSize(this.#volume.superblock)
    const { agf_flcount } = agf
    if (agf_flcount >= size)
      throw corrupt('AGFL', `the free list of allocation group ${this.#agno} is full`, { agno: this.#agno })
    // An empty ring's ends mean nothing: mkfs.xfs and xfs_repair leave the last one behind the first one or anywhere.
    const last = agf_flcount === 0 ? agf.agf_flfirst : (agf.agf_fllast + 1) % size
    view.setU32(this.#start + last * 4, block)
    agf.agf_fllast = last
    agf.agf_flcount = agf_flcount + 1
  }

  /** `undefined` when it is empty. */
  async take(): Promise<number | undefined> {
    const agf = await this.#volume.editAgf(this.#agno)
    const [block] = await this.#volume.readAgfl(this.#agno, agf)
    if (block === undefined) return undefined
    agf.agf_flfirst = (agf.agf_flfirst + 1) % agflSize(this.#volume.superblock)
    agf.agf_flcount -= 1
    return block
  }

  get #start(): number {
    return this.#volume.superblock.isV5 ? AGFL_HEADER : 0
  }
}

/** Blocks of the trees of the free space and of the reverse mapping. Who owns them is the same as in the free list. */
export class FreeListBlocks implements BlockSource {
  readonly #volume: XfsVolume
  readonly #agno: number
  readonly #list: FreeList
  readonly #freed: FreedBlocks
  readonly #ofRmapbt: boolean

  constructor(
    volume: XfsVolume,
    agno: number,
    { list, freed, tree }: { list: FreeList; freed: FreedBlocks; tree: 'free space' | 'rmapbt' },
  ) {
    this.#volume = volume
    this.#agno = agno
    this.#list = list
    this.#freed = freed
    this.#ofRmapbt = tree === 'rmapbt'
  }

  async allocateBlock(): Promise<number> {
    const block = await this.#list.take()
    if (block === undefined)
      throw new DrydiskError(
        'ENOSPC',
        `xfs: the free list of allocation group ${this.#agno} has no block left for its trees; free some space`,
        { agno: this.#agno },
      )
    await this.#count(1)
    return block
  }

  async freeBlock(block: number): Promise<void> {
    this.#volume.buffers.forget(this.#volume.geometry.inAg(this.#agno, block), 1)
    this.#freed.add(this.#agno, { start: block, count: 1 })
    await this.#list.put(block)
    await this.#count(-1)
  }

  async #count(change: number): Promise<void> {
    const agf = await this.#volume.editAgf(this.#agno)
    agf.agf_btreeblks += change
    if (this.#ofRmapbt) agf.agf_rmap_blocks += change
  }
}
