import type { BlockDevice, Extent } from './block-device.ts'
import { checkRange, checkWritable } from './range.ts'
import { SparseBytes } from './sparse-bytes.ts'

/** A device in memory, sparse: memory grows with what is written, not with the size. Nothing is staged. */
export class MemoryDevice implements BlockDevice {
  readonly size: number
  readonly writable: boolean
  readonly #bytes = new SparseBytes()

  /** @param content initial content, or the size in bytes of an empty device. */
  constructor(content: Uint8Array | number, options: { readonly writable?: boolean } = {}) {
    this.size = typeof content === 'number' ? content : content.length
    this.writable = options.writable ?? true
    if (typeof content !== 'number') this.#bytes.write(0, content)
  }

  /** A copy of the whole content. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.size)
    this.#bytes.read(0, bytes)
    return bytes
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.size, offset, into.length)
    this.#bytes.read(offset, into)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    checkWritable(this.writable)
    checkRange(this.size, offset, from.length)
    this.#bytes.write(offset, from)
  }

  async erase(offset: number, length: number): Promise<void> {
    checkWritable(this.writable)
    checkRange(this.size, offset, length)
    this.#bytes.erase(offset, length)
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    checkRange(this.size, offset, length)
    const end = offset + length
    let at = offset
    let dataFrom = offset
    for (const run of this.#bytes.written(offset, end)) {
      if (run.start > at) {
        if (at > dataFrom) yield { offset: dataFrom, length: at - dataFrom, kind: 'data', depth: 0 }
        yield { offset: at, length: run.start - at, kind: 'zero', depth: 0 }
        dataFrom = run.start
      }
      at = run.end
    }
    if (at > dataFrom) yield { offset: dataFrom, length: at - dataFrom, kind: 'data', depth: 0 }
    if (at < end) yield { offset: at, length: end - at, kind: 'zero', depth: 0 }
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {}
}
