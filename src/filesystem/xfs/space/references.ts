import { agTree, type BtreeEditor } from '../btree-edit.ts'
import { agfRoot, type BlockSource } from '../btree-edit-store.ts'
import { REFCBT, type RefcountRecord } from '../btree-kinds.ts'
import { corrupt } from '../errors.ts'
import type { XfsVolume } from '../volume.ts'
import type { Run } from './free-extents.ts'

/** XFS_REFC_COWFLAG, above rc_startblock: blocks that copy-on-write has allocated and no file has yet. */
const STAGING = 2 ** 31
/** MAXREFCOUNT: nobody has counted further, so the blocks are never free. */
const MOST_REFERENCES = 2 ** 32 - 1

/** References to blocks; 1 for what has no record. */
interface Counted extends Run {
  readonly references: number
}

const endOf = ({ start, count }: Run) => start + count

/** How many files share blocks of an allocation group. Blocks of one file have no record. */
export class References {
  readonly #volume: XfsVolume
  readonly #agno: number
  readonly #tree: BtreeEditor<RefcountRecord>

  constructor(volume: XfsVolume, agno: number, blocks: BlockSource) {
    this.#volume = volume
    this.#agno = agno
    this.#tree = agTree(volume, REFCBT, agno, agfRoot(volume, agno, 'refcount'), blocks)
  }

  /** The first blocks in the run that several files share. */
  async firstShared(run: Run): Promise<Run | undefined> {
    for await (const { start, count } of this.#around(run)) {
      const from = Math.max(start, run.start)
      const end = Math.min(start + count, endOf(run))
      if (from < end) return { start: from, count: end - from }
    }
    return undefined
  }

  /** One more file refers to the blocks, which one does at least (xfs_refcount_adjust). */
  async increase(run: Run): Promise<void> {
    await this.#adjust(run, references => Math.min(references + 1, MOST_REFERENCES))
  }

  /**
   * One file less refers to the blocks.
   * @returns those that no file refers to now.
   */
  async decrease(run: Run): Promise<Run[]> {
    const lost: Run[] = []
    await this.#adjust(run, (references, at) => {
      if (references === MOST_REFERENCES) return references
      if (references === 1) lost.push(at)
      return references - 1
    })
    return lost
  }

  /** Blocks that copy-on-write has allocated and a file did not get before a crash. */
  async staging(): Promise<Run[]> {
    const runs: Run[] = []
    for await (const found of this.#tree.records(STAGING)) {
      const { rc_startblock, rc_blockcount: count } = found
      runs.push(this.#checked({ start: rc_startblock - STAGING, count }))
    }
    return runs
  }

  /** They are no longer allocated for copy-on-write. */
  async forgetStaging(run: Run): Promise<void> {
    const found = await this.#tree.remove(STAGING + run.start)
    if (found.rc_blockcount !== run.count)
      throw corrupt(
        'refcountbt',
        `blocks from ${run.start} on are ${found.rc_blockcount}, expected ${run.count}`,
      )
  }

  async #adjust(run: Run, change: (references: number, at: Run) => number): Promise<void> {
    const before: Counted[] = []
    for await (const counted of this.#around(run)) before.push(counted)
    const after: Counted[] = []
    const add = (start: number, end: number, references: number) => {
      if (start >= end || references < 2) return
      const last = after.at(-1)
      if (last !== undefined && endOf(last) === start && last.references === references)
        after[after.length - 1] = { ...last, count: end - last.start }
      else after.push({ start, count: end - start, references })
    }
    const inside = (start: number, end: number, references: number) => {
      if (start < end) add(start, end, change(references, { start, count: end - start }))
    }
    let at = run.start
    const end = endOf(run)
    for (const { start, count, references } of before) {
      add(start, Math.min(start + count, run.start), references)
      const [from, to] = [Math.max(start, run.start), Math.min(start + count, end)]
      if (from < to) {
        inside(at, from, 1)
        inside(from, to, references)
        at = to
      } else if (start >= end) {
        inside(at, end, 1)
        at = end
      }
      add(Math.max(start, end), start + count, references)
    }
    inside(at, end, 1)
    await this.#store(before, after)
  }

  /** Changes as few records as possible: first those that stay or go, then those that are new. */
  async #store(before: readonly Counted[], after: readonly Counted[]): Promise<void> {
    const now = new Map(after.map(counted => [counted.start, counted]))
    for (const old of before) {
      const counted = now.get(old.start)
      now.delete(old.start)
      if (counted === undefined) await this.#tree.remove(old.start)
      else if (counted.count !== old.count || counted.references !== old.references)
        await this.#tree.replace(old.start, this.#record(counted))
    }
    for (const counted of now.values()) await this.#tree.insert(this.#record(counted))
  }

  /** Records that overlap the run or touch it. */
  async *#around(run: Run): AsyncIterable<Counted> {
    const first = await this.#tree.floor(Math.max(0, run.start - 1))
    const from = first === undefined ? run.start : first.rc_startblock
    let last = 0
    for await (const found of this.#tree.records(from)) {
      if (found.rc_startblock > endOf(run)) return
      const { start, count } = this.#checked({ start: found.rc_startblock, count: found.rc_blockcount })
      if (start < last || found.rc_refcount < 2)
        throw corrupt(
          'refcountbt',
          `allocation group ${this.#agno} counts ${found.rc_refcount} references to blocks from ${start} on, which is no count or their second one`,
          { agno: this.#agno, block: start },
        )
      last = start + count
      if (last >= run.start) yield { start, count, references: found.rc_refcount }
    }
  }

  #record({ start, count, references }: Counted): RefcountRecord {
    return { rc_startblock: start, rc_blockcount: count, rc_refcount: references }
  }

  #checked(run: Run): Run {
    if (run.count === 0 || endOf(run) > this.#volume.geometry.agLength(this.#agno))
      throw corrupt(
        'refcountbt',
        `allocation group ${this.#agno} shares ${run.count} blocks from ${run.start}, which do not exist`,
        { agno: this.#agno, block: run.start },
      )
    return run
  }
}
