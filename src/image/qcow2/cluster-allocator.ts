import { type Range, RangeSet } from '../../bytes/range-set.ts'
import { DrydiskError } from '../../errors.ts'
import type { ClusterCounts } from './cluster-counts.ts'

/**
 * Host offsets are 56 bits wide, and JavaScript counts exactly to 2^53. The upper half of that is for staged clusters that have
 * no place in the file yet: there, the host offset is this and the guest offset.
 */
export const UNPLACED = 2 ** 52

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
  #transaction = 0

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

  /** Changes with every commit and rollback: what was staged before it is no longer. */
  get transaction(): number {
    return this.#transaction
  }

  isStaged(cluster: number): boolean {
    return this.isUnplaced(cluster) || this.#staged.has(cluster)
  }

  /** Whether the cluster is staged in memory alone. */
  isUnplaced(cluster: number): boolean {
    return cluster * this.#clusterSize >= UNPLACED
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

  /** One more reference to a staged cluster. */
  share(cluster: number): void {
    this.counts.add(cluster, 1)
  }

  #take(first: number, count: number): void {
    if ((first + count) * this.#clusterSize > UNPLACED)
      throw new DrydiskError('EFBIG', 'the image file would grow beyond 2^52 bytes', { cluster: first })
    this.counts.addRun(first, count, 1)
    this.#staged.add(first, first + count)
    this.#end = Math.max(this.#end, first + count)
  }

  /** Takes one reference from staged clusters, and gives them back at once if it was the last: nothing on disk ever reached them. */
  freeStaged(first: number, count = 1): void {
    if (this.isUnplaced(first)) return
    this.counts.addRun(first, count, -1)
    if (count === 1 && this.counts.get(first) > 0) return
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
    for (const { start, end } of this.#staged.ranges())
      for (let cluster = start; cluster < end; cluster++) this.counts.set(cluster, 0)
    this.#transaction++
    this.#staged = new RangeSet()
    this.#released = []
    this.#hint = 1
    this.#end = fileClusters
  }

  /** After the switch: staged clusters are committed ones, and what was released loses a reference. Gives what was released. */
  publish(): readonly { readonly first: number; readonly count: number }[] {
    const released = this.#released
    this.#transaction++
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
