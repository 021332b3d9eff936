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

interface RunPlace {
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
