const CHUNK_BITS = 16
const CHUNK = 1 << CHUNK_BITS
const MARK = 0xffff_ffff

/** Where clusters go, by their index. Memory follows the clusters that move: four bytes each, where they lie together. */
export class Relocation {
  readonly #chunks = new Map<number, Uint32Array>()
  #lastIndex = -1
  #last: Uint32Array | undefined

  #chunk(index: number): Uint32Array | undefined {
    if (index !== this.#lastIndex) {
      this.#last = this.#chunks.get(index)
      this.#lastIndex = index
    }
    return this.#last
  }

  /** Index of the new cluster; 0, where the header lies, when the cluster stays. */
  get(cluster: number): number {
    return this.#chunk(Math.floor(cluster / CHUNK))?.[cluster & (CHUNK - 1)] ?? 0
  }

  /** @param to below 2^32 - 1. */
  set(cluster: number, to: number): void {
    const index = Math.floor(cluster / CHUNK)
    let chunk = this.#chunk(index)
    if (chunk === undefined) {
      chunk = new Uint32Array(CHUNK)
      this.#chunks.set(index, chunk)
      this.#last = chunk
    }
    chunk[cluster & (CHUNK - 1)] = to
  }

  /** Notes that the cluster is to get a place. @returns whether that is new. */
  mark(cluster: number): boolean {
    if (this.get(cluster) === MARK) return false
    this.set(cluster, MARK)
    return true
  }

  isMarked(cluster: number): boolean {
    return this.get(cluster) === MARK
  }

  /** Runs of marked clusters, ascending. Marks within the run last given may change meanwhile. */
  *marked(): IterableIterator<{ readonly first: number; readonly count: number }> {
    for (const index of [...this.#chunks.keys()].sort((a, b) => a - b)) {
      const chunk = this.#chunks.get(index)
      if (chunk === undefined) continue
      for (let at = chunk.indexOf(MARK); at >= 0; ) {
        let end = at + 1
        while (end < CHUNK && chunk[end] === MARK) end++
        yield { first: index * CHUNK + at, count: end - at }
        at = chunk.indexOf(MARK, end)
      }
    }
  }
}
