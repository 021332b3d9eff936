import type { BlockDevice, Extent } from './block-device.ts'
import { checkRange, checkWritable } from './range.ts'
import { type Segment, SegmentMap } from './segment-map.ts'

/**
 * A device made of segments of others, one after another, each linear or striped: a logical volume. Closing it leaves the
 * devices open.
 */
export class SegmentDevice implements BlockDevice {
  readonly #map: SegmentMap<BlockDevice>
  readonly #devices: readonly BlockDevice[]
  readonly #readOnly: string | undefined

  /**
   * `ERR_INVALID_ARGUMENT` unless each area lies inside its device.
   * @param options.readOnly why nothing is written to it, in words that follow "the device"; it may be written to when left out.
   */
  constructor(segments: readonly Segment<BlockDevice>[], options: { readonly readOnly?: string } = {}) {
    for (const { length, areas } of segments)
      for (const { device, offset } of areas) checkRange(device.size, offset, length / areas.length)
    this.#map = new SegmentMap(segments)
    this.#devices = [...new Set(segments.flatMap(({ areas }) => areas.map(({ device }) => device)))]
    this.#readOnly = options.readOnly
  }

  get size(): number {
    return this.#map.size
  }

  get writable(): boolean {
    return this.#readOnly === undefined && this.#devices.every(device => device.writable)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.size, offset, into.length)
    for (const piece of this.#map.pieces(offset, into.length))
      await piece.device.read(
        piece.offset,
        into.subarray(piece.at - offset, piece.at - offset + piece.length),
      )
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    checkWritable(this.writable, this.#name())
    checkRange(this.size, offset, from.length)
    for (const piece of this.#map.pieces(offset, from.length))
      await piece.device.write(
        piece.offset,
        from.subarray(piece.at - offset, piece.at - offset + piece.length),
      )
  }

  async erase(offset: number, length: number): Promise<void> {
    checkWritable(this.writable, this.#name())
    checkRange(this.size, offset, length)
    for (const { device, start, end } of this.#map.places(offset, length))
      await device.erase(start, end - start)
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    checkRange(this.size, offset, length)
    let last: Extent | undefined
    for await (const extent of this.#extents(offset, length))
      if (last?.kind === extent.kind && last.depth === extent.depth)
        last = { ...last, length: last.length + extent.length }
      else {
        if (last !== undefined) yield last
        last = extent
      }
    if (last !== undefined) yield last
  }

  async *#extents(offset: number, length: number): AsyncIterable<Extent> {
    for (const { segment, start, from, to } of this.#map.windows(offset, length)) {
      const one = new SegmentMap([segment])
      // A range is contiguous in each area: one walk through each, however many chunks there are.
      const cursors = new Map<BlockDevice, ExtentCursor[]>()
      for (const place of one.places(from, to - from)) {
        const list = cursors.get(place.device) ?? []
        cursors.set(place.device, list)
        list.push(new ExtentCursor(place.device, place.start, place.end))
      }
      try {
        for (const piece of one.pieces(from, to - from)) {
          const cursor = cursors.get(piece.device)?.find(each => each.holds(piece.offset))
          for (let done = 0; cursor !== undefined && done < piece.length; ) {
            const extent = await cursor.at(piece.offset + done)
            const run = Math.min(piece.length - done, extent.offset + extent.length - piece.offset - done)
            yield { offset: start + piece.at + done, length: run, kind: extent.kind, depth: extent.depth }
            done += run
          }
        }
      } finally {
        for (const list of cursors.values()) for (const cursor of list) await cursor.close()
      }
    }
  }

  async flush(): Promise<void> {
    for (const device of this.#devices) await device.flush()
  }

  async close(): Promise<void> {}

  #name(): string {
    return this.#readOnly === undefined ? 'the device' : `the device ${this.#readOnly}, so it`
  }
}

/** Walks once through the extents of a range. */
class ExtentCursor {
  readonly #start: number
  readonly #end: number
  readonly #extents: AsyncIterator<Extent>
  #extent: Extent | undefined

  constructor(device: BlockDevice, start: number, end: number) {
    this.#start = start
    this.#end = end
    this.#extents = device.extents(start, end - start)[Symbol.asyncIterator]()
  }

  holds(offset: number): boolean {
    return offset >= this.#start && offset < this.#end
  }

  /** The extent with this offset. Offsets may only grow. */
  async at(offset: number): Promise<Extent> {
    while (this.#extent === undefined || this.#extent.offset + this.#extent.length <= offset) {
      const next = await this.#extents.next()
      if (next.done === true) throw new Error('extents end before the range does')
      this.#extent = next.value
    }
    return this.#extent
  }

  async close(): Promise<void> {
    await this.#extents.return?.()
  }
}
