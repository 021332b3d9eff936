import { agTree, type BtreeEditor } from '../btree-edit.ts'
import { agfRoot, type BlockSource } from '../btree-edit-store.ts'
import { type AllocRecord, BNOBT, CNTBT, cntbtKey } from '../btree-kinds.ts'
import { corrupt } from '../errors.ts'
import { after, type Soon } from '../soon.ts'
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
  before(block: number): Soon<Run | undefined> {
    return after(this.#byBlock.floor(block), found => this.#run(found))
  }

  /** The first run that does not begin before the block. */
  from(block: number): Soon<Run | undefined> {
    return after(this.#byBlock.ceiling(block), found => this.#run(found))
  }

  /** Runs of at least so many blocks, shorter ones first. Nothing is to be changed meanwhile. */
  async *atLeast(count: number): AsyncIterable<Run> {
    for await (const found of this.#byLength.records(lengthKey({ start: 0, count })))
      yield this.#checked(found)
  }

  /** The longest run that is shorter than the given one, or begins before it; without one, the longest of all. */
  shorterThan(run?: Run): Soon<Run | undefined> {
    return after(this.#byLength.floor(run === undefined ? LAST : lengthKey(run) - 1n), found =>
      this.#run(found),
    )
  }

  /** Takes blocks out of a run that is free. */
  take(from: Run, taken: Run): Soon<void> {
    const left: Run = { start: from.start, count: taken.start - from.start }
    const end = taken.start + taken.count
    const right: Run = { start: end, count: from.start + from.count - end }
    return after(this.#leave(from, left, right), () =>
      after(this.#volume.readAgf(this.#agno), ({ agf_longest }) => {
        if (from.count < agf_longest) return this.#count(-taken.count, agf_longest)
        return after(this.shorterThan(), longest => this.#count(-taken.count, longest?.count ?? 0))
      }),
    )
  }

  /** Of a run that is free stay the parts that have blocks. */
  #leave(from: Run, left: Run, right: Run): Soon<unknown> {
    const stays = left.count > 0 ? left : right
    if (stays.count === 0) return this.#drop(from)
    const moved = after(this.#byLength.move(lengthKey(from), record(stays)), () =>
      this.#byBlock.replace(from.start, record(stays)),
    )
    return stays === right || right.count === 0
      ? moved
      : after(moved, () =>
          after(this.#byBlock.insert(record(right)), () => this.#byLength.insert(record(right))),
        )
  }

  /** Blocks become free. `ERR_CORRUPT` when one of them is. */
  add(run: Run): Soon<void> {
    const { start, count } = run
    const end = start + count
    return after(this.#byBlock.around(end - 1), ({ floor, next }) => {
      const left = this.#run(floor)
      const right = next?.ar_startblock === end ? this.#run(next) : undefined
      if (left !== undefined && left.start + left.count > start)
        throw corrupt(
          'bnobt',
          `blocks ${start} to ${end - 1} of allocation group ${this.#agno} are to become free, and some of them are free already`,
          { agno: this.#agno, block: start },
        )
      const joined = left !== undefined && left.start + left.count === start ? left : undefined
      return this.#join(joined, run, right)
    })
  }

  /** Blocks become free between free ones. */
  #join(left: Run | undefined, run: Run, right: Run | undefined): Soon<void> {
    const merged: Run = {
      start: left?.start ?? run.start,
      count: (left?.count ?? 0) + run.count + (right?.count ?? 0),
    }
    const grows = left ?? right
    const stored =
      grows === undefined
        ? after(this.#byBlock.insert(record(merged)), () => this.#byLength.insert(record(merged)))
        : after(left && right && this.#drop(right), () =>
            after(this.#byBlock.replace(grows.start, record(merged)), () =>
              this.#byLength.move(lengthKey(grows), record(merged)),
            ),
          )
    return after(stored, () =>
      after(this.#volume.readAgf(this.#agno), ({ agf_longest }) =>
        this.#count(run.count, Math.max(agf_longest, merged.count)),
      ),
    )
  }

  #drop(run: Run): Soon<unknown> {
    return after(this.#byLength.remove(lengthKey(run)), () => this.#byBlock.remove(run.start))
  }

  /** @param longest run that is free now. */
  #count(change: number, longest: number): Soon<void> {
    return after(this.#volume.editAgf(this.#agno), agf => {
      if (agf.agf_freeblks + change < longest)
        throw corrupt(
          'AGF',
          `allocation group ${this.#agno} counts ${agf.agf_freeblks} free blocks, and its trees have more`,
          { agno: this.#agno },
        )
      agf.agf_freeblks += change
      agf.agf_longest = longest
    })
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
