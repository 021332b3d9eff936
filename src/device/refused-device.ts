import { DrydiskError, type ErrorCode } from '../errors.ts'
import type { BlockDevice, Extent } from './block-device.ts'

/** What is known to be there and cannot be read: every access is an error that says why. */
export class RefusedDevice implements BlockDevice {
  readonly size: number
  readonly writable = false
  readonly #code: ErrorCode
  readonly #message: string

  constructor(size: number, code: ErrorCode, message: string) {
    this.size = size
    this.#code = code
    this.#message = message
  }

  async read(): Promise<void> {
    throw this.#error()
  }
  async write(): Promise<void> {
    throw this.#error()
  }
  async erase(): Promise<void> {
    throw this.#error()
  }
  async *extents(): AsyncIterable<Extent> {
    yield* []
    throw this.#error()
  }
  async flush(): Promise<void> {}
  async close(): Promise<void> {}

  #error(): DrydiskError {
    return new DrydiskError(this.#code, this.#message)
  }
}
