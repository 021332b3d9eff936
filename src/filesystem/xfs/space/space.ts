import { DrydiskError } from '../../../errors.ts'
import { corrupt } from '../errors.ts'
import { after, inTurn, type Soon } from '../soon.ts'
import type { XfsVolume } from '../volume.ts'
import type { Extent, OwnedExtent, Owner, Space, SpaceRequest } from '../writer.ts'
import type { Run } from './free-extents.ts'
import { FreedBlocks } from './freed-blocks.ts'
import { GroupSpace } from './group-space.ts'
import { isInode } from './reverse-map.ts'

/** The space of all allocation groups, with what the recovery of a log needs of it besides. */
export class XfsSpace implements Space {
  readonly #volume: XfsVolume
  readonly #groups = new Map<number, GroupSpace>()
  readonly #freed: FreedBlocks

  constructor(volume: XfsVolume) {
    this.#volume = volume
    this.#freed = new FreedBlocks(volume)
  }

  allocate(request: SpaceRequest): Soon<Extent> {
    const { least = 1 } = request
    const { geometry } = this.#volume
    const wanted = Math.max(least, request.wanted)
    const first = Math.min(geometry.agOf(request.goal), geometry.agCount - 1)
    return after(
      this.#allocateAllIn(first, request, wanted),
      found => found ?? this.#search(first, request, wanted),
    )
  }

