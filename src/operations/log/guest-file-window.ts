import { LruCache } from '../../bytes/lru-cache.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs, GuestPath } from '../../guest/guest-fs.ts'

const CHUNK = 1 << 18
const CHUNKS = 64

/** Random reads of one file, through a cache of 16 MiB. */
export class GuestFileWindow {
  readonly size: number
  readonly #guest: GuestFs
  readonly #path: GuestPath
  readonly #chunks = new LruCache<number, Uint8Array>(CHUNKS)

  constructor(guest: GuestFs, path: GuestPath, size: number) {
    this.#guest = guest
    this.#path = path
    this.size = size
  }

  /** All of it, or `ERR_CORRUPT` where the file is too short. The bytes are not to be written to. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    if (!(offset >= 0 && offset + length <= this.size))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${length} bytes at ${offset} lie outside the ${this.size} bytes of the file`,
      )
    const first = Math.floor(offset / CHUNK)
    const start = offset - first * CHUNK
    if (start + length <= CHUNK) return (await this.#chunk(first)).subarray(start, start + length)
    const into = new Uint8Array(length)
    for (let done = 0; done < length; ) {
      const at = offset + done
      const index = Math.floor(at / CHUNK)
      const piece = (await this.#chunk(index)).subarray(
        at - index * CHUNK,
        at - index * CHUNK + length - done,
      )
      if (piece.length === 0)
        throw new DrydiskError(
          'ERR_CORRUPT',
          `the file ends at ${at}, and ${length} bytes were expected at ${offset}`,
        )
      into.set(piece, done)
      done += piece.length
    }
    return into
  }

  async #chunk(index: number): Promise<Uint8Array> {
    const known = this.#chunks.get(index)
    if (known) return known
    const chunk = new Uint8Array(Math.min(CHUNK, this.size - index * CHUNK))
    let done = 0
    while (done < chunk.length) {
      const count = await this.#guest.readAt(this.#path, index * CHUNK + done, chunk.subarray(done))
      if (count === 0) break
      done += count
    }
    const filled = chunk.subarray(0, done)
    this.#chunks.set(index, filled)
    return filled
  }
}
