import { RangeSet } from '../bytes/range-set.ts'
import { pastTheEnd } from './memory-storage.ts'
import { SparseBytes } from './sparse-bytes.ts'
import type { Storage } from './storage.ts'

/** A run of a patched storage: as the storage below has it, or what was written. */
export type Piece =
  | { readonly from: 'below'; readonly offset: number; readonly length: number }
  | { readonly from: 'memory'; readonly offset: number; readonly bytes: Uint8Array }

/** Bytes of what was written that a piece has at most. */
const MOST_PIECE = 4 << 20

/**
 * A storage whose changes stay in memory: the one below is never written. An image that is opened above it is edited like
 * others, and `pieces` then tells how to put the changed image together, taking what did not change from where it is.
 */
export class PatchedStorage implements Storage {
  readonly writable = true
  readonly #below: Storage
  readonly #written = new RangeSet()
  readonly #bytes = new SparseBytes()
  #size: number
  /** From here on the storage below does not show: it was cut off. */
  #belowEnd: number

  constructor(below: Storage) {
    this.#below = below
    this.#size = below.size
    this.#belowEnd = below.size
  }

  get name(): string {
    return this.#below.name
  }
  get size(): number {
    return this.#size
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (offset + into.length > this.#size) throw pastTheEnd(this.name, offset, into.length, this.#size)
    const below = Math.max(0, Math.min(into.length, this.#belowEnd - offset))
    if (below > 0) await this.#below.read(offset, into.subarray(0, below))
    into.fill(0, below)
    for (const { start, end } of this.#written.ranges(offset, offset + into.length))
      this.#bytes.read(start, into.subarray(start - offset, end - offset))
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#bytes.write(offset, from)
    this.#written.add(offset, offset + from.length)
    this.#size = Math.max(this.#size, offset + from.length)
  }

  async truncate(size: number): Promise<void> {
    if (size < this.#size) {
      this.#belowEnd = Math.min(this.#belowEnd, size)
      this.#written.delete(size, this.#size)
      this.#bytes.erase(size, this.#size - size)
    }
    this.#size = size
  }

  /** All of the storage in order. Memory is what was written, in pieces of 4 MiB at most, and zeros behind the end of what is below. */
  *pieces(): Iterable<Piece> {
    let at = 0
    const between = function* (this: PatchedStorage, end: number): Iterable<Piece> {
      const shown = Math.max(at, Math.min(end, this.#belowEnd))
      if (shown > at) yield { from: 'below', offset: at, length: shown - at }
      for (at = shown; at < end; at += MOST_PIECE)
        yield { from: 'memory', offset: at, bytes: new Uint8Array(Math.min(MOST_PIECE, end - at)) }
      at = end
    }.bind(this)
    for (const { start, end } of this.#written.ranges(0, this.#size)) {
      yield* between(start)
      for (at = start; at < end; ) {
        const bytes = new Uint8Array(Math.min(MOST_PIECE, end - at))
        this.#bytes.read(at, bytes)
        yield { from: 'memory', offset: at, bytes }
        at += bytes.length
      }
    }
    yield* between(this.#size)
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {
    await this.#below.close()
  }
}
