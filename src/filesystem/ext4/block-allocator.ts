import type { RangeSet } from '../../bytes/range-set.ts'
import { DrydiskError } from '../../errors.ts'
import { fillBits, findFreeRun, nextBit } from './bitmap.ts'
import type { BlockAllocator, BlockNumber, BlockRun, MetadataBlocks } from './context.ts'
import type { Geometry } from './geometry.ts'
import type { GroupBitmaps } from './group-bitmaps.ts'
import type { GroupDescriptors } from './group-descriptors.ts'
import type { Inode } from './inode.ts'

/** A free run at the goal itself is taken when it is at least this long, though there may be longer ones elsewhere. */
const GOOD_AT_GOAL = 16
/** Groups that are searched for a run as long as wanted before the longest so far is taken. */
const PATIENCE = 8

/** Allocation by block bitmaps, group by group from the goal onwards. */
export class GroupBlockAllocator implements BlockAllocator {
  readonly #geometry: Geometry
  readonly #descriptors: GroupDescriptors
  readonly #bitmaps: GroupBitmaps
  readonly #blocks: MetadataBlocks
  readonly #system: RangeSet
  #free: number

  /**
   * @param system blocks that are never handed out or freed
   * @param free sum of the groups' free blocks
   */
  constructor(
    geometry: Geometry,
    descriptors: GroupDescriptors,
    bitmaps: GroupBitmaps,
    blocks: MetadataBlocks,
    system: RangeSet,
    free: number,
  ) {
    this.#geometry = geometry
    this.#descriptors = descriptors
    this.#bitmaps = bitmaps
    this.#blocks = blocks
    this.#system = system
    this.#free = free
  }

  get freeBlocks(): number {
    return this.#free
  }

  goalFor(inode: Inode): BlockNumber {
    return this.#geometry.groupFirstBlock(this.#geometry.groupOfInode(inode.ino))
  }

