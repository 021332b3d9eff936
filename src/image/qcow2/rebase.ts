import { equalBytes, isZero } from '../../bytes/compare.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { type MappedRun, runsOf } from '../../device/mapped-runs.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { readPadded } from './padded-read.ts'
import type { Qcow2Image } from './qcow2-image.ts'
import { type BackingName, planBackingName } from './rebase-header.ts'

/** Bytes compared at a time. */
const STEP = 1 << 20

/** Whether two storages are the same file, opened twice. */
export type SameFile = (a: Storage, b: Storage) => boolean

export interface CopyWork {
  readonly signal?: AbortSignal
  /** Bytes of the disk. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
}

/** Stages the header that names another backing file, or none. The image is to be committed and closed. */
export async function stageBackingName(image: Qcow2Image, backing: BackingName | undefined): Promise<void> {
  const { header, storage } = image.parts
  const cluster = new Uint8Array(header.geometry.clusterSize)
  await readPadded(storage, 0, cluster)
  image.stageHeader(planBackingName(storage.name, cluster, header, backing))
}

/**
 * Stages what makes the disk read over another backing file as it does now: what the image does not have itself and what
 * differs is copied into it.
 * @param backing the new backing file; `undefined` for none.
 * @returns bytes that were copied, and bytes that were marked as zeros.
 */
export async function copyDifferences(
  image: Qcow2Image,
  backing: BlockDevice | undefined,
  { signal, onProgress }: CopyWork,
  sameFile: SameFile,
): Promise<{ readonly copied: number; readonly zeroed: number }> {
  const { clusterSize, size } = image
  const step = Math.max(clusterSize, STEP)
  const old = new Uint8Array(step)
  const next = new Uint8Array(step)
  let copied = 0
  let zeroed = 0
  for await (const { offset, length, before, after } of pairs(image, backing)) {
    onProgress?.({ done: offset, total: size })
    if (isOwn(before) || sameBytes(before, after, sameFile)) continue
    for (let at = offset; at < offset + length; ) {
      if (signal?.aborted)
        throw new DrydiskError('ERR_ABORTED', `rebasing ${image.parts.storage.name} was stopped`)
      // Whole clusters from the second step on.
      const end = Math.min(offset + length, at - (at % clusterSize) + step)
      const oldPart = old.subarray(0, end - at)
      const nextPart = next.subarray(0, end - at)
      if (before.kind === 'zero') oldPart.fill(0)
      else await image.read(at, oldPart)
      if (after === undefined || after.kind === 'zero') nextPart.fill(0)
      else await backing?.read(at, nextPart)
      for (let from = at; from < end; ) {
        const to = Math.min(end, from - (from % clusterSize) + clusterSize)
        const part = oldPart.subarray(from - at, to - at)
        if (!equalBytes(part, nextPart.subarray(from - at, to - at))) {
          if (isZero(part)) {
            await image.zero(from, to - from)
            zeroed += to - from
          } else {
            await image.write(from, part)
            copied += to - from
          }
        }
        from = to
      }
      at = end
    }
  }
  onProgress?.({ done: size, total: size })
  return { copied, zeroed }
}

/** Whether the image itself says what is there, whatever its backing file. */
function isOwn(run: MappedRun): boolean {
  return run.depth === 0 && (run.kind !== 'zero' || run.allocated)
}

interface Pair {
  readonly offset: number
  readonly length: number
  /** What the image reads there, and what it would read over the new backing file (`undefined`: zeros, past its end). */
  readonly before: MappedRun
  readonly after: MappedRun | undefined
}

/** The disk in pieces that are in one run of the image and one of the new backing file. */
async function* pairs(image: Qcow2Image, backing: BlockDevice | undefined): AsyncIterable<Pair> {
  const backed = backing === undefined ? 0 : Math.min(backing.size, image.size)
  const others = backing === undefined ? undefined : single(runsOf(backing, 0, backed, 1))
  let other: MappedRun | undefined
  for await (const before of single(runsOf(image, 0, image.size)))
    for (let at = before.offset; at < before.offset + before.length; ) {
      const end = before.offset + before.length
      if (at >= backed) {
        yield { offset: at, length: end - at, before: from(before, at), after: undefined }
        break
      }
      while (other === undefined || other.offset + other.length <= at) {
        const { value, done } = (await others?.next()) ?? { done: true, value: undefined }
        if (done || value === undefined) throw new TypeError('the runs of a device end before it does')
        other = value
      }
      const stop = Math.min(end, other.offset + other.length)
      yield { offset: at, length: stop - at, before: from(before, at), after: from(other, at) }
      at = stop
    }
}

async function* single(batches: AsyncIterable<readonly MappedRun[]>): AsyncGenerator<MappedRun, undefined> {
  for await (const batch of batches) yield* batch
  return undefined
}

/** What is left of a run from `at` on. */
function from(run: MappedRun, at: number): MappedRun {
  const skipped = at - run.offset
  if (skipped === 0) return run
  const rest = { ...run, offset: at, length: run.length - skipped }
  if (rest.kind === 'data') return { ...rest, host: rest.host + skipped }
  return rest.kind === 'compressed' ? { ...rest, within: rest.within + skipped } : rest
}

/** Whether two runs are known to hold the same, without being read: zeros, or one place of one file. */
function sameBytes(before: MappedRun, after: MappedRun | undefined, sameFile: SameFile): boolean {
  if (before.kind === 'zero') return after === undefined || after.kind === 'zero'
  if (after === undefined || before.kind !== after.kind) return false
  if (before.kind === 'data' && after.kind === 'data')
    return before.host === after.host && sameFile(before.storage, after.storage)
  if (before.kind === 'compressed' && after.kind === 'compressed')
    return (
      before.host === after.host && before.within === after.within && sameFile(before.storage, after.storage)
    )
  return false
}
