import type { BlockDevice } from '../device/block-device.ts'
import type { Storage } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'
import { NewFile } from '../image/new-file.ts'
import type { CreateQcow2Options } from '../image/qcow2/create.ts'
import { ImageBuilder } from '../image/qcow2/image-builder.ts'
import { sharedLayer } from './backing-pieces.ts'
import { checkNotSource, plainFiles } from './image-chain.ts'
import { createEngine, type WorkerChoice } from './node-engine.ts'
import { LEAST_HOLE, NodeHoleFinder } from './node-hole-finder.ts'
import { checkNotAborted, runTasks } from './pipeline.ts'
import { type CopyOptions, planned, SPARSE_SIZE, TASK_BYTES, totalSize } from './plan.ts'
import { Planner } from './planner.ts'
import { TargetLayout } from './target-layout.ts'
import type { ClusterSettings } from './task.ts'

/** What `convertImage` takes. Sizes are in bytes. */
export interface ConvertOptions extends CopyOptions {
  readonly format: 'raw' | 'qcow2'
  /** Compresses clusters, each where that makes it smaller. Only of a qcow2 image. */
  readonly compress?: boolean
  /** zlib: 1 (fast) to 9; zstd: 1 to 19. */
  readonly compressionLevel?: number
  /**
   * Bytes of zeros in a row that are left out of the target; 4096 when left out. 0: nothing is looked at, and the target has
   * everything allocated, also what is a hole in the source.
   */
  readonly sparseSize?: number
  /** Only of a qcow2 image. The backing file is opened by the caller, as `backing`. */
  readonly qcow2?: Omit<CreateQcow2Options, 'size' | 'preallocated'>
  /**
   * What the target's backing file reads as. Where the source has the same file in its chain, what that layer answers is left to
   * it unread; else clusters are compared with it, and left out where they are equal.
   */
  readonly backing?: BlockDevice
  /**
   * The target's content is on stable storage before the promise settles. Else that is so only where it replaces a file, which
   * would be lost with it; a new file gets there when the host likes, as with cp and qemu-img.
   */
  readonly durable?: boolean
  /** Replaces a target that is in use. */
  readonly force?: boolean
  /** @internal Where the workers' file is, and how many of them. */
  readonly workers?: WorkerChoice
}

/** What `convertImage` made. Sizes are in bytes. */
export interface ConvertResult {
  /** Bytes of the target's disk. */
  readonly size: number
  /** Bytes of the target's file. */
  readonly fileSize: number
  /** Bytes of the disk's content that were written, compressed where they were. */
  readonly written: number
}

/**
 * Copies disks, one behind the other, into a new image. The target has its name only when it is complete; until then, and after
 * every error, a file that had it is what it was. The same content in the same layout gives the same bytes.
 *
 * Errors: `ERR_INVALID_ARGUMENT` for options that cannot be, and for a target that is a source or one of its backing files;
 * `ERR_IN_USE` for a target that something else holds; `ERR_ABORTED`; what reading the sources throws; POSIX codes.
 */
export async function convertImage(
  sources: readonly BlockDevice[],
  path: string,
  options: ConvertOptions,
): Promise<ConvertResult> {
  checkOptions(sources, options)
  checkNotAborted(options.signal)
  await checkNotSource(sources, options.backing, path)
  const file = await NewFile.create(path, { replace: true, force: options.force ?? false })
  try {
    const result = await convertInto(sources, file.storage, options)
    checkNotAborted(options.signal)
    await file.publish(options.durable ?? false)
    return result
  } catch (error) {
    await file.discard()
    throw error
  }
}

function checkOptions(sources: readonly BlockDevice[], options: ConvertOptions): void {
  const invalid = (what: string): DrydiskError => new DrydiskError('ERR_INVALID_ARGUMENT', what)
  const { format, compress, qcow2 = {}, sparseSize = SPARSE_SIZE, backing } = options
  if (sources.length === 0) throw invalid('there is no source to convert')
  if (format === 'raw' && (compress || backing !== undefined || Object.keys(qcow2).length > 0))
    throw invalid('a raw image is neither compressed, nor does it have a backing file or qcow2 options')
  if (!Number.isSafeInteger(sparseSize) || sparseSize < 0 || sparseSize % 512 !== 0)
    throw invalid(`a sparse size of ${sparseSize} bytes; a multiple of 512 was expected, or 0`)
  if ((backing === undefined) !== (qcow2.backingFile === undefined))
    throw invalid('the name of a backing file and the backing file itself go together')
  if (backing !== undefined && sources.length > 1)
    throw invalid('a target that is a difference to a backing file has one source')
}

/** Writes the image into an empty storage. */
export async function convertInto(
  sources: readonly BlockDevice[],
  target: Storage,
  options: ConvertOptions,
): Promise<ConvertResult> {
  const { format, compress = false, sparseSize = SPARSE_SIZE, qcow2 = {}, backing, signal } = options
  const size = totalSize(sources)
  const builder = format === 'raw' ? undefined : new ImageBuilder(target, { ...qcow2, size })
  const { clusterSize, subclusters } = builder?.geometry ?? { clusterSize: 1, subclusters: 1 }
  const { version = 3, compressionType = 'zlib' } = qcow2
  // Version 2 has no entry that says zeros: over a backing file they are written.
  const bytesForZeros = sparseSize === 0 || version === 2
  const shared =
    backing === undefined || sources[0] === undefined ? undefined : sharedLayer(sources[0], backing)
  const settings: ClusterSettings = {
    clusterSize,
    subclusters,
    sparseSize: backing !== undefined && bytesForZeros ? 0 : sparseSize,
    compress: compress ? { type: compressionType, ...levelOf(options) } : undefined,
  }
  const planner = new Planner({
    unit: clusterSize,
    size,
    taskBytes: Math.max(TASK_BYTES, clusterSize),
    zeros: builder === undefined || bytesForZeros ? 'bytes' : 'entries',
    keep: compress && options.compressionLevel === undefined ? compressionType : undefined,
  })
  // Before the content: writes past the end would each have to grow the file.
  if (builder === undefined) await target.truncate(size)
  // Longer zeros than a hole is looked for in are all the same kept by a larger sparse size.
  const finds = backing === undefined && sparseSize > 0 && sparseSize <= LEAST_HOLE
  const holes = finds
    ? await NodeHoleFinder.open(sources.flatMap(plainFiles), { sparseSize, signal })
    : undefined
  const engine = createEngine(
    {
      storages: planner.storages,
      devices: planner.devices,
      target,
      settings,
      backing: shared === undefined ? backing : undefined,
    },
    options.workers,
  )
  try {
    const { written } = await runTasks(planned(sources, planner, { ...options, holes }, shared), engine, {
      layout: builder && new TargetLayout(builder, backing === undefined ? 0 : backing.size),
      signal,
      onTask: (done, soFar) => options.onProgress?.({ done, total: size, written: soFar }),
    })
    if (builder !== undefined) await builder.finish()
    options.onProgress?.({ done: size, total: size, written })
    return { size: builder?.size ?? size, fileSize: target.size, written }
  } finally {
    await holes?.close()
    await engine.close()
  }
}

function levelOf({ compressionLevel }: ConvertOptions): { readonly level?: number } {
  return compressionLevel === undefined ? {} : { level: compressionLevel }
}

export type { CopyOptions, CopyProgress } from './plan.ts'
export { streamRaw } from './stream-raw.ts'
