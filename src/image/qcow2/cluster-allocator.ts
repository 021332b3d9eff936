import { type Range, RangeSet } from '../../bytes/range-set.ts'
import { DrydiskError } from '../../errors.ts'
import type { ClusterCounts } from './cluster-counts.ts'

/** Host offsets are 56 bits wide; JavaScript counts exactly to 2^53. */
const MAX_FILE = 2 ** 53

/**
 * Hands out host clusters in memory only. A cluster handed out is *staged*: no table on disk reaches it until a commit. What
 * the committed state holds and the staged one no longer does is remembered and given back after the commit.
 */
export class ClusterAllocator {
  readonly counts: ClusterCounts
  readonly #clusterSize: number
  #staged = new RangeSet()
  #released: { first: number; count: number }[] = []
  #hint = 1
  #end: number

  /**
   * @param counts references of the committed state, which are its refcounts too.
   * @param end clusters that the file holds, rounded up: where growing starts.
   */
  constructor(counts: ClusterCounts, clusterSize: number, end: number) {
    this.counts = counts
    this.#clusterSize = clusterSize
    this.#end = end
  }

  /** One more than the last cluster that the file holds or that was handed out. */
  get end(): number {
    return this.#end
  }

  get hasStaged(): boolean {
    return this.#staged.runs > 0
  }

  isStaged(cluster: number): boolean {
    return this.#staged.has(cluster)
  }

  stagedRanges(): IterableIterator<Range> {
    return this.#staged.ranges()
  }

  /** 1 to `most` clusters in a row; the byte offset of the first and their number. */
  allocate(most: number): { readonly first: number; readonly count: number } {
    const first = this.counts.nextFree(this.#hint, this.#end)
    let count = 1
    while (count < most && (first + count >= this.#end || this.counts.get(first + count) === 0)) count++
    this.#take(first, count)
    this.#hint = first + count
    return { first, count }
  }

  /** Exactly `count` clusters in a row. */
  allocateContiguous(count: number): number {
    let first = this.counts.nextFree(1, this.#end)
    for (;;) {
      let length = 1
      while (length < count && (first + length >= this.#end || this.counts.get(first + length) === 0))
        length++
      if (length === count) break
      first = this.counts.nextFree(first + length + 1, this.#end)
    }
    this.#take(first, count)
    return first
  }

  #take(first: number, count: number): void {
    if ((first + count) * this.#clusterSize > MAX_FILE)
      throw new DrydiskError('EFBIG', 'the image file would grow beyond 2^53 bytes', { cluster: first })
    this.counts.addRun(first, count, 1)
    this.#staged.add(first, first + count)
    this.#end = Math.max(this.#end, first + count)
  }

  /** Gives a staged cluster back at once: nothing on disk ever reached it. */
  freeStaged(first: number, count = 1): void {
    this.counts.addRun(first, count, -1)
    this.#staged.delete(first, first + count)
    this.#hint = Math.min(this.#hint, first)
  }

  /** Notes that the staged state no longer holds one reference to each of these committed clusters. */
  release(first: number, count = 1): void {
    const last = this.#released.at(-1)
    if (last !== undefined && last.first + last.count === first) last.count += count
    else this.#released.push({ first, count })
  }

  /** Drops what was staged; the committed state's counts are as before. */
  rollback(fileClusters: number): void {
    for (const { start, end } of this.#staged.ranges()) this.counts.addRun(start, end - start, -1)
    this.#staged = new RangeSet()
    this.#released = []
    this.#hint = 1
    this.#end = fileClusters
  }

  /** After the switch: staged clusters are committed ones, and what was released loses a reference. Gives what was released. */
  publish(): readonly { readonly first: number; readonly count: number }[] {
    const released = this.#released
    this.#staged = new RangeSet()
    this.#released = []
    for (const { first, count } of released) this.counts.addRun(first, count, -1)
    this.#hint = 1
    return released
  }

  /** The file was cut or has grown to this many clusters. */
  setEnd(clusters: number): void {
    this.#end = clusters
    this.#hint = Math.min(this.#hint, clusters)
  }
}
