import { pastTheEnd } from './memory-storage.ts'
import type { PageOverlay } from './page-overlay.ts'
import { checkWritable } from './range.ts'
import type { Storage } from './storage.ts'

/** A `Storage` whose changes, of its length too, are staged in an overlay; whoever owns the overlay publishes them. */
export class OverlayStorage implements Storage {
  readonly name: string
  readonly writable: boolean
  readonly overlay: PageOverlay

  constructor(overlay: PageOverlay, name: string, writable: boolean) {
    this.overlay = overlay
    this.name = name
    this.writable = writable
  }

  get size(): number {
    return this.overlay.size
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (!(offset >= 0 && offset + into.length <= this.size))
      throw pastTheEnd(this.name, offset, into.length, this.size)
    await this.overlay.read(offset, into)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    checkWritable(this.writable, this.name)
    await this.overlay.write(offset, from)
  }

  async truncate(size: number): Promise<void> {
    checkWritable(this.writable, this.name)
    await this.overlay.truncate(size)
  }

  /** Nothing is stable before the overlay's owner commits. */
  async flush(): Promise<void> {}

  async close(): Promise<void> {}
}
