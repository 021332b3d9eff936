import type { BlockDevice, Extent } from './block-device.ts'
import type { MappedDevice, MappedRun } from './mapped-runs.ts'
import { checkRange, checkWritable } from './range.ts'
import type { Storage } from './storage.ts'
import { zeros } from './zeros.ts'

/**
 * The bytes of a `Storage` as a device of fixed size, written through at once. The size need not be a multiple of a sector.
 * For an image that someone relies on, use `openImage`, which stages.
 */
export class StorageDevice implements BlockDevice, MappedDevice {
  readonly size: number
  readonly writable: boolean
  readonly storage: Storage

  /** @param size bytes; the storage's length now when left out. Bytes past the storage's end read as zeros. */
  constructor(storage: Storage, size: number = storage.size) {
    this.storage = storage
    this.size = size
    this.writable = storage.writable
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.size, offset, into.length)
    const present = Math.max(0, Math.min(into.length, this.storage.size - offset))
    if (present > 0) await this.storage.read(offset, into.subarray(0, present))
    into.fill(0, present)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    checkWritable(this.writable, this.storage.name)
    checkRange(this.size, offset, from.length)
    await this.storage.write(offset, from)
  }

  async erase(offset: number, length: number): Promise<void> {
    checkWritable(this.writable, this.storage.name)
    checkRange(this.size, offset, length)
    const end = Math.min(offset + length, this.storage.size)
    if (end <= offset) return
    if (end === this.storage.size) {
      // Cutting and growing again is the one portable way to give a file's blocks back.
      await this.storage.truncate(offset)
      await this.storage.truncate(end)
      return
    }
    for (let at = offset; at < end; ) {
      const chunk = zeros(end - at)
      await this.storage.write(at, chunk)
      at += chunk.length
    }
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    checkRange(this.size, offset, length)
    const end = offset + length
    const stored = Math.max(offset, Math.min(end, this.storage.size))
    if (stored > offset) yield* this.#stored(offset, stored - offset)
    if (end > stored) yield { offset: stored, length: end - stored, kind: 'zero', depth: 0 }
  }

  async *#stored(offset: number, length: number): AsyncIterable<Extent> {
    const runs = this.storage.stored?.(offset, length)
    if (runs === undefined) {
      yield { offset, length, kind: 'data', depth: 0 }
      return
    }
    let held: Extent | undefined
    for await (const run of runs) {
      const kind = run.zero ? 'zero' : 'data'
      if (held?.kind === kind) held = { ...held, length: held.length + run.length }
      else {
        if (held !== undefined) yield held
        held = { offset: run.offset, length: run.length, kind, depth: 0 }
      }
    }
    if (held !== undefined) yield held
  }

  async *mappedRuns(offset: number, length: number): AsyncIterable<readonly MappedRun[]> {
    const { storage } = this
    const runs: MappedRun[] = []
    for await (const { kind, ...place } of this.extents(offset, length))
      runs.push(
        kind === 'data'
          ? { ...place, kind, storage, host: place.offset }
          : { ...place, kind, allocated: false },
      )
    if (runs.length > 0) yield runs
  }

  async flush(): Promise<void> {
    if (this.writable) await this.storage.flush()
  }

  async close(): Promise<void> {
    await this.storage.close()
  }
}
