import type { BlockDevice } from '../device/block-device.ts'
import { type MappedRun, runsOf } from '../device/mapped-runs.ts'

/** A run of a disk, with the names and meanings of `qemu-img map --output=json`. */
export interface MapEntry {
  /** Bytes. */
  readonly start: number
  readonly length: number
  /** The image of the chain that it is from: 0 is the image itself, 1 its backing file. */
  readonly depth: number
  /** Whether an image of the chain has something to say of it; what none has reads as zeros. */
  readonly present: boolean
  /** Reads as zeros. */
  readonly zero: boolean
  /** Has to be read to know. */
  readonly data: boolean
  readonly compressed: boolean
  /** Where it lies in `filename`, for what is stored as it is. */
  readonly offset?: number
  readonly filename?: string
}

/**
 * Tells where the bytes of a disk are: gapless, in order, neighbours that are alike as one, in batches.
 * A file's own holes are not seen (Node.js cannot ask for them): a raw image is one run of data.
 */
export async function* mapDevice(
  device: BlockDevice,
  start: number,
  length: number,
): AsyncIterable<readonly MapEntry[]> {
  let last: MapEntry | undefined
  for await (const runs of runsOf(device, start, length)) {
    const entries: MapEntry[] = []
    for (const run of runs) {
      const entry = entryOf(run)
      if (last !== undefined && goesOn(last, entry)) {
        last = { ...last, length: last.length + entry.length }
        continue
      }
      if (last !== undefined) entries.push(last)
      last = entry
    }
    if (entries.length > 0) yield entries
  }
  if (last !== undefined) yield [last]
}

function entryOf(run: MappedRun): MapEntry {
  const place = { start: run.offset, length: run.length, depth: run.depth }
  switch (run.kind) {
    case 'data':
      return {
        ...place,
        present: true,
        zero: false,
        data: true,
        compressed: false,
        offset: run.host,
        filename: run.storage.name,
      }
    case 'compressed':
      return { ...place, present: true, zero: false, data: true, compressed: true }
    case 'staged':
      return { ...place, present: true, zero: false, data: true, compressed: false }
    case 'zero':
      return {
        ...place,
        present: run.allocated,
        zero: true,
        data: false,
        compressed: false,
        ...(run.host !== undefined && run.storage !== undefined
          ? { offset: run.host, filename: run.storage.name }
          : {}),
      }
  }
}

function goesOn(a: MapEntry, b: MapEntry): boolean {
  return (
    a.depth === b.depth &&
    a.present === b.present &&
    a.zero === b.zero &&
    a.data === b.data &&
    a.compressed === b.compressed &&
    a.filename === b.filename &&
    (a.offset === undefined ? b.offset === undefined : b.offset === a.offset + a.length)
  )
}
