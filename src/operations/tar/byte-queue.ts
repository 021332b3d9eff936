import { DrydiskError } from '../../errors.ts'

/** Takes a stream of pieces apart at other places than those it comes in. */
export class ByteQueue {
  readonly #pieces: AsyncIterator<Uint8Array>
  #rest: Uint8Array = new Uint8Array(0)
  #offset = 0

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]()
  }

  /** Bytes taken so far. */
  get offset(): number {
    return this.#offset
  }

  /** Up to `most` bytes, none at the end. They are good until the next call. */
  async some(most: number): Promise<Uint8Array> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#pieces.next()
      if (done) return this.#rest
      this.#rest = value
    }
    const taken = this.#rest.subarray(0, most)
    this.#rest = this.#rest.subarray(taken.length)
    this.#offset += taken.length
    return taken
  }

  /** Exactly so many bytes, or none where the stream ends before the first of them. `ERR_CORRUPT` where it ends after. */
  async exactly(length: number): Promise<Uint8Array> {
    const whole = new Uint8Array(length)
    let at = 0
    while (at < length) {
      const piece = await this.some(length - at)
      if (piece.length === 0) {
        if (at === 0) return piece
        throw this.#cut()
      }
      whole.set(piece, at)
      at += piece.length
    }
    return whole
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      const piece = await this.some(left)
      if (piece.length === 0) throw this.#cut()
      left -= piece.length
    }
  }

  async close(): Promise<void> {
    await this.#pieces.return?.()
  }

  #cut(): DrydiskError {
    return new DrydiskError(
      'ERR_CORRUPT',
      `the archive ends in the middle of something, after ${this.#offset} bytes`,
      {
        offset: this.#offset,
      },
    )
  }
}
