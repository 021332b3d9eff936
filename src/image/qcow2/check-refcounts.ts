import { isZero } from '../../bytes/compare.ts'
import type { Storage } from '../../device/storage.ts'
import { unsupported } from './corruption.ts'
import type { Geometry } from './geometry.ts'
import { readPieces } from './padded-read.ts'
import { readRefcount } from './refcount-block.ts'
import { MAX_REFCOUNTS } from './refcount-compare.ts'

const CHUNK_BITS = 18
const CHUNK = 1 << CHUNK_BITS

/** Which host clusters have a refcount of exactly 1 on disk: a bit each, and nothing for a part of the file without any. */
export class RefcountOnes {
  readonly #chunks = new Map<number, Uint8Array>()
  #lastIndex = -1
  #last: Uint8Array | undefined
  /** One more than the highest cluster below the limit that has a refcount. */
  end = 0

  /**
   * @param table host offsets of the refcount blocks; those that are no cluster inside the file must be 0 here.
   * @param limit clusters of the file: `end` does not go beyond.
   */
  static async read(
    storage: Storage,
    geometry: Geometry,
    table: readonly number[],
    limit: number,
  ): Promise<RefcountOnes> {
    const ones = new RefcountOnes()
    const { refcountsPerBlock, refcountBits } = geometry
    const blocks = table
      .map((offset, index) => ({ offset, index }))
      .filter(({ offset }) => offset !== 0)
      .sort((a, b) => a.offset - b.offset)
    if (blocks.length * refcountsPerBlock > MAX_REFCOUNTS)
      throw unsupported(storage.name, `${blocks.length} refcount blocks are more than drydisk counts`)
    let next = 0
    const offsets = Float64Array.from(blocks, ({ offset }) => offset)
    await readPieces(storage, offsets, geometry.clusterSize, (_offset, bytes) => {
      const first = (blocks[next++]?.index ?? 0) * refcountsPerBlock
      if (!isZero(bytes)) ones.#addBlock(first, bytes, refcountsPerBlock, refcountBits, limit)
    })
    return ones
  }

  /** Eight refcounts make a byte of bits; a block holds a multiple of eight. */
  #addBlock(first: number, bytes: Uint8Array, count: number, bits: number, limit: number): void {
    let last = -1
    for (let index = 0; index < count; index += 8) {
      let set = 0
      let any = 0
      for (let bit = 0; bit < 8; bit++) {
        const at = index + bit
        const refcount =
          bits === 16
            ? ((bytes[at * 2] as number) << 8) | (bytes[at * 2 + 1] as number)
            : readRefcount(bytes, at, bits)
        if (refcount === 0) continue
        any = bit + 1
        if (refcount === 1) set |= 1 << bit
      }
      if (any > 0) last = index + any - 1
      if (set !== 0)
        this.#chunkForWrite(Math.floor((first + index) / CHUNK))[((first + index) % CHUNK) >>> 3] = set
    }
    if (last >= 0) this.end = Math.max(this.end, Math.min(first + last + 1, limit))
  }

  #chunk(index: number): Uint8Array | undefined {
    if (index !== this.#lastIndex) {
      this.#last = this.#chunks.get(index)
      this.#lastIndex = index
    }
    return this.#last
  }

  #chunkForWrite(index: number): Uint8Array {
    let chunk = this.#chunk(index)
    if (chunk === undefined) {
      chunk = new Uint8Array(CHUNK >>> 3)
      this.#chunks.set(index, chunk)
      this.#last = chunk
    }
    return chunk
  }

  has(cluster: number): boolean {
    const chunk = this.#chunk(Math.floor(cluster / CHUNK))
    if (chunk === undefined) return false
    const bit = cluster % CHUNK
    return (((chunk[bit >>> 3] as number) >>> (bit & 7)) & 1) !== 0
  }

  /** First of the clusters whose refcount is 1 where `one` is false, or something else where it is true; `end` if there is none. */
  nextOther(from: number, end: number, one: boolean): number {
    const whole = one ? 0xff : 0
    for (let at = from; at < end; ) {
      const base = Math.floor(at / CHUNK) * CHUNK
      const chunk = this.#chunk(base / CHUNK)
      const stop = Math.min(end, base + CHUNK)
      if (chunk === undefined) {
        if (one) return at
        at = stop
        continue
      }
      while (at < stop)
        if ((at & 7) === 0 && at + 8 <= stop && chunk[(at - base) >>> 3] === whole) at += 8
        else if (((((chunk[(at - base) >>> 3] as number) >>> (at & 7)) & 1) !== 0) !== one) return at
        else at++
    }
    return end
  }
}
