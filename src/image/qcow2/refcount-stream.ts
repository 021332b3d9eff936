import type { Geometry } from './geometry.ts'
import { readRefcount, writeRefcount } from './refcount-block.ts'

/** Bytes of refcount blocks in memory. */
const BUDGET = 4 << 20

/** The refcounts of a file that grows: blocks are kept while clusters of theirs may still be counted. */
export class RefcountStream {
  readonly #geometry: Geometry
  readonly #open = new Map<number, Uint8Array>()
  readonly #most: number
  /** Refcounts of 1 all over. */
  readonly #ones: Uint8Array
  /** Clusters that are not counted yet: most runs go on where the last one ended, and long ones are counted faster. */
  #run = { first: 0, count: 0 }

  constructor(geometry: Geometry) {
    this.#geometry = geometry
    this.#most = Math.max(4, Math.floor(BUDGET / geometry.clusterSize))
    this.#ones = new Uint8Array(Math.min(geometry.clusterSize, 4096))
    const { refcountBits } = geometry
    for (let index = 0; index < (this.#ones.length * 8) / refcountBits; index++)
      writeRefcount(this.#ones, index, refcountBits, 1)
  }

  /** Open blocks by index, ascending. */
  get blocks(): readonly [number, Uint8Array][] {
    this.#count()
    return [...this.#open].sort((a, b) => a[0] - b[0])
  }

  get(cluster: number): number {
    this.#count()
    const { refcountsPerBlock, refcountBits } = this.#geometry
    const index = Math.floor(cluster / refcountsPerBlock)
    const block = this.#open.get(index)
    return block === undefined ? 0 : readRefcount(block, cluster - index * refcountsPerBlock, refcountBits)
  }

  /** One reference more to each cluster. */
  addRun(first: number, count: number): void {
    if (first === this.#run.first + this.#run.count) {
      this.#run.count += count
      return
    }
    this.#count()
    this.#run = { first, count }
  }

  #count(): void {
    const { first, count } = this.#run
    this.#run = { first: first + count, count: 0 }
    const { refcountsPerBlock, refcountBits } = this.#geometry
    const perChunk = (this.#ones.length * 8) / refcountBits
    for (let at = first; at < first + count; ) {
      const index = Math.floor(at / refcountsPerBlock)
      let block = this.#open.get(index)
      if (block === undefined) {
        block = new Uint8Array(this.#geometry.clusterSize)
        this.#open.set(index, block)
      }
      const stop = Math.min(first + count, (index + 1) * refcountsPerBlock)
      for (let within = at - index * refcountsPerBlock; at < stop; ) {
        // Long runs are of new clusters.
        if (within % perChunk === 0 && stop - at >= perChunk) {
          block.set(this.#ones, (within * refcountBits) / 8)
          within += perChunk
          at += perChunk
          continue
        }
        writeRefcount(block, within, refcountBits, readRefcount(block, within, refcountBits) + 1)
        within++
        at++
      }
    }
  }

  /** The block to be given up next, when there are too many. */
  get excess(): number | undefined {
    this.#count()
    if (this.#open.size <= this.#most) return undefined
    let lowest = Number.POSITIVE_INFINITY
    for (const index of this.#open.keys()) lowest = Math.min(lowest, index)
    return lowest
  }

  /** Takes a block out: its clusters must not be counted any more. */
  take(index: number): Uint8Array {
    this.#count()
    const block = this.#open.get(index) ?? new Uint8Array(this.#geometry.clusterSize)
    this.#open.delete(index)
    return block
  }
}
