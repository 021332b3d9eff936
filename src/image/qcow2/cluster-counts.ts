import { unsupported } from './corruption.ts'
import { readRefcount, writeRefcount } from './refcount-block.ts'

const CHUNK_BITS = 16
const CHUNK = 1 << CHUNK_BITS
/** A count of this value or above is kept aside. */
const SATURATED = 0xffff
/** 64 Ki counts of two bytes each; together 512 MiB, enough for 16 TiB of clusters of 64 KiB. */
const MAX_CHUNKS = 4096

/**
 * How often each host cluster is referenced. Memory follows the clusters in use, not the length of the file, so a hostile
 * sparse file costs little.
 */
export class ClusterCounts {
  readonly #name: string
  readonly #chunks = new Map<number, Uint16Array>()
  readonly #large = new Map<number, number>()
  #lastIndex = -1
  #last: Uint16Array | undefined

  /** @param name of the image, for messages. */
  constructor(name: string) {
    this.#name = name
  }

  #chunk(index: number): Uint16Array | undefined {
    if (index !== this.#lastIndex) {
      this.#last = this.#chunks.get(index)
      this.#lastIndex = index
    }
    return this.#last
  }

  #chunkForWrite(index: number): Uint16Array {
    let chunk = this.#chunk(index)
    if (chunk === undefined) {
      if (this.#chunks.size >= MAX_CHUNKS)
        throw unsupported(this.#name, 'its clusters in use are too many or too scattered to count', {
          chunks: MAX_CHUNKS,
        })
      chunk = new Uint16Array(CHUNK)
      this.#chunks.set(index, chunk)
      this.#last = chunk
    }
    return chunk
  }

  get(cluster: number): number {
    const count = this.#chunk(Math.floor(cluster / CHUNK))?.[cluster & (CHUNK - 1)] ?? 0
    return count === SATURATED ? (this.#large.get(cluster) ?? SATURATED) : count
  }

  set(cluster: number, count: number): void {
    const chunk = this.#chunkForWrite(Math.floor(cluster / CHUNK))
    if (chunk[cluster & (CHUNK - 1)] === SATURATED) this.#large.delete(cluster)
    chunk[cluster & (CHUNK - 1)] = Math.min(count, SATURATED)
    if (count >= SATURATED) this.#large.set(cluster, count)
  }

  add(cluster: number, delta: number): void {
    const chunk = this.#chunkForWrite(Math.floor(cluster / CHUNK))
    const at = cluster & (CHUNK - 1)
    const count = (chunk[at] ?? 0) + delta
    if (count < SATURATED && chunk[at] !== SATURATED) chunk[at] = count
    else this.set(cluster, this.get(cluster) + delta)
  }

  addRun(first: number, count: number, delta: number): void {
    for (let done = 0; done < count; ) {
      const base = (first + done) & (CHUNK - 1)
      const end = Math.min(CHUNK, base + count - done)
      const chunk = this.#chunkForWrite(Math.floor((first + done) / CHUNK))
      for (let at = base; at < end; at++) {
        const value = (chunk[at] as number) + delta
        if (value < SATURATED && chunk[at] !== SATURATED) chunk[at] = value
        else this.set(first + done + at - base, this.get(first + done + at - base) + delta)
      }
      done += end - base
    }
  }

  /** First cluster from `from`, below `limit`, with a count of 0; `limit` when there is none. */
  nextFree(from: number, limit: number): number {
    for (let at = from; at < limit; ) {
      const base = Math.floor(at / CHUNK) * CHUNK
      const chunk = this.#chunk(base / CHUNK)
      if (chunk === undefined) return at
      const found = chunk.indexOf(0, at - base)
      if (found >= 0) return Math.min(base + found, limit)
      at = base + CHUNK
    }
    return limit
  }

  /** One more than the highest cluster with a count; 0 when there is none. */
  end(): number {
    for (const index of [...this.#chunks.keys()].sort((a, b) => b - a)) {
      const chunk = this.#chunks.get(index)
      if (chunk === undefined) continue
      for (let at = CHUNK - 1; at >= 0; at--) if (chunk[at] !== 0) return index * CHUNK + at + 1
    }
    return 0
  }

  clone(): ClusterCounts {
    const copy = new ClusterCounts(this.#name)
    for (const [index, chunk] of this.#chunks) copy.#chunks.set(index, chunk.slice())
    for (const [cluster, count] of this.#large) copy.#large.set(cluster, count)
    return copy
  }

  /** The highest count; 0 when there is none. */
  largest(): number {
    let largest = 0
    for (const chunk of this.#chunks.values()) for (const count of chunk) if (count > largest) largest = count
    for (const count of this.#large.values()) largest = Math.max(largest, count)
    return largest
  }

  /** Whether any of the clusters has a count. */
  anyIn(first: number, count: number): boolean {
    for (let at = first; at < first + count; ) {
      const base = Math.floor(at / CHUNK) * CHUNK
      const end = Math.min(first + count, base + CHUNK)
      const chunk = this.#chunk(base / CHUNK)
      if (chunk !== undefined)
        for (let index = at; index < end; index++) if (chunk[index - base] !== 0) return true
      at = end
    }
    return false
  }

  /** How many of the clusters have a count. */
  used(first: number, count: number): number {
    let used = 0
    for (let at = first; at < first + count; ) {
      const base = Math.floor(at / CHUNK) * CHUNK
      const end = Math.min(first + count, base + CHUNK)
      const chunk = this.#chunk(base / CHUNK)
      if (chunk !== undefined)
        for (let index = at - base; index < end - base; index++) if (chunk[index] !== 0) used++
      at = end
    }
    return used
  }

  /** Index ranges of 64 Ki clusters that hold counts at all, ascending: where a search has to look. */
  ranges(): { readonly first: number; readonly count: number }[] {
    return [...this.#chunks.keys()]
      .sort((a, b) => a - b)
      .map(index => ({ first: index * CHUNK, count: CHUNK }))
  }

  /**
   * Writes the counts of the clusters from `first` as refcounts into `block`, from its entry `entry`. Counts must fit the width.
   */
  encode(block: Uint8Array, entry: number, first: number, count: number, bits: number): void {
    for (let done = 0; done < count; ) {
      const cluster = first + done
      const base = cluster & (CHUNK - 1)
      const run = Math.min(count - done, CHUNK - base)
      const chunk = this.#chunk(Math.floor(cluster / CHUNK))
      if (chunk === undefined) {
        for (let index = 0; index < run; index++) writeRefcount(block, entry + done + index, bits, 0)
      } else if (bits === 16) {
        let at = (entry + done) * 2
        for (let index = base; index < base + run; index++, at += 2) {
          const value = chunk[index] as number
          block[at] = value >>> 8
          block[at + 1] = value
        }
      } else
        for (let index = 0; index < run; index++) {
          const value = chunk[base + index] as number
          writeRefcount(
            block,
            entry + done + index,
            bits,
            value < SATURATED ? value : this.get(cluster + index),
          )
        }
      done += run
    }
  }

  /** Calls `found` for each cluster whose refcount in the block differs from the count here. */
  compare(
    block: Uint8Array,
    first: number,
    count: number,
    bits: number,
    found: (cluster: number, references: number, refcount: number) => void,
  ): void {
    for (let done = 0; done < count; ) {
      const cluster = first + done
      const base = cluster & (CHUNK - 1)
      const run = Math.min(count - done, CHUNK - base)
      const chunk = this.#chunk(Math.floor(cluster / CHUNK))
      const wide = bits === 16
      for (let index = 0; index < run; index++) {
        const entry = done + index
        const stored = wide
          ? ((block[entry * 2] as number) << 8) | (block[entry * 2 + 1] as number)
          : readRefcount(block, entry, bits)
        let counted = chunk === undefined ? 0 : (chunk[base + index] as number)
        if (counted === SATURATED) counted = this.get(cluster + index)
        if (stored !== counted) found(cluster + index, counted, stored)
      }
      done += run
    }
  }
}
