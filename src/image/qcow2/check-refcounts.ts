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
      if (isZero(bytes)) return
      for (let index = 0; index < refcountsPerBlock; index++) {
        const refcount =
          refcountBits === 16
            ? ((bytes[index * 2] as number) << 8) | (bytes[index * 2 + 1] as number)
            : readRefcount(bytes, index, refcountBits)
        if (refcount === 0) continue
        const cluster = first + index
        if (cluster >= ones.end && cluster < limit) ones.end = cluster + 1
        if (refcount === 1) ones.#add(cluster)
      }
    })
    return ones
  }

  #chunk(index: number): Uint8Array | undefined {
    if (index !== this.#lastIndex) {
      this.#last = this.#chunks.get(index)
      this.#lastIndex = index
    }
    return this.#last
  }

  #add(cluster: number): void {
    const index = Math.floor(cluster / CHUNK)
    let chunk = this.#chunk(index)
    if (chunk === undefined) {
      chunk = new Uint8Array(CHUNK >>> 3)
      this.#chunks.set(index, chunk)
      this.#last = chunk
    }
    const bit = cluster % CHUNK
    chunk[bit >>> 3] = (chunk[bit >>> 3] ?? 0) | (1 << (bit & 7))
  }

  has(cluster: number): boolean {
    const chunk = this.#chunk(Math.floor(cluster / CHUNK))
    if (chunk === undefined) return false
    const bit = cluster % CHUNK
    return (((chunk[bit >>> 3] as number) >>> (bit & 7)) & 1) !== 0
  }
}
