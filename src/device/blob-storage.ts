import { DrydiskError } from '../errors.ts'
import { pastTheEnd } from './memory-storage.ts'
import type { Storage } from './storage.ts'

/** A `Blob` (a `File` of a browser is one) as a storage that is only read. Nothing of it is held in memory. */
export class BlobStorage implements Storage {
  readonly name: string
  readonly writable = false
  readonly blob: Blob

  /** @param name for messages; that of a `File` when left out. */
  constructor(blob: Blob, name = 'name' in blob ? String(blob.name) : 'blob') {
    this.blob = blob
    this.name = name
  }

  get size(): number {
    return this.blob.size
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (offset + into.length > this.size) throw pastTheEnd(this.name, offset, into.length, this.size)
    try {
      into.set(new Uint8Array(await this.blob.slice(offset, offset + into.length).arrayBuffer()))
    } catch (error) {
      // A file that was changed or removed since it was chosen (NotReadableError of the File API).
      throw new DrydiskError(
        'EIO',
        `${this.name}: cannot be read; choose the file again`,
        { path: this.name },
        error,
      )
    }
  }

  async write(): Promise<void> {
    throw this.#readOnly()
  }
  async truncate(): Promise<void> {
    throw this.#readOnly()
  }
  async flush(): Promise<void> {}
  async close(): Promise<void> {}

  #readOnly(): DrydiskError {
    return new DrydiskError(
      'EROFS',
      `${this.name} is only read; put a PatchedStorage above it to change it`,
      {
        path: this.name,
      },
    )
  }
}