  async allocate(goal: BlockNumber, wanted: number): Promise<BlockRun> {
    const { groups, firstDataBlock, blocksCount } = this.#geometry
    const start = goal >= firstDataBlock && goal < blocksCount ? Math.floor(goal) : firstDataBlock
    const startGroup = this.#geometry.groupOfBlock(start)
    let best: BlockRun | undefined
    let fault: string | undefined
    let searched = 0
    for (let step = 0; step < groups && searched < PATIENCE; step++) {
      const group = (startGroup + step) % groups
      if ((await this.#descriptors.read(group)).bg_free_blocks_count === 0) continue
      const bitmap = await this.#bitmaps.load(group)
      if (bitmap.fault !== undefined) {
        fault = bitmap.fault
        continue
      }
      const run = this.#search(bitmap.bytes, group, step === 0 ? start : undefined, wanted)
      if (run === undefined) continue
      if (step === 0 && run.block === start) return this.#take(run)
      if (best === undefined || run.count > best.count) best = run
      if (run.count >= wanted) break
      searched++
    }
    if (best !== undefined) return this.#take(best)
    if (fault !== undefined && this.#free > 0)
      throw new DrydiskError('ERR_CORRUPT', `${fault}; run e2fsck`, { structure: 'block bitmap' })
    throw new DrydiskError('ENOSPC', 'ext4: no free block is left on the filesystem')
  }

  requireFileBlocks(run: BlockRun): void {
    if (this.#system.intersects(run.block, run.block + run.count))
      throw corruptRun(run, 'which overlap metadata of the filesystem', 'changed or freed as part of a file')
  }

  async free(run: BlockRun): Promise<void> {
    const { firstDataBlock, blocksCount, blocksPerGroup } = this.#geometry
    const end = run.block + run.count
    if (run.count < 1 || run.block < firstDataBlock || end > blocksCount)
      throw corruptRun(run, `outside blocks ${firstDataBlock} to ${blocksCount - 1}`)
    this.requireFileBlocks(run)
    // All of it is checked before any of it is changed.
    const pieces: { group: number; bitmap: Uint8Array; bit: number; count: number }[] = []
    for (let block = run.block; block < end; ) {
      const group = this.#geometry.groupOfBlock(block)
      const bit = block - this.#geometry.groupFirstBlock(group)
      const count = Math.min(end - block, blocksPerGroup - bit)
      const { bytes, fault } = await this.#bitmaps.load(group)
      if (fault !== undefined)
        throw new DrydiskError('ERR_CORRUPT', `${fault}; run e2fsck`, { structure: 'block bitmap', group })
      if (nextBit(bytes, bit, bit + count, false) !== bit + count)
        throw corruptRun(run, 'some of which are free already')
      pieces.push({ group, bitmap: bytes, bit, count })
      block += count
    }
    for (const { group, bitmap, bit, count } of pieces) {
      fillBits(bitmap, bit, count, false)
      await this.#bitmaps.markChanged(group)
      await this.#descriptors.change(group, descriptor => {
        descriptor.bg_free_blocks_count += count
      })
      this.#free += count
    }
    this.#blocks.forget(run)
  }

  /**
   * Marks those blocks of a run used that are free, and returns them: what the journal says belongs to a file.
   * `ERR_CORRUPT` outside the volume or on the filesystem's own metadata.
   */
  async claim(run: BlockRun): Promise<BlockRun[]> {
    const { firstDataBlock, blocksCount, blocksPerGroup } = this.#geometry
    const end = run.block + run.count
    if (run.count < 1 || run.block < firstDataBlock || end > blocksCount)
      throw corruptRun(run, `outside blocks ${firstDataBlock} to ${blocksCount - 1}`, 'claimed')
    const taken: BlockRun[] = []
    for (let block = run.block; block < end; ) {
      const group = this.#geometry.groupOfBlock(block)
      const first = this.#geometry.groupFirstBlock(group)
      const stop = Math.min(end, first + blocksPerGroup)
      const { bytes, fault } = await this.#bitmaps.load(group)
      if (fault !== undefined)
        throw new DrydiskError('ERR_CORRUPT', `${fault}; run e2fsck`, { structure: 'block bitmap', group })
      while (block < stop) {
        const start = first + nextBit(bytes, block - first, stop - first, false)
        if (start >= stop) break
        const until = first + nextBit(bytes, start - first, stop - first, true)
        taken.push(await this.#take({ block: start, count: until - start }))
        block = until
      }
      block = stop
    }
    return taken
  }

  /** The run to take in one group: at the goal if that is good, then after it, then before it. */
  #search(
    bitmap: Uint8Array,
    group: number,
    goal: BlockNumber | undefined,
    wanted: number,
  ): BlockRun | undefined {
    const first = this.#geometry.groupFirstBlock(group)
    const end = this.#geometry.groupBlocks(group)
    const from = goal === undefined ? 0 : goal - first
    if (goal !== undefined) {
      const count = nextBit(bitmap, from, Math.min(end, from + wanted), true) - from
      if (count >= Math.min(wanted, GOOD_AT_GOAL)) return { block: goal, count }
    }
    const after = findFreeRun(bitmap, from, end, wanted)
    const before =
      from === 0 || (after?.count ?? 0) >= wanted ? undefined : findFreeRun(bitmap, 0, from, wanted)
    const best = (before?.count ?? 0) > (after?.count ?? 0) ? before : after
    return best === undefined ? undefined : { block: first + best.start, count: best.count }
  }

  async #take(run: BlockRun): Promise<BlockRun> {
    // A free bit on the filesystem's own blocks is a damaged bitmap; handing it out would destroy more.
    if (this.#system.intersects(run.block, run.block + run.count))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `ext4: blocks ${run.block} to ${run.block + run.count - 1} are marked free but hold metadata of the filesystem; run e2fsck`,
        { structure: 'block bitmap', block: run.block },
      )
    const group = this.#geometry.groupOfBlock(run.block)
    const { bytes } = await this.#bitmaps.load(group)
    fillBits(bytes, run.block - this.#geometry.groupFirstBlock(group), run.count, true)
    await this.#bitmaps.markChanged(group)
    await this.#descriptors.change(group, descriptor => {
      descriptor.bg_free_blocks_count -= run.count
    })
    this.#free -= run.count
    return run
  }
}

function corruptRun(run: BlockRun, what: string, fate = 'freed'): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `ext4: blocks ${run.block} to ${run.block + run.count - 1} are to be ${fate}, ${what}; run e2fsck`,
    { block: run.block, count: run.count },
  )
}
