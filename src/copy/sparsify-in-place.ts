import type { BackingPolicy } from '../image/beside-file.ts'

export interface SparsifyInPlaceOptions {
  /** Goes on although something else holds the image. */
  readonly force?: boolean
  /** Which backing and data files may be opened; `beside` when left out. */
  readonly allowBacking?: BackingPolicy
  /** Frees clusters that hold nothing but zeros too, which reads all data; false when left out. */
  readonly dropZeros?: boolean
  /** Finds what could be freed and changes nothing. */
  readonly dryRun?: boolean
  /** Aborted: `ERR_ABORTED`. Before the commit nothing is changed; afterwards the image is valid and just less compact. */
  readonly signal?: AbortSignal
  /** `find` and `free` are short; `move` counts bytes. */
  readonly onProgress?: (phase: 'find' | 'free' | 'move', done: number, total: number) => void
}

export interface SparsifyInPlaceResult {
  /** Bytes of the disk that no filesystem uses. */
  readonly free: number
  /** Bytes of clusters that were given back. */
  readonly dropped: number
  /** Bytes that were moved towards the file's beginning. */
  readonly moved: number
  /** Length of the file in bytes. */
  readonly before: number
  readonly after: number
  /** What stays although it is free, and why: snapshots that hold it, volumes that are not known. */
  readonly warnings: readonly string[]
}

/** Gives back what the filesystems on the disk do not use, and shortens the file: `drydisk sparsify IMAGE`. */
export async function sparsifyInPlace(
  _path: string,
  _options: SparsifyInPlaceOptions = {},
): Promise<SparsifyInPlaceResult> {
  throw new Error('not yet')
}
