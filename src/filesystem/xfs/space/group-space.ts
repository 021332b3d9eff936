import { DrydiskError } from '../../../errors.ts'
import type { Agf } from '../agf.ts'
import type { BlockSource } from '../btree-edit-store.ts'
import { corrupt } from '../errors.ts'
import { after, inTurn, type Soon } from '../soon.ts'
import type { XfsVolume } from '../volume.ts'
import { OWN, type Owner, structureOwner } from '../writer.ts'
import { type Found, findFree, findLongest, type Wish } from './find-free.ts'
import { FreeExtents, type Run } from './free-extents.ts'
import { FreeList, FreeListBlocks, neededInFreeList } from './free-list.ts'
import type { FreedBlocks } from './freed-blocks.ts'
import { References } from './references.ts'
import { Reserve } from './reserve.ts'
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
  readonly #reserve: Reserve

  constructor(volume: XfsVolume, agno: number, freed: FreedBlocks) {
    const { hasRmapbt, hasReflink } = volume.superblock
    this.#volume = volume
    this.#agno = agno
    this.#freed = freed
    this.#list = new FreeList(volume, agno)
    this.#reserve = new Reserve(volume, agno)
    const blocks = (tree: 'free space' | 'rmapbt') =>
      new FreeListBlocks(volume, agno, { list: this.#list, freed, tree })
    this.#free = new FreeExtents(volume, agno, blocks('free space'))
    this.#owners = hasRmapbt ? new ReverseMap(volume, agno, blocks('rmapbt')) : undefined
    this.#references = hasReflink ? new References(volume, agno, this.#refcountBlocks()) : undefined
  }

  /** `undefined` when there is no such run, or it is kept back. */
  allocate(request: GroupRequest): Soon<Run | undefined> {
    const { required, fromReserve } = request
    return after(this.available(fromReserve), before => {
      if (before < required) return undefined
      return after(this.#fillFreeList(), () =>
        after(this.available(fromReserve), available =>
          available < required ? undefined : this.#allocate(request, Math.min(request.wanted, available)),
        ),
      )
    })
  }

  #allocate(request: GroupRequest, wanted: number): Soon<Run | undefined> {
    const { required, longest, owner } = request
    const holdsData = isInode(owner.owner) && !owner.bmbt
    const wish: Wish = {
      goal: request.goal,
      wanted,
      alignment: request.alignment,
      room: request.room,
      usable: run => (holdsData ? this.#freed.freeBefore(this.#agno, run) : [run]),
    }
    const search = longest ? findLongest : findFree
    return after(search(this.#free, wish, required), found => found && this.#take(found, owner))
  }

  #take({ from, taken }: Found, owner: Owner): Soon<Run> {
    const done = inTurn([
      () => this.#requireOrdinary(taken),
      () => this.#free.take(from, taken),
      () => this.map(taken, owner),
      () => this.#volume.count({ fdblocks: -taken.count }),
    ])
    return after(done, () => taken)
  }

  /** Blocks that nobody owns and no file refers to become free. */
  release(run: Run): Soon<void> {
    return inTurn([
      () => this.#requireOrdinary(run),
      () => this.#fillFreeList(),
      () => {
        this.#volume.buffers.forget(this.#volume.geometry.inAg(this.#agno, run.start), run.count)
        return this.#free.add(run)
      },
      () => {
        this.#freed.add(this.#agno, run)
        return this.#volume.count({ fdblocks: run.count })
      },
    ])
  }

  map(run: Run, owner: Owner): Soon<void> {
    const owners = this.#owners
    if (owners === undefined) return
    return after(this.#fillFreeList(), () => owners.map(run, owner))
  }

  unmap(run: Run, owner: Owner): Soon<void> {
    // New blocks at the end of a group that grows have no owner yet.
    if (this.#owners === undefined || owner.owner === BigInt.asUintN(64, OWN.NULL)) return
    return this.#unmap(this.#owners, run, owner)
  }

  async #unmap(owners: ReverseMap, run: Run, owner: Owner): Promise<void> {
    for (let { start, count } = run; count > 0; ) {
      await this.#fillFreeList()
      const done: number =
        owner.owner === BigInt.asUintN(64, OWN.UNKNOWN)
          ? await owners.unmapAny({ start, count })
          : await owners.unmap({ start, count }, owner)
      start += done
      count -= done
    }
  }

  async increase(run: Run): Promise<void> {
    await this.#references?.increase(run)
  }

  /** Gives what no file refers to any more, which is not free yet. */
  decrease(run: Run): Soon<readonly Run[]> {
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

  available(fromReserve: boolean): Soon<number> {
    return after(this.#volume.readAgf(this.#agno), agf => this.#reserve.available(agf, fromReserve))
  }

  /**
   * Makes the free list as long as the trees need it, as far as there is space, and not much longer (xfs_alloc_fix_freelist).
   * It is never shortened again after it was lengthened: either may change what the trees need, there and back.
   */
  #fillFreeList(): Soon<void> {
    return after(this.#volume.readAgf(this.#agno), agf => {
      const missing = this.#missing(agf)
      const isRight = missing <= 0 && missing >= -TO_SPARE
      return isRight ? undefined : this.#changeFreeList()
    })
  }

  async #changeFreeList(): Promise<void> {
    while (this.#missing(await this.#volume.readAgf(this.#agno)) < -TO_SPARE) await this.#shortenFreeList()
    for (;;) {
      const agf = await this.#volume.readAgf(this.#agno)
      const missing = this.#missing(agf)
      if (missing <= 0 || agf.agf_freeblks === 0) return
      await this.#lengthenFreeList(missing)
    }
  }

  /** In the free list; below 0 when it has more than is needed. */
  #missing(agf: Agf): number {
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
  #requireOrdinary({ start, count }: Run): Soon<void> {
    return after(this.#volume.readAgf(this.#agno), agf =>
      after(this.#volume.readAgfl(this.#agno, agf), list => {
        const end = start + count
        const isIn = (block: number) => start <= block && block < end
        const { bnoRoot, cntRoot, rmapRoot } = agf
        // Block 0 is a header, and where there is no tree of reverse mappings, its root is.
        const held =
          this.#firstFixed(start, end) ?? [bnoRoot, cntRoot, rmapRoot].find(isIn) ?? list.find(isIn)
        if (held !== undefined)
          throw corrupt(
            'bnobt',
            `blocks ${start} to ${end - 1} of allocation group ${this.#agno} are free or a file's, and ${held} is metadata`,
            { agno: this.#agno, block: held },
          )
      }),
    )
  }

  /** Where headers or the log begin that lie in a run. */
  #firstFixed(start: number, end: number): number | undefined {
    const { superblock, geometry } = this.#volume
    const { sb_sectsize, sb_blocksize, sb_logstart, sb_logblocks } = superblock
    if (start < Math.ceil((4 * sb_sectsize) / sb_blocksize)) return 0
    if (sb_logstart === 0 || geometry.agOf(sb_logstart) !== this.#agno) return undefined
    const log = geometry.agBlockOf(sb_logstart)
    return log < end && start < log + sb_logblocks ? log : undefined
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
          room: 0,
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
