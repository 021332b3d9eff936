import type { BlockDevice } from './block-device.ts'
import type { Storage } from './storage.ts'

/**
 * A run of a device and where its stored bytes lie, for code that moves bytes itself: several reads in flight, or a compressed
 * cluster as it is. `offset` and `length` are guest bytes.
 */
export type MappedRun =
  /** Reads as zeros. `allocated`: the layer says so by an entry of its own, rather than by having none. */
  | (RunPlace & {
      readonly kind: 'zero'
      readonly allocated: boolean
      readonly storage?: Storage
      readonly host?: number
    })
  /** Stored as it is, in one piece from `host` of `storage`; bytes past the storage's end read as zeros. */
  | (RunPlace & { readonly kind: 'data'; readonly storage: Storage; readonly host: number })
  /** One compressed cluster, or the part of it from `within` of its decompressed bytes. */
  | (RunPlace & {
      readonly kind: 'compressed'
      readonly storage: Storage
      readonly host: number
      /** Stored bytes from `host` that the stream may take; the stream's own end comes sooner. */
      readonly stored: number
      readonly within: number
      readonly clusterSize: number
      readonly compression: 'zlib' | 'zstd'
    })
  /** Has to be read through the device: its bytes have no place of their own yet. */
  | (RunPlace & { readonly kind: 'staged' })

/** Which bytes of the device a run is, and whose. */
export interface RunPlace {
  readonly offset: number
  /** Bytes; never 0. */
  readonly length: number
  /** Which layer answers: 0 is the device itself, 1 its backing file, and so on. */
  readonly depth: number
}

/** A device that can say where its bytes lie. Batches bound what is held at once; runs are gapless and in order. */
export interface MappedDevice {
  mappedRuns(offset: number, length: number): AsyncIterable<readonly MappedRun[]>
}

export function isMapped(device: object): device is MappedDevice {
  return 'mappedRuns' in device && typeof device.mappedRuns === 'function'
}

/** Runs of one batch. */
const BATCH = 1024

/** Gathers runs in order, merging what goes on, into batches. */
export class RunBatch {
  #runs: MappedRun[] = []
  #last: MappedRun | undefined

  /** Whether there is a batch to be taken. */
  get full(): boolean {
    return this.#runs.length >= BATCH
  }

  add(run: MappedRun): void {
    const merged = this.#last === undefined ? undefined : joined(this.#last, run)
    if (merged === undefined && this.#last !== undefined) this.#runs.push(this.#last)
    this.#last = merged ?? run
  }

  /** The runs that nothing more can be merged with. */
  take(): readonly MappedRun[] {
    const runs = this.#runs
    this.#runs = []
    return runs
  }

  /** Everything. */
  takeAll(): readonly MappedRun[] {
    if (this.#last !== undefined) this.#runs.push(this.#last)
    this.#last = undefined
    return this.take()
  }
}

/** Two neighbours as one run, where they are alike. */
function joined(a: MappedRun, b: MappedRun): MappedRun | undefined {
  if (a.depth !== b.depth) return undefined
  const length = a.length + b.length
  if (a.kind === 'data')
    return b.kind === 'data' && b.storage === a.storage && b.host === a.host + a.length
      ? { ...a, length }
      : undefined
  if (a.kind === 'staged') return b.kind === 'staged' ? { ...a, length } : undefined
  if (a.kind !== 'zero' || b.kind !== 'zero' || a.allocated !== b.allocated) return undefined
  if (a.host === undefined) return b.host === undefined ? { ...a, length } : undefined
  return b.storage === a.storage && b.host === a.host + a.length ? { ...a, length } : undefined
}

/**
 * The runs of any device, one level of batches for all: of one that is not mapped, what its extents say, all of it to be
 * read through the device.
 * @param depth added to the runs' own.
 */
export async function* runsOf(
  device: Pick<BlockDevice, 'extents'> & object,
  offset: number,
  length: number,
  depth = 0,
): AsyncIterable<readonly MappedRun[]> {
  if (isMapped(device)) {
    for await (const runs of device.mappedRuns(offset, length))
      yield depth === 0 ? runs : runs.map(run => ({ ...run, depth: run.depth + depth }))
    return
  }
  const batch = new RunBatch()
  for await (const extent of device.extents(offset, length)) {
    const place = { offset: extent.offset, length: extent.length, depth: extent.depth + depth }
    batch.add(
      extent.kind === 'zero' ? { ...place, kind: 'zero', allocated: false } : { ...place, kind: 'staged' },
    )
    if (batch.full) yield batch.take()
  }
  const rest = batch.takeAll()
  if (rest.length > 0) yield rest
}
