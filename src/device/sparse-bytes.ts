const PAGE = 64 << 10

/**
 * A byte array of any length below 2^53 that takes memory only for the pages that were written: images of terabytes with
 * little in them fit in a test or a browser.
 */
export class SparseBytes {
  readonly #pages = new Map<number, Uint8Array>()

  /** Bytes beyond what was written read as zeros. */
  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const within = (offset + done) % PAGE
      const length = Math.min(PAGE - within, into.length - done)
      const page = this.#pages.get(Math.floor((offset + done) / PAGE))
      if (page === undefined) into.fill(0, done, done + length)
      else into.set(page.subarray(within, within + length), done)
      done += length
    }
  }

  write(offset: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const within = (offset + done) % PAGE
      const length = Math.min(PAGE - within, from.length - done)
      const index = Math.floor((offset + done) / PAGE)
      let page = this.#pages.get(index)
      if (page === undefined) {
        page = new Uint8Array(PAGE)
        this.#pages.set(index, page)
      }
      page.set(from.subarray(done, done + length), within)
      done += length
    }
  }

  /** Zeros, giving back pages that the range covers. Costs grow with the pages held, not with the length. */
  erase(offset: number, length: number): void {
    const end = offset + length
    for (const [index, page] of this.#pages) {
      const start = index * PAGE
      if (start >= end || start + PAGE <= offset) continue
      if (start >= offset && start + PAGE <= end) this.#pages.delete(index)
      else page.fill(0, Math.max(0, offset - start), Math.min(PAGE, end - start))
    }
  }

  /** The runs of whole pages that were written, cut to the window, in order; the rest reads as zeros. */
  *written(start: number, end: number): IterableIterator<{ readonly start: number; readonly end: number }> {
    const indexes = [...this.#pages.keys()].sort((a, b) => a - b)
    for (const index of indexes) {
      const from = Math.max(start, index * PAGE)
      const to = Math.min(end, (index + 1) * PAGE)
      if (from < to) yield { start: from, end: to }
    }
  }

  clone(): SparseBytes {
    const copy = new SparseBytes()
    for (const [index, page] of this.#pages) copy.#pages.set(index, page.slice())
    return copy
  }
}
