import type { Geometry } from './geometry.ts'
import type { RefcountStream } from './refcount-stream.ts'

/** Metadata clusters are taken this many bytes at a time, so that small ones lie together. */
const METADATA_EXTENT = 64 << 10

/** Hands out the clusters of a file that is written from its beginning to its end, and counts them. */
export class HostPlacer {
  readonly #clusterSize: number
  readonly #refcountMax: number
  readonly #refcounts: RefcountStream
  /** Clusters handed out: the file's length so far. */
  #end: number
  /** Bytes behind the last compressed cluster, up to the end of its host cluster. */
  #gap = { from: 0, to: 0 }
  /** Metadata clusters taken and not used yet. */
  #metadata = { from: 0, to: 0 }

  /** @param end clusters that are taken already. */
  constructor(geometry: Geometry, refcounts: RefcountStream, end: number) {
    this.#clusterSize = geometry.clusterSize
    this.#refcountMax = geometry.refcountMax
    this.#refcounts = refcounts
    this.#end = end
    refcounts.addRun(0, end)
  }

  get end(): number {
    return this.#end
  }

  /** Host offset of `count` clusters in a row. */
  data(count: number): number {
    const first = this.#end
    this.#end += count
    this.#refcounts.addRun(first, count)
    return first * this.#clusterSize
  }

  /** Host offset of a cluster for a table. */
  metadata(): number {
    if (this.#metadata.from === this.#metadata.to) {
      const count = Math.max(1, METADATA_EXTENT / this.#clusterSize)
      this.#metadata = { from: this.#end, to: this.#end + count }
      this.#end += count
    }
    const cluster = this.#metadata.from++
    this.#refcounts.addRun(cluster, 1)
    return cluster * this.#clusterSize
  }

  /**
   * Host offset of the bytes of a compressed cluster: behind the last one where it fits, on any byte. Every host cluster that they
   * touch counts a reference more, as many as its refcount can say.
   */
  compressed(length: number): number {
    const size = this.#clusterSize
    const end = this.#end * size
    const gap = this.#gap
    // Where the file ends with the gap, what does not fit goes on into new clusters.
    const fits = gap.from + length <= gap.to || (gap.to === end && gap.from < gap.to)
    const at = fits && this.#refcounts.get(Math.floor(gap.from / size)) < this.#refcountMax ? gap.from : end
    const last = Math.floor((at + length - 1) / size)
    this.#end = Math.max(this.#end, last + 1)
    const first = Math.floor(at / size)
    this.#refcounts.addRun(first, last - first + 1)
    this.#gap = { from: at + length, to: (last + 1) * size }
    return at
  }

  /** Host clusters below `cluster` are complete from now on: what was kept free there stays free. */
  seal(cluster: number): void {
    if (this.#gap.from < cluster * this.#clusterSize) this.#gap = { from: 0, to: 0 }
    if (this.#metadata.from < cluster) this.#metadata = { from: 0, to: 0 }
  }
}
