import { agTree, type BtreeEditor } from '../btree-edit.ts'
import { agfRoot, type BlockSource } from '../btree-edit-store.ts'
import { REFCBT, type RefcountRecord } from '../btree-kinds.ts'
import { corrupt } from '../errors.ts'
import { after, type Soon } from '../soon.ts'
import type { XfsVolume } from '../volume.ts'
import type { Run } from './free-extents.ts'

/** One half of the tree. */
interface Domain {
  /** Added to rc_startblock. */
  readonly base: number
  /** References to blocks without a record. */
  readonly unrecorded: number
}

const SHARED: Domain = { base: 0, unrecorded: 1 }
/** XFS_REFC_COWFLAG: blocks that copy-on-write has allocated and no file has yet. */
const STAGING: Domain = { base: 2 ** 31, unrecorded: 0 }

/** MAXREFCOUNT: nobody has counted further, so the blocks are never free. */
const MOST_REFERENCES = 2 ** 32 - 1

/** Gives the references to blocks that have had so many; those without a record are among them. */
type Change = (references: number, at: Run) => number

/** References to blocks, by a record. */
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
    for (const { start, count } of await this.#around(SHARED, run)) {
      const from = Math.max(start, run.start)
      const end = Math.min(start + count, endOf(run))
      if (from < end) return { start: from, count: end - from }
    }
    return undefined
  }

  /** One more file refers to the blocks, which one does at least (xfs_refcount_adjust). */
  async increase(run: Run): Promise<void> {
    await this.#adjust(SHARED, run, references => Math.min(references + 1, MOST_REFERENCES))
  }

  /**
   * One file less refers to the blocks.
   * @returns those that no file refers to now.
   */
  decrease(run: Run): Soon<readonly Run[]> {
    return after(this.#around(SHARED, run), around => {
      // Most files share nothing.
      if (around.length === 0) return [run]
      const lost: Run[] = []
      const adjusted = this.#adjustAmong(SHARED, around, run, (references, at) => {
        if (references === MOST_REFERENCES) return references
        if (references === 1) lost.push(at)
        return references - 1
      })
      return after(adjusted, () => lost)
    })
  }

  /** Blocks that copy-on-write has allocated and a file did not get before a crash. */
  async staging(): Promise<Run[]> {
    const runs: Run[] = []
    for await (const found of this.#tree.records(STAGING.base)) runs.push(this.#checked(found, STAGING))
    return runs
  }

  /** Blocks are allocated for copy-on-write (xfs_refcount_adjust_cow). */
  async stage(run: Run): Promise<void> {
    await this.#adjust(STAGING, run, (references, at) => {
      if (references !== 0) throw this.#wrong(at.start, 'are allocated for copy-on-write already')
      return 1
    })
  }

  /** They are no longer. */
  async unstage(run: Run): Promise<void> {
    await this.#adjust(STAGING, run, (references, at) => {
      if (references !== 1) throw this.#wrong(at.start, 'are not allocated for copy-on-write')
      return 0
    })
  }

  async #adjust(domain: Domain, run: Run, change: Change): Promise<void> {
    await this.#adjustAmong(domain, await this.#around(domain, run), run, change)
  }

  /** @param before records that overlap the run or touch it. */
  async #adjustAmong(domain: Domain, before: readonly Counted[], run: Run, change: Change): Promise<void> {
    const { unrecorded } = domain
    const news: Counted[] = []
    const add = (start: number, end: number, references: number) => {
      if (start >= end || references <= unrecorded) return
      const last = news.at(-1)
      if (last !== undefined && endOf(last) === start && last.references === references)
        news[news.length - 1] = { ...last, count: end - last.start }
      else news.push({ start, count: end - start, references })
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
        inside(at, from, unrecorded)
        inside(from, to, references)
        at = to
      } else if (start >= end) {
        inside(at, end, unrecorded)
        at = end
      }
      add(Math.max(start, end), start + count, references)
    }
    inside(at, end, unrecorded)
    await this.#store(domain, before, news)
  }

  /** Changes as few records as possible: first those that stay or go, then those that are new. */
  async #store(domain: Domain, before: readonly Counted[], news: readonly Counted[]): Promise<void> {
    const now = new Map(news.map(counted => [counted.start, counted]))
    const record = ({ start, count, references }: Counted): RefcountRecord => ({
      rc_startblock: domain.base + start,
      rc_blockcount: count,
      rc_refcount: references,
    })
    for (const old of before) {
      const counted = now.get(old.start)
      now.delete(old.start)
      if (counted === undefined) await this.#tree.remove(domain.base + old.start)
      else if (counted.count !== old.count || counted.references !== old.references)
        await this.#tree.replace(domain.base + old.start, record(counted))
    }
    for (const counted of now.values()) await this.#tree.insert(record(counted))
  }

  /** Records that overlap the run or touch it. */
  #around(domain: Domain, run: Run): Soon<readonly Counted[]> {
    const { base } = domain
    return after(this.#tree.around(base + Math.max(0, run.start - 1)), ({ floor, next }) => {
      const last = base + endOf(run)
      const isBefore = floor === undefined || floor.rc_startblock + floor.rc_blockcount < base + run.start
      const isBehind = next === undefined || next.rc_startblock > last
      return isBefore && isBehind ? [] : this.#allAround(domain, run, floor?.rc_startblock ?? base)
    })
  }

  async #allAround(domain: Domain, run: Run, first: number): Promise<readonly Counted[]> {
    const { base, unrecorded } = domain
    const around: Counted[] = []
    let reached = 0
    for await (const found of this.#tree.records(Math.max(base, first))) {
      if (found.rc_startblock > base + endOf(run)) break
      const { start, count } = this.#checked(found, domain)
      if (start < reached || found.rc_refcount <= unrecorded)
        throw this.#wrong(start, `have ${found.rc_refcount} references by one record, and others by another`)
      reached = start + count
      if (reached >= run.start) around.push({ start, count, references: found.rc_refcount })
    }
    return around
  }

  #checked({ rc_startblock, rc_blockcount }: RefcountRecord, { base }: Domain): Run {
    const run = { start: rc_startblock - base, count: rc_blockcount }
    if (run.count === 0 || endOf(run) > this.#volume.geometry.agLength(this.#agno))
      throw this.#wrong(run.start, `are ${run.count} by their record, which do not exist`)
    return run
  }

  #wrong(block: number, what: string) {
    return corrupt('refcountbt', `blocks from ${block} on of allocation group ${this.#agno} ${what}`, {
      agno: this.#agno,
      block,
    })
  }
}
