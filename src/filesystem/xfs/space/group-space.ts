import { DrydiskError } from '../../../errors.ts'
import type { BlockSource } from '../btree-edit-store.ts'
import { corrupt } from '../errors.ts'
import type { XfsVolume } from '../volume.ts'
import { OWN, type Owner, structureOwner } from '../writer.ts'
import { type Found, findFree, findLongest, type Wish } from './find-free.ts'
import { FreeExtents, type Run } from './free-extents.ts'
import { FreeList, FreeListBlocks, neededInFreeList } from './free-list.ts'
import type { FreedBlocks } from './freed-blocks.ts'
import { References } from './references.ts'
import { availableBlocks } from './reserve.ts'
import { isInode, ReverseMap } from './reverse-map.ts'

const OWN_AG = structureOwner(OWN.AG)
const OWN_REFC = structureOwner(OWN.REFC)

/** Blocks that a free list may have too many, so that a tree that splits and shrinks by turns does not change it each time. */
const TO_SPARE = 4

export interface GroupRequest extends Omit<Wish, 'usable'> {
  /** As many in a row at least. */
  readonly required: number
  /** The longest run is good enough if it has as many as required, whatever is wanted. */
  readonly longest: boolean
  readonly fromReserve: boolean
  readonly owner: Owner
}

/**
 * The space of one allocation group. It keeps nothing: all is in the group's header and trees.
 *
 * A change of the free space or of the reverse mapping takes blocks from the free list, and filling that is such a change too.
 * So the free list is filled first, with what all trees may take at worst, and nothing that changes a tree fills it midway.
 */
export class GroupSpace {
  readonly #volume: XfsVolume
  readonly #agno: number
  readonly #free: FreeExtents
  readonly #list: FreeList
  readonly #freed: FreedBlocks
  readonly #owners: ReverseMap | undefined
  readonly #references: References | undefined