  /** In another group than the first, or less than is wanted. */
  async #search(first: number, request: SpaceRequest, wanted: number): Promise<Extent> {
    const { least = 1, sameGroup = false } = request
    const { agCount } = this.#volume.geometry
    const groups = Array.from({ length: sameGroup ? 1 : agCount }, (_, index) => (first + index) % agCount)
    for (const agno of groups.slice(1)) {
      const found = await this.#allocateAllIn(agno, request, wanted)
      if (found !== undefined) return found
    }
    for (const agno of await this.#byLongest(groups)) {
      const found = await this.#allocateIn(agno, request, least, true)
      if (found !== undefined) return found
    }
    throw new DrydiskError(
      'ENOSPC',
      `xfs: no space left: ${least} blocks in a row were to be allocated${sameGroup ? ` in allocation group ${first}` : ''}`,
      { blocks: least, free: await this.freeBlocks() },
    )
  }

  free(extent: Extent, owner: Owner): Soon<void> {
    const [group, run] = this.#inGroup(extent)
    return after(group.unmap(run, owner), () => this.#lose(group, run, mayBeShared(owner)))
  }

  freeAll(owned: readonly OwnedExtent[]): Soon<void> {
    const [one] = owned
    if (one !== undefined && owned.length === 1) return this.free(one.extent, one.owner)
    const { hasRmapbt } = this.#volume.superblock
    const unmapped = hasRmapbt
      ? inTurn(
          owned.map(
            ({ extent, owner }) =>
              () =>
                this.#unmap(extent, owner),
          ),
        )
      : undefined
    return after(unmapped, () => {
      const shared = this.#joined(owned.filter(({ owner }) => mayBeShared(owner)))
      const own = this.#joined(owned.filter(({ owner }) => !mayBeShared(owner)))
      const each = (extents: readonly Extent[], areShared: boolean) =>
        inTurn(extents.map(extent => () => this.#lose(...this.#inGroup(extent), areShared)))
      return after(each(shared, true), () => each(own, false))
    })
  }

  /** Extents in the order of the volume, those that touch each other in a group as one. What is there twice stays so. */
  #joined(owned: readonly OwnedExtent[]): Extent[] {
    const { geometry } = this.#volume
    const found: Extent[] = []
    for (const { extent } of [...owned].sort((a, b) => a.extent.start - b.extent.start)) {
      const before = found.at(-1)
      const touches = before?.start === extent.start - (before?.count ?? 0)
      if (before !== undefined && touches && geometry.agBlockOf(extent.start) !== 0)
        found[found.length - 1] = { start: before.start, count: before.count + extent.count }
      else found.push(extent)
    }
    return found
  }

  /** What this file has lost becomes free, unless another one still has it. */
  #lose(group: GroupSpace, run: Run, isShared: boolean): Soon<void> {
    if (!isShared) return group.release(run)
    return after(group.decrease(run), lost => {
      const [only] = lost
      return lost.length === 1 && only !== undefined
        ? group.release(only)
        : inTurn(lost.map(each => () => group.release(each)))
    })
  }

  async firstShared(extent: Extent): Promise<Extent | undefined> {
    const [group, run] = this.#inGroup(extent)
    const found = await group.firstShared(run)
    return found && { start: extent.start + (found.start - run.start), count: found.count }
  }

  async convert(extent: Extent, owner: Owner): Promise<void> {
    const [group, run] = this.#inGroup(extent)
    await group.unmap(run, owner)
    await group.map(run, { ...owner, unwritten: !owner.unwritten })
  }

  async freeBlocks(): Promise<number> {
    let blocks = 0
    for (let agno = 0; agno < this.#volume.geometry.agCount; agno++)
      blocks += await this.#group(agno).available(false)
    return blocks
  }

  /** Only the reverse mapping: blocks get an owner (an update intent of the log). */
  async map(extent: Extent, owner: Owner): Promise<void> {
    const [group, run] = this.#inGroup(extent)
    await group.map(run, owner)
  }

  /** Only the reverse mapping: blocks lose their owner. */
  async unmap(extent: Extent, owner: Owner): Promise<void> {
    await this.#unmap(extent, owner)
  }

  #unmap(extent: Extent, owner: Owner): Soon<void> {
    const [group, run] = this.#inGroup(extent)
    return group.unmap(run, owner)
  }

  /** Only the reference counts: one more file shares the blocks. */
  async increase(extent: Extent): Promise<void> {
    const [group, run] = this.#inGroup(extent)
    await group.increase(run)
  }

  /**
   * Only the reference counts: one file less has the blocks.
   * @returns those that no file has now. They are not free yet.
   */
  async decrease(extent: Extent): Promise<Extent[]> {
    const [group, run] = this.#inGroup(extent)
    const lost = await group.decrease(run)
    return lost.map(({ start, count }) => ({ start: extent.start + (start - run.start), count }))
  }

  /** Only the reference counts: the blocks wait for a file that is to get them by copy-on-write. */
  async stage(extent: Extent): Promise<void> {
    const [group, run] = this.#inGroup(extent)
    await group.stage(run)
  }

  /** Only the reference counts: the blocks no longer wait for a file. */
  async unstage(extent: Extent): Promise<void> {
    const [group, run] = this.#inGroup(extent)
    await group.unstage(run)
  }

  /** Frees what copy-on-write allocated in a group before a crash, and no file got. */
  async freeStaging(agno: number): Promise<number> {
    return this.#group(agno).freeStaging()
  }

  #allocateAllIn(agno: number, request: SpaceRequest, wanted: number): Soon<Extent | undefined> {
    return after(this.#volume.readAgf(agno), ({ agf_longest }) =>
      agf_longest < wanted ? undefined : this.#allocateIn(agno, request, wanted, false),
    )
  }

  #allocateIn(
    agno: number,
    request: SpaceRequest,
    required: number,
    longest: boolean,
  ): Soon<Extent | undefined> {
    const { goal, least = 1, alignment = 1, room = 0, fromReserve = false, owner } = request
    const { geometry } = this.#volume
    const found = this.#group(agno).allocate({
      goal: geometry.agOf(goal) === agno ? geometry.agBlockOf(goal) : 0,
      wanted: Math.max(least, request.wanted),
      alignment,
      room,
      required,
      longest,
      fromReserve,
      owner,
    })
    return after(found, run => run && { start: geometry.fsBlock(agno, run.start), count: run.count })
  }

  async #byLongest(groups: readonly number[]): Promise<number[]> {
    const lengths = new Map<number, number>()
    for (const agno of groups) {
      const { agf_longest } = await this.#volume.readAgf(agno)
      lengths.set(agno, Math.min(agf_longest, await this.#group(agno).available(true)))
    }
    // The order of groups counts where they have the same.
    return [...groups].sort((a, b) => (lengths.get(b) ?? 0) - (lengths.get(a) ?? 0))
  }

  #inGroup({ start, count }: Extent): [GroupSpace, Run] {
    const { geometry } = this.#volume
    if (!geometry.isRun(start, count))
      throw corrupt('block number', `${count} blocks from ${start} are to be changed, and do not exist`, {
        block: start,
      })
    return [this.#group(geometry.agOf(start)), { start: geometry.agBlockOf(start), count }]
  }

  #group(agno: number): GroupSpace {
    const known = this.#groups.get(agno)
    if (known !== undefined) return known
    const group = new GroupSpace(this.#volume, agno, this.#freed)
    this.#groups.set(agno, group)
    return group
  }
}

/** Whether other files may have the blocks too. */
function mayBeShared({ owner, attribute, bmbt }: Owner): boolean {
  return isInode(owner) && !attribute && !bmbt
}

export function createSpace(volume: XfsVolume): XfsSpace {
  return new XfsSpace(volume)
}
