import type { Storage } from '../../device/storage.ts'
import { readPadded } from './padded-read.ts'

/** Bytes of changed clusters kept in memory before they go to the (unreachable) clusters of the file. */
const BUDGET = 16 << 20
/** Neighbours are written together up to this many bytes. */
const MAX_WRITE = 1 << 20

/** Staged data clusters that are not in the file yet, by host cluster (`UNPLACED` and above: their place is to be found). */
export class ClusterCache {
  readonly #storage: Storage
  readonly #clusterSize: number
  readonly #most: number
  readonly #changed = new Map<number, Uint8Array>()
  #place: (() => Promise<void>) | undefined

  constructor(storage: Storage, clusterSize: number) {
    this.#storage = storage
    this.#clusterSize = clusterSize
    this.#most = Math.max(8, Math.floor(BUDGET / clusterSize))
  }

  /** Has `place` give a place in the file, before anything is written, to each cluster that has none. */
  placeWith(place: () => Promise<void>): void {
    this.#place = place
  }

  /** Clusters in memory, ascending. */
  clusters(): number[] {
    return [...this.#changed.keys()].sort((a, b) => a - b)
  }

  get(cluster: number): Uint8Array | undefined {
    return this.#changed.get(cluster)
  }

  /** Makes `bytes` the content of a staged cluster. The cache owns them from now on. */
  set(cluster: number, bytes: Uint8Array): void {
    this.#changed.set(cluster, bytes)
  }

  /** Forgets clusters: they were given back, or written past the cache. */
  drop(first: number, count = 1): void {
    if (this.#changed.size === 0) return
    if (count <= this.#changed.size)
      for (let cluster = first; cluster < first + count; cluster++) this.#changed.delete(cluster)
    else
      for (const cluster of this.#changed.keys())
        if (cluster >= first && cluster < first + count) this.#changed.delete(cluster)
  }

  clear(): void {
    this.#changed.clear()
  }

  /** Writes everything to the file when there is more than the budget allows. */
  async relieve(): Promise<void> {
    if (this.#changed.size >= this.#most) await this.writeAll()
  }

  /** Writes everything to the file. On an error nothing is forgotten. */
  async writeAll(): Promise<void> {
    await this.#place?.()
    const clusters = this.clusters()
    const atOnce = Math.max(1, Math.floor(MAX_WRITE / this.#clusterSize))
    for (let first = 0; first < clusters.length; ) {
      const start = clusters[first] ?? 0
      let next = first + 1
      while (next < clusters.length && next - first < atOnce && clusters[next] === start + next - first)
        next++
      let bytes = this.#changed.get(start)
      if (next - first > 1 || bytes === undefined) {
        bytes = new Uint8Array((next - first) * this.#clusterSize)
        for (let index = first; index < next; index++) {
          const part = this.#changed.get(clusters[index] ?? 0)
          if (part !== undefined) bytes.set(part, (index - first) * this.#clusterSize)
        }
      }
      await this.#storage.write(start * this.#clusterSize, bytes)
      first = next
    }
    this.#changed.clear()
  }

  /** Reads host bytes as the file will have them. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    if (this.#changed.size === 0) return readPadded(this.#storage, offset, into)
    // Runs of clusters that are in the file are read in one piece each.
    let pending = 0
    for (let at = 0; at < into.length; ) {
      const cluster = Math.floor((offset + at) / this.#clusterSize)
      const within = offset + at - cluster * this.#clusterSize
      const length = Math.min(into.length - at, this.#clusterSize - within)
      const changed = this.#changed.get(cluster)
      if (changed !== undefined) {
        if (at > pending) await readPadded(this.#storage, offset + pending, into.subarray(pending, at))
        into.set(changed.subarray(within, within + length), at)
        pending = at + length
      }
      at += length
    }
    if (pending < into.length) await readPadded(this.#storage, offset + pending, into.subarray(pending))
  }
}