  constructor(volume: XfsVolume, agno: number, freed: FreedBlocks) {
    const { hasRmapbt, hasReflink } = volume.superblock
    this.#volume = volume
    this.#agno = agno
    this.#freed = freed
    this.#list = new FreeList(volume, agno)
    const blocks = (tree: 'free space' | 'rmapbt') =>
      new FreeListBlocks(volume, agno, { list: this.#list, freed, tree })
    this.#free = new FreeExtents(volume, agno, blocks('free space'))
    this.#owners = hasRmapbt ? new ReverseMap(volume, agno, blocks('rmapbt')) : undefined
    this.#references = hasReflink ? new References(volume, agno, this.#refcountBlocks()) : undefined
  }

  /** `undefined` when there is no such run, or it is kept back. */
  async allocate(request: GroupRequest): Promise<Run | undefined> {
    const { required, longest, fromReserve, owner } = request
    if ((await this.available(fromReserve)) < required) return undefined
    await this.#fillFreeList()
    const available = await this.available(fromReserve)
    if (available < required) return undefined
    const holdsData = isInode(owner.owner) && !owner.bmbt
    const wish: Wish = {
      ...request,
      wanted: Math.min(request.wanted, available),
      usable: run => (holdsData ? this.#freed.freeBefore(this.#agno, run) : [run]),
    }
    const found: Found | undefined = longest
      ? await findLongest(this.#free, wish, required)
      : await findFree(this.#free, wish, required)
    if (found === undefined) return undefined
    await this.#requireOrdinary(found.taken)
    await this.#free.take(found.from, found.taken)
    await this.map(found.taken, owner)
    await this.#volume.count({ fdblocks: -found.taken.count })
    return found.taken
  }

  /** Blocks that nobody owns and no file refers to become free. */
  async release(run: Run): Promise<void> {
    await this.#requireOrdinary(run)
    await this.#fillFreeList()
    this.#volume.buffers.forget(this.#volume.geometry.inAg(this.#agno, run.start), run.count)
    await this.#free.add(run)
    this.#freed.add(this.#agno, run)
    await this.#volume.count({ fdblocks: run.count })
  }

  async map(run: Run, owner: Owner): Promise<void> {
    if (this.#owners === undefined) return
    await this.#fillFreeList()
    await this.#owners.map(run, owner)
  }

  async unmap(run: Run, owner: Owner): Promise<void> {
    const { owner: who } = owner
    // New blocks at the end of a group that grows have no owner yet.
    if (this.#owners === undefined || who === BigInt.asUintN(64, OWN.NULL)) return
    for (let { start, count } = run; count > 0; ) {
      await this.#fillFreeList()
      const done: number =
        who === BigInt.asUintN(64, OWN.UNKNOWN)
          ? await this.#owners.unmapAny({ start, count })
          : await this.#owners.unmap({ start, count }, owner)
      start += done
      count -= done
    }
  }

  async increase(run: Run): Promise<void> {
    await this.#references?.increase(run)
  }

  /** Gives what no file refers to any more, which is not free yet. */
  async decrease(run: Run): Promise<readonly Run[]> {
    return this.#references === undefined ? [run] : this.#references.decrease(run)
  }

  /** Copy-on-write has allocated blocks for a file that does not have them yet; `undefined` without shared blocks. */
  async stage(run: Run): Promise<void> {
    await this.#references?.stage(run)
  }

  async unstage(run: Run): Promise<void> {
    await this.#references?.unstage(run)
  }

  async firstShared(run: Run): Promise<Run | undefined> {
    return this.#references?.firstShared(run)
  }

  /** Frees what copy-on-write allocated and no file got. Gives the number of blocks. */
  async freeStaging(): Promise<number> {
    let blocks = 0
    for (const run of (await this.#references?.staging()) ?? []) {
      await this.#references?.unstage(run)
      await this.unmap(run, structureOwner(OWN.COW))
      await this.release(run)
      blocks += run.count
    }
    return blocks
  }

  async available(fromReserve: boolean): Promise<number> {
    return availableBlocks(this.#volume, this.#agno, fromReserve)
  }

  /**
   * Makes the free list as long as the trees need it, as far as there is space, and not much longer (xfs_alloc_fix_freelist).
   * It is never shortened again after it was lengthened: either may change what the trees need, there and back.
   */
  async #fillFreeList(): Promise<void> {
    while ((await this.#missing()) < -TO_SPARE) await this.#shortenFreeList()
    for (;;) {
      const missing = await this.#missing()
      const { agf_freeblks } = await this.#volume.readAgf(this.#agno)
      if (missing <= 0 || agf_freeblks === 0) return
      await this.#lengthenFreeList(missing)
    }
  }

  /** In the free list; below 0 when it has more than is needed. */
  async #missing(): Promise<number> {
    const agf = await this.#volume.readAgf(this.#agno)
    return neededInFreeList(this.#volume.superblock, agf) - agf.agf_flcount
  }

  async #shortenFreeList(): Promise<void> {
    const block = await this.#list.take()
    if (block === undefined) return
    const run = { start: block, count: 1 }
    await this.#owners?.unmap(run, OWN_AG)
    await this.#free.add(run)
  }

  async #lengthenFreeList(missing: number): Promise<void> {
    const from = await this.#toSpare(missing)
    if (from === undefined)
      throw corrupt('cntbt', `allocation group ${this.#agno} counts free blocks, and its tree has none`, {
        agno: this.#agno,
      })
    const taken = { start: from.start, count: Math.min(missing, from.count) }
    await this.#requireOrdinary(taken)
    await this.#free.take(from, taken)
    for (let index = 0; index < taken.count; index++) await this.#list.put(taken.start + index)
    // Behind the list: a block that the reverse mapping needs is then there in any case.
    await this.#owners?.map(taken, OWN_AG)
  }

  /** The shortest run if it goes whole, which splits no tree; else the shortest with enough blocks; else the longest. */
  async #toSpare(missing: number): Promise<Run | undefined> {
    for await (const shortest of this.#free.atLeast(1)) {
      if (shortest.count <= missing) return shortest
      break
    }
    for await (const enough of this.#free.atLeast(missing)) return enough
    return this.#free.shorterThan()
  }

  /** What holds the group together is neither free nor any file's, whatever a damaged tree says. */
  async #requireOrdinary({ start, count }: Run): Promise<void> {
    const { superblock: sb, geometry } = this.#volume
    const agf = await this.#volume.readAgf(this.#agno)
    const { sb_sectsize, sb_blocksize, sb_logstart, sb_logblocks } = sb
    const inLog = sb_logstart !== 0 && geometry.agOf(sb_logstart) === this.#agno
    const log = geometry.agBlockOf(sb_logstart)
    const fixed: readonly Run[] = [
      { start: 0, count: Math.ceil((4 * sb_sectsize) / sb_blocksize) },
      { start: agf.bnoRoot, count: 1 },
      { start: agf.cntRoot, count: 1 },
      ...(sb.hasRmapbt ? [{ start: agf.rmapRoot, count: 1 }] : []),
      ...(inLog ? [{ start: log, count: sb_logblocks }] : []),
      ...(await this.#volume.readAgfl(this.#agno, agf)).map(block => ({ start: block, count: 1 })),
    ]
    const held = fixed.find(each => each.start < start + count && start < each.start + each.count)
    if (held !== undefined)
      throw corrupt(
        'bnobt',
        `blocks ${start} to ${start + count - 1} of allocation group ${this.#agno} are free or a file's, and ${held.start} is metadata`,
        { agno: this.#agno, block: held.start },
      )
  }

  /** Blocks of the tree of reference counts come from the free space, out of what is kept back for it. */
  #refcountBlocks(): BlockSource {
    const count = async (change: number) => {
      const agf = await this.#volume.editAgf(this.#agno)
      agf.agf_refcount_blocks += change
    }
    return {
      allocateBlock: async near => {
        const found = await this.allocate({
          goal: near,
          wanted: 1,
          alignment: 1,
          required: 1,
          longest: false,
          fromReserve: true,
          owner: OWN_REFC,
        })
        if (found === undefined)
          throw new DrydiskError(
            'ENOSPC',
            `xfs: allocation group ${this.#agno} has no block left for its reference counts; free some space`,
            { agno: this.#agno },
          )
        await count(1)
        return found.start
      },
      freeBlock: async block => {
        const run = { start: block, count: 1 }
        await this.unmap(run, OWN_REFC)
        await this.release(run)
        await count(-1)
      },
    }
  }
}
