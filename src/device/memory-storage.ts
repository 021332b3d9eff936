import { DrydiskError } from '../errors.ts'
import { SparseBytes } from './sparse-bytes.ts'
import type { Storage } from './storage.ts'

/** What the file is, apart from who has it open: several `MemoryStorage` may share one. */
export interface MemoryFile {
  bytes: SparseBytes
  size: number
}

/** The error of a format that asks for bytes past the end of its file. */
export function pastTheEnd(name: string, offset: number, length: number, size: number): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `${name}: ${length} bytes at offset ${offset} were asked for, but the file ends at ${size}; it is truncated or damaged`,
    { path: name, offset, length, size },
  )
}

/** A `Storage` in memory, sparse: memory grows with what is written, not with the size. */
export class MemoryStorage implements Storage {
  readonly name: string
  readonly writable: boolean
  readonly #file: MemoryFile

  /** @param content initial content, its length in bytes, or a file to share. */
  constructor(
    content: Uint8Array | number | MemoryFile = 0,
    options: { readonly name?: string; readonly writable?: boolean } = {},
  ) {
    this.name = options.name ?? 'memory'
    this.writable = options.writable ?? true
    if (typeof content === 'number') this.#file = { bytes: new SparseBytes(), size: content }
    else if (content instanceof Uint8Array) {
      this.#file = { bytes: new SparseBytes(), size: content.length }
      this.#file.bytes.write(0, content)
    } else this.#file = content
  }

  get size(): number {
    return this.#file.size
  }

  /** A copy of the whole content. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.#file.size)
    this.#file.bytes.read(0, bytes)
    return bytes
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (!(offset >= 0 && offset + into.length <= this.#file.size))
      throw pastTheEnd(this.name, offset, into.length, this.#file.size)
    this.#file.bytes.read(offset, into)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#checkWritable()
    this.#file.bytes.write(offset, from)
    this.#file.size = Math.max(this.#file.size, offset + from.length)
  }

  async truncate(size: number): Promise<void> {
    this.#checkWritable()
    if (size < this.#file.size) this.#file.bytes.erase(size, this.#file.size - size)
    this.#file.size = size
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {}

  #checkWritable(): void {
    if (!this.writable)
      throw new DrydiskError('EROFS', `${this.name} is open for reading only`, { path: this.name })
  }
}
