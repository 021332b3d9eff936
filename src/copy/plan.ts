import type { RangeSet } from '../bytes/range-set.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { backedPieces } from './backing-pieces.ts'
import type { Planner } from './planner.ts'
import { type SourcePiece, sourcePieces, sourceSize } from './source-pieces.ts'
import type { Task } from './task.ts'

/** How far a conversion is, in bytes. */
export interface CopyProgress {
  /** Bytes of the disk that are dealt with. */
  readonly done: number
  /** Bytes of the disk. */
  readonly total: number
  /** Bytes that went into the target so far. */
  readonly written: number
}

/** What every way out of an image takes. */
export interface CopyOptions {
  /** Byte ranges of the sources, one after another, whose content nobody wants: not read, and zeros in the target. */
  readonly free?: RangeSet
  /** Aborted: `ERR_ABORTED`, and the target is what it was. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: CopyProgress) => void
}

/** Bytes of one task: long enough for the host to be fast, few enough to be held several times. */
export const TASK_BYTES = 2 << 20
export const SPARSE_SIZE = 4096

/** Knows where files of the host have holes. */
export interface HoleFinder {
  /** The piece, or its parts where some of it is a hole. */
  parts(piece: SourcePiece): AsyncIterable<SourcePiece>
}

interface PlanOptions {
  readonly free?: RangeSet
  readonly backing?: BlockDevice
  readonly sparseSize?: number
  readonly holes?: HoleFinder | undefined
}

/** Bytes of all sources. */
export function totalSize(sources: readonly BlockDevice[]): number {
  return sources.reduce((sum, _, index) => sum + sourceSize(sources, index), 0)
}

/** The tasks that make the target. */
export async function* planned(
  sources: readonly BlockDevice[],
  planner: Planner,
  { free, backing, sparseSize = SPARSE_SIZE, holes }: PlanOptions,
  shared: number | undefined,
): AsyncIterable<Task> {
  const allocate = sparseSize === 0
  for await (const pieces of sourcePieces(sources, free, allocate)) {
    const all = backing === undefined ? pieces : await backedPieces(pieces, backing, shared, allocate)
    for (const piece of all)
      if (holes === undefined || piece.kind !== 'data') {
        planner.add(piece)
        yield* planner.take()
      } else
        for await (const part of holes.parts(piece)) {
          planner.add(part)
          yield* planner.take()
        }
  }
  planner.finish()
  yield* planner.take()
}
