import type { BlockDevice, Extent } from './block-device.ts'
import { checkRange, checkWritable } from './range.ts'

interface Part {
  readonly device: BlockDevice
  /** Where it begins. */
  readonly start: number
}

/**
 * Devices one after another, as one that is read-only. Each but the last is as long as its whole sectors, as for qemu-img. Closing
 * it leaves the devices open.
 */
export class ConcatDevice implements BlockDevice {
  readonly size: number
  readonly writable = false
  readonly #parts: readonly Part[]

  constructor(devices: readonly BlockDevice[]) {
    const parts: Part[] = []
    let start = 0
    for (const [index, device] of devices.entries()) {
      parts.push({ device, start })
      start += index === devices.length - 1 ? device.size : Math.ceil(device.size / 512) * 512
    }
    this.#parts = parts
    this.size = start
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.size, offset, into.length)
    // Half a sector behind a part is nobody's.
    into.fill(0)
    for (const { device, start, from, to } of this.#within(offset, into.length))
      await device.read(from, into.subarray(start + from - offset, start + to - offset))
  }

  async write(): Promise<void> {
    checkWritable(false, 'a concatenation')
  }

  async erase(): Promise<void> {
    checkWritable(false, 'a concatenation')
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    checkRange(this.size, offset, length)
    let last: Extent | undefined
    for await (const extent of this.#pieces(offset, length))
      if (last?.kind === extent.kind && last.depth === extent.depth)
        last = { ...last, length: last.length + extent.length }
      else {
        if (last !== undefined) yield last
        last = extent
      }
    if (last !== undefined) yield last
  }

  async *#pieces(offset: number, length: number): AsyncIterable<Extent> {
    let at = offset
    for (const { device, start, from, to } of this.#within(offset, length)) {
      if (start + from > at) yield { offset: at, length: start + from - at, kind: 'zero', depth: 0 }
      for await (const extent of device.extents(from, to - from))
        yield { ...extent, offset: start + extent.offset }
      at = start + to
    }
    if (at < offset + length) yield { offset: at, length: offset + length - at, kind: 'zero', depth: 0 }
  }

  /** The parts of a range and what of each lies in it, in the part's own offsets. */
  *#within(offset: number, length: number): Iterable<Part & { readonly from: number; readonly to: number }> {
    for (const { device, start } of this.#parts) {
      const from = Math.max(0, offset - start)
      const to = Math.min(device.size, offset + length - start)
      if (from < to) yield { device, start, from, to }
    }
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {}
}
