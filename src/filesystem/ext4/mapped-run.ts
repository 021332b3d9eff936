import type { BlockNumber } from './context.ts'

/** A run of a file's blocks that lie alike. */
export interface MappedRun {
  /** The first block of the run in the file. */
  readonly logical: number
  /** Blocks; at least 1. As many as one look shows: the next run may continue this one. */
  readonly count: number
  /** `unwritten` blocks are allocated and read as zeros. */
  readonly kind: 'data' | 'hole' | 'unwritten'
  /** The first block of the run in the volume; 0 for a hole. */
  readonly block: BlockNumber
}
