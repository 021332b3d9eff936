import type { Range } from '../bytes/range-set.ts'

/** A part of another device that a segment is made of. */
export interface Area<Device> {
  readonly device: Device
  /** Byte offset in the device. */
  readonly offset: number
}

/**
 * A run of a composed device, as a line of a device-mapper table (linear, striped): one area holds it as it is; of several, each
 * holds every n-th chunk, one behind the other (Linux, drivers/md/dm-stripe.c).
 */
export interface Segment<Device> {
  /** Bytes; a multiple of `chunk` times the number of areas, where there are several. */
  readonly length: number
  /** At least one. */
  readonly areas: readonly Area<Device>[]
  /** Bytes; of no meaning with one area. */
  readonly chunk: number
}

/** A run in one area: `at` is the offset in the composed device, `offset` that in the area's device. */
export interface Piece<Device> {
  readonly device: Device
  readonly at: number
  readonly offset: number
  readonly length: number
}

/** A range of a segment, in its own offsets. */
export interface SegmentWindow<Device> {
  readonly segment: Segment<Device>
  /** Where the segment begins in the composed device. */
  readonly start: number
  readonly from: number
  readonly to: number
}

/** Where the bytes of a composed device lie. */
export class SegmentMap<Device> {
  readonly size: number
  readonly #segments: readonly Segment<Device>[]
  readonly #starts: readonly number[]

  constructor(segments: readonly Segment<Device>[]) {
    const starts: number[] = []
    let size = 0
    for (const { length } of segments) {
      starts.push(size)
      size += length
    }
    this.#segments = segments
    this.#starts = starts
    this.size = size
  }

  /** The segments of a range, in order. */
  *windows(offset: number, length: number): Iterable<SegmentWindow<Device>> {
    let low = 0
    let high = this.#starts.length
    while (high - low > 1) {
      const middle = (low + high) >>> 1
      if ((this.#starts[middle] ?? 0) <= offset) low = middle
      else high = middle
    }
    const end = offset + length
    for (let index = low; index < this.#segments.length; index++) {
      const [segment, start] = [this.#segments[index], this.#starts[index]]
      if (segment === undefined || start === undefined || start >= end) return
      const from = Math.max(0, offset - start)
      const to = Math.min(segment.length, end - start)
      if (from < to) yield { segment, start, from, to }
    }
  }

  /** The range piece by piece, in order. */
  *pieces(offset: number, length: number): Iterable<Piece<Device>> {
    for (const window of this.windows(offset, length)) yield* piecesOf(window)
  }

  /**
   * The range as one run of each area that holds any of it: a range of a striped segment is contiguous in each of its areas. Not
   * in the order of the composed device.
   */
  *places(offset: number, length: number): Iterable<Range & { readonly device: Device }> {
    for (const { segment, from, to } of this.windows(offset, length)) {
      const { areas, chunk } = segment
      for (const [index, area] of areas.entries()) {
        const start = areas.length === 1 ? from : withinArea(from, index, areas.length, chunk)
        const end = areas.length === 1 ? to : withinArea(to, index, areas.length, chunk)
        if (start < end) yield { device: area.device, start: area.offset + start, end: area.offset + end }
      }
    }
  }
}

function* piecesOf<Device>({ segment, start, from, to }: SegmentWindow<Device>): Iterable<Piece<Device>> {
  const { areas, chunk } = segment
  const [first] = areas
  if (areas.length === 1 && first !== undefined) {
    yield { device: first.device, at: start + from, offset: first.offset + from, length: to - from }
    return
  }
  for (let at = from; at < to; ) {
    const number = Math.floor(at / chunk)
    const length = Math.min((number + 1) * chunk, to) - at
    const area = areas[number % areas.length]
    if (area === undefined) return
    const offset = area.offset + Math.floor(number / areas.length) * chunk + (at % chunk)
    yield { device: area.device, at: start + at, offset, length }
    at += length
  }
}

/** How many bytes of the first `at` of a striped segment lie in the area with this number. */
function withinArea(at: number, index: number, areas: number, chunk: number): number {
  const number = Math.floor(at / chunk)
  const rows = Math.floor(number / areas)
  const last = number % areas
  if (index < last) return (rows + 1) * chunk
  return rows * chunk + (index === last ? at % chunk : 0)
}
