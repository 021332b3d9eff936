import { agTree, type BtreeEditor } from '../btree-edit.ts'
import { agfRoot, type BlockSource } from '../btree-edit-store.ts'
import { type AllocRecord, BNOBT, CNTBT, cntbtKey } from '../btree-kinds.ts'
import { corrupt } from '../errors.ts'
import type { XfsVolume } from '../volume.ts'

/** Blocks in a row in an allocation group. */
export interface Run {
  readonly start: number
  readonly count: number
}

const lengthKey = ({ start, count }: Run) => cntbtKey(count, start)
const record = ({ start, count }: Run): AllocRecord => ({ ar_startblock: start, ar_blockcount: count })

/** Above any length. */
const LAST = 1n << 64n

/** The free space of one allocation group in its two trees, agf_freeblks and agf_longest. */
export class FreeExtents {
  readonly #volume: XfsVolume
  readonly #agno: number
  readonly #byBlock: BtreeEditor<AllocRecord>
  readonly #byLength: BtreeEditor<AllocRecord>

  constructor(volume: XfsVolume, agno: number, blocks: BlockSource) {
    this.#volume = volume
    this.#agno = agno
    this.#byBlock = agTree(volume, BNOBT, agno, agfRoot(volume, agno, 'bno'), blocks)
    this.#byLength = agTree(volume, CNTBT, agno, agfRoot(volume, agno, 'cnt'), blocks)
  }

  /** The last run that does not begin behind the block. */
  async before(block: number): Promise<Run | undefined> {
    return this.#run(await this.#byBlock.floor(block))
  }

  /** Runs that do not begin before the block, in order. Nothing is to be changed meanwhile. */
  async *from(block: number): AsyncIterable<Run> {
    for await (const found of this.#byBlock.records(block)) yield this.#checked(found)
  }

  /** Runs of at least so many blocks, shorter ones first. Nothing is to be changed meanwhile. */
  async *atLeast(count: number): AsyncIterable<Run> {
    for await (const found of this.#byLength.records(lengthKey({ start: 0, count })))
      yield this.#checked(found)
  }

  /** The longest run that is shorter than the given one, or begins before it; without one, the longest of all. */
  async shorterThan(run?: Run): Promise<Run | undefined> {
    return this.#run(await this.#byLength.floor(run === undefined ? LAST : lengthKey(run) - 1n))
  }

  /** Takes blocks out of a run that is free. */
  async take(from: Run, taken: Run): Promise<void> {
    const left: Run = { start: from.start, count: taken.start - from.start }
    const end = taken.start + taken.count
    const right: Run = { start: end, count: from.start + from.count - end }
    await this.#byLength.remove(lengthKey(from))
    if (left.count > 0) {
      await this.#byBlock.replace(from.start, record(left))
      if (right.count > 0) await this.#byBlock.insert(record(right))
    } else if (right.count > 0) await this.#byBlock.replace(from.start, record(right))
    else await this.#byBlock.remove(from.start)
    for (const rest of [left, right]) if (rest.count > 0) await this.#byLength.insert(record(rest))
    await this.#count(-taken.count)
  }

  /** Blocks become free. `ERR_CORRUPT` when one of them is. */
  async add({ start, count }: Run): Promise<void> {
    const end = start + count
    const left = await this.before(end - 1)
    const right = this.#run(await this.#byBlock.find(end))
    if (left !== undefined && left.start + left.count > start)
      throw corrupt(
        'bnobt',
        `blocks ${start} to ${end - 1} of allocation group ${this.#agno} are to become free, and some of them are free already`,
        { agno: this.#agno, block: start },
      )
    const joinsLeft = left !== undefined && left.start + left.count === start
    const merged: Run = {
      start: joinsLeft ? left.start : start,
      count: (joinsLeft ? left.count : 0) + count + (right?.count ?? 0),
    }
    if (joinsLeft) await this.#byLength.remove(lengthKey(left))
    if (right !== undefined) await this.#byLength.remove(lengthKey(right))
    if (joinsLeft) {
      if (right !== undefined) await this.#byBlock.remove(right.start)
      await this.#byBlock.replace(left.start, record(merged))
    } else if (right !== undefined) await this.#byBlock.replace(right.start, record(merged))
    else await this.#byBlock.insert(record(merged))
    await this.#byLength.insert(record(merged))
    await this.#count(count)
  }

  async #count(change: number): Promise<void> {
    const longest = (await this.shorterThan())?.count ?? 0
    const agf = await this.#volume.editAgf(this.#agno)
    if (agf.agf_freeblks + change < 0 || agf.agf_freeblks + change < longest)
      throw corrupt(
        'AGF',
        `allocation group ${this.#agno} counts ${agf.agf_freeblks} free blocks, and its trees have more`,
        { agno: this.#agno },
      )
    agf.agf_freeblks += change
    agf.agf_longest = longest
  }

  #run(found: AllocRecord | undefined): Run | undefined {
    return found && this.#checked(found)
  }

  #checked({ ar_startblock: start, ar_blockcount: count }: AllocRecord): Run {
    if (count === 0 || start + count > this.#volume.geometry.agLength(this.#agno))
      throw corrupt(
        'bnobt',
        `allocation group ${this.#agno} has ${count} blocks free from ${start}, which do not exist`,
        { agno: this.#agno, block: start },
      )
    return { start, count }
  }
}
