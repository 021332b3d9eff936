import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'

/**
 * A storage whose reads and writes fail once the signal is aborted: what goes through tables of gigabytes, or writes them anew, stops
 * at the next one. Cutting, flushing and closing go on, so that what was begun can be taken back.
 * Errors: `ERR_ABORTED` besides those of the storage.
 */
export function stoppable(storage: Storage, signal: AbortSignal | undefined): Storage {
  return signal === undefined ? storage : new StoppableStorage(storage, signal)
}

class StoppableStorage implements Storage {
  readonly name: string
  readonly writable: boolean
  readonly readPieces?: (offsets: ArrayLike<number>, length: number, into: Uint8Array) => Promise<void>
  readonly #storage: Storage
  readonly #signal: AbortSignal

  constructor(storage: Storage, signal: AbortSignal) {
    this.name = storage.name
    this.writable = storage.writable
    this.#storage = storage
    this.#signal = signal
    if (storage.readPieces !== undefined)
      this.readPieces = async (offsets, length, into) => {
        this.#check()
        await storage.readPieces?.(offsets, length, into)
      }
  }

  get size(): number {
    return this.#storage.size
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.#check()
    await this.#storage.read(offset, into)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#check()
    await this.#storage.write(offset, from)
  }

  truncate(size: number): Promise<void> {
    return this.#storage.truncate(size)
  }

  flush(): Promise<void> {
    return this.#storage.flush()
  }

  close(): Promise<void> {
    return this.#storage.close()
  }

  #check(): void {
    if (this.#signal.aborted)
      throw new DrydiskError('ERR_ABORTED', `work on ${this.name} was stopped`, { path: this.name })
  }
}
