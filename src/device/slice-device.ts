import type { BlockDevice, Extent } from './block-device.ts'
import { checkRange } from './range.ts'

/** A window of another device: a partition. Closing it leaves the device below open. */
export class SliceDevice implements BlockDevice {
  readonly base: BlockDevice
  /** Byte offset of the window in `base`. */
  readonly offset: number
  readonly size: number

  /** `ERR_INVALID_ARGUMENT` unless the window lies inside `base`. */
  constructor(base: BlockDevice, offset: number, size: number) {
    checkRange(base.size, offset, size)
    this.base = base
    this.offset = offset
    this.size = size
  }

  get writable(): boolean {
    return this.base.writable
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.size, offset, into.length)
    await this.base.read(this.offset + offset, into)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    checkRange(this.size, offset, from.length)
    await this.base.write(this.offset + offset, from)
  }

  async erase(offset: number, length: number): Promise<void> {
    checkRange(this.size, offset, length)
    await this.base.erase(this.offset + offset, length)
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    checkRange(this.size, offset, length)
    for await (const extent of this.base.extents(this.offset + offset, length))
      yield { ...extent, offset: extent.offset - this.offset }
  }

  async flush(): Promise<void> {
    await this.base.flush()
  }

  async close(): Promise<void> {}
}
