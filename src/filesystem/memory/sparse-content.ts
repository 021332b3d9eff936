import type { FileExtent } from '../filesystem.ts'

const PAGE = 4096

/** A file's bytes as a map of pages: what was never written is a hole and takes no memory. */
export class SparseContent {
  #size = 0
  readonly #pages = new Map<number, Uint8Array>()

  get size(): number {
    return this.#size
  }

  /** Allocated space in 512-byte units. */
  get blocks(): number {
    return this.#pages.size * (PAGE / 512)
  }

  read(offset: number, into: Uint8Array): number {
    const length = Math.max(0, Math.min(into.length, this.#size - offset))
    let done = 0
    while (done < length) {
      const at = offset + done
      const start = at % PAGE
      const count = Math.min(PAGE - start, length - done)
      const page = this.#pages.get(Math.floor(at / PAGE))
      if (page) into.set(page.subarray(start, start + count), done)
      else into.fill(0, done, done + count)
      done += count
    }
    return length
  }

  write(offset: number, from: Uint8Array): void {
    let done = 0
    while (done < from.length) {
      const at = offset + done
      const index = Math.floor(at / PAGE)
      const start = at % PAGE
      const count = Math.min(PAGE - start, from.length - done)
      let page = this.#pages.get(index)
      if (!page) {
        page = new Uint8Array(PAGE)
        this.#pages.set(index, page)
      }
      page.set(from.subarray(done, done + count), start)
      done += count
    }
    if (from.length > 0) this.#size = Math.max(this.#size, offset + from.length)
  }

  truncate(size: number): void {
    if (size < this.#size) {
      const first = Math.ceil(size / PAGE)
      for (const index of [...this.#pages.keys()]) if (index >= first) this.#pages.delete(index)
      // What lies behind the new end must read as zeros when the file grows again.
      if (size % PAGE !== 0) this.#pages.get(Math.floor(size / PAGE))?.fill(0, size % PAGE)
    }
    this.#size = size
  }

  *extents(): Generator<FileExtent> {
    const indexes = [...this.#pages.keys()].sort((a, b) => a - b)
    let at = 0
    for (let i = 0; i < indexes.length; i++) {
      const first = indexes[i] ?? 0
      let last = first
      while (indexes[i + 1] === last + 1) {
        last++
        i++
      }
      const start = first * PAGE
      const end = Math.min((last + 1) * PAGE, this.#size)
      if (start > at) yield { offset: at, length: start - at, kind: 'hole' }
      yield { offset: start, length: end - start, kind: 'data' }
      at = end
    }
    if (at < this.#size) yield { offset: at, length: this.#size - at, kind: 'hole' }
  }
}
