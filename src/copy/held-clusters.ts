import { type Range, RangeSet } from '../bytes/range-set.ts'
import type { MappedRun } from '../device/mapped-runs.ts'
import type { Qcow2Image } from '../image/qcow2/qcow2-image.ts'
import { readsAsZero } from './zero-blocks.ts'

/** Bytes of one read. */
const PIECE = 2 << 20
/** Reads at the same time. */
const READS = 4

/**
 * Runs of whole clusters for which the image's own file holds something, data or room for it; not what its backing file holds.
 * The image may be changed meanwhile.
 * @param start on a cluster boundary.
 * @param end on a cluster boundary, or the end of the disk.
 */
export async function* heldClusters(image: Qcow2Image, start: number, end: number): AsyncGenerator<Range> {
  const { clusterSize } = image
  let last: Range | undefined
  for await (const runs of image.mappedRuns(start, end - start))
    for (const run of runs) {
      if (!isHeld(run)) continue
      const from = run.offset - (run.offset % clusterSize)
      const to = Math.min(end, Math.ceil((run.offset + run.length) / clusterSize) * clusterSize)
      if (last !== undefined && from <= last.end) last = { start: last.start, end: Math.max(last.end, to) }
      else {
        if (last !== undefined) yield last
        last = { start: from, end: to }
      }
    }
  if (last !== undefined) yield last
}

function isHeld(run: MappedRun): boolean {
  return run.depth === 0 && (run.kind !== 'zero' || run.host !== undefined)
}

/**
 * Runs of clusters that the image's own file holds and that read as zeros. All that it holds is read for that.
 * @param onRead told of the bytes that were looked through, and of all that will be.
 */
export async function zeroClusters(
  image: Qcow2Image,
  onRead: (done: number, total: number) => void,
): Promise<RangeSet> {
  const held: Range[] = []
  for await (const range of heldClusters(image, 0, image.size)) held.push(range)
  const total = held.reduce((sum, { start, end }) => sum + end - start, 0)
  const zeros = new RangeSet()
  const pieces = piecesOf(held)
  let done = 0
  const work = async (): Promise<void> => {
    const buffer = new Uint8Array(PIECE)
    for (const { start, end } of pieces) {
      const bytes = buffer.subarray(0, end - start)
      await image.read(start, bytes)
      for (let at = 0; at < bytes.length; at += image.clusterSize) {
        const cluster = bytes.subarray(at, at + image.clusterSize)
        if (readsAsZero(cluster)) zeros.add(start + at, start + at + cluster.length)
      }
      done += bytes.length
      onRead(done, total)
    }
  }
  await Promise.all(Array.from({ length: READS }, work))
  return zeros
}

/** Pieces of whole clusters, for a cluster is 2 MiB at most. */
function* piecesOf(ranges: readonly Range[]): IterableIterator<Range> {
  for (const { start, end } of ranges)
    for (let at = start; at < end; at += PIECE) yield { start: at, end: Math.min(end, at + PIECE) }
}
