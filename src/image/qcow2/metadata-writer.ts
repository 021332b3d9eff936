import type { Storage } from '../../device/storage.ts'

/** Neighbours are written together up to this many bytes. */
const MAX_WRITE = 1 << 20

/** Writes tables in the order in which they are complete, neighbours in one piece. */
export class MetadataWriter {
  readonly #storage: Storage
  readonly #parts: Uint8Array[] = []
  #start = 0
  #length = 0

  constructor(storage: Storage) {
    this.#storage = storage
  }

  /** The bytes belong to the writer from now on. */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    if (offset !== this.#start + this.#length || this.#length + bytes.length > MAX_WRITE) await this.finish()
    if (this.#length === 0) this.#start = offset
    this.#parts.push(bytes)
    this.#length += bytes.length
  }

  /** Writes what is held back. */
  async finish(): Promise<void> {
    const parts = this.#parts.splice(0)
    const length = this.#length
    this.#length = 0
    const [only] = parts
    if (only === undefined) return
    let bytes = only
    if (parts.length > 1) {
      bytes = new Uint8Array(length)
      let at = 0
      for (const part of parts) {
        bytes.set(part, at)
        at += part.length
      }
    }
    await this.#storage.write(this.#start, bytes)
  }
}
