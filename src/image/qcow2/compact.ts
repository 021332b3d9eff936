import type { Storage } from '../../device/storage.ts'

export interface CompactOptions {
  /** Aborting stops between two writes; what is done until then stays (the content is the same). */
  readonly signal?: AbortSignal
  /** Bytes of clusters that are moved so far, and in all as far as is known. */
  readonly onProgress?: (done: number, total: number) => void
}

export interface CompactResult {
  /** Length of the file in bytes. */
  readonly before: number
  readonly after: number
  /** Clusters that were moved, tables included; each as often as it was. */
  readonly moved: number
  readonly clusterSize: number
  /** Free clusters that are left below the end of the file. */
  readonly slack: number
}

/** Moves clusters from the tail of the file into free ones below, and cuts the file. */
export async function compactQcow2(_storage: Storage, _options: CompactOptions = {}): Promise<CompactResult> {
  throw new Error('not yet')
}
