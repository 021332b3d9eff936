import { stat } from 'node:fs/promises'
import type { RangeSet } from '../bytes/range-set.ts'
import { type ConvertResult, convertImage, streamRaw } from '../copy/convert.ts'
import { dataBytes } from '../copy/data-bytes.ts'
import type { DiskFreeSpace } from '../copy/free-ranges.ts'
import type { BlockDevice, DiskImage } from '../device/block-device.ts'
import { ConcatDevice } from '../device/concat-device.ts'
import { newBackingPath } from '../image/beside-file.ts'
import { FEWEST_COMPILATIONS, setCompileBudget } from './compile-budget.ts'
import { withDiskFull } from './disk-full.ts'
import { UsageError } from './errors.ts'
import { describeFree } from './free-space.ts'
import type { Qcow2Settings } from './image-settings.ts'
import { humanSize, print, printEvent, warn } from './output.ts'
import { type ProgressOptions, withProgress } from './progress.ts'
import { backingPolicy, closeDisk, openDisk } from './session.ts'
import { parseSnapshot } from './snapshot-choice.ts'
import { ReaderGone, standardOutput } from './standard-output.ts'

const STANDARD_OUTPUT = '-'

/** A conversion as the command line describes it. */
export interface Conversion {
  /** The command's name. */
  readonly operation: string
  readonly sources: readonly string[]
  readonly sourceFormat: string | undefined
  readonly snapshot: string | undefined
  readonly sparsify: boolean
  /** Volumes that are left as they are. */
  readonly ignore?: readonly string[]
  /** That of the first source when left out. */
  readonly format: 'raw' | 'qcow2'
  readonly qcow2: Qcow2Settings
  readonly compress: boolean
  readonly sparseSize: number | undefined
  readonly backingFile: string | undefined
  readonly backingFormat: 'raw' | 'qcow2' | undefined
  /** Sources are read although they are in use. */
  readonly force: boolean
  /** The target is replaced although it is in use. */
  readonly replaceInUse: boolean
  readonly output: ProgressOptions & { readonly backing?: string }
}

/** Converts, and prints what came of it. */
export async function convertTo(target: string, conversion: Conversion): Promise<void> {
  checkCombination(target, conversion)
  setCompileBudget(FEWEST_COMPILATIONS)
  const opened: DiskImage[] = []
  try {
    const options = {
      force: conversion.force,
      ...(conversion.sourceFormat === undefined ? {} : { format: conversion.sourceFormat }),
      ...(conversion.output.backing === undefined ? {} : { backing: conversion.output.backing }),
    }
    for (const source of conversion.sources) opened.push(await openDisk(source, options, false))
    const sources = await chooseSnapshot(opened, conversion.snapshot)
    const free = conversion.sparsify ? await findFree(sources, conversion) : undefined
    if (!conversion.output.json) for (const warning of free?.warnings ?? []) warn(`warning: ${warning}`)
    // Beside the conversion, which mostly waits for the disk and for other threads.
    const looking = incomplete(sources)
    try {
      if (target === STANDARD_OUTPUT) await toStandardOutput(sources, free?.ranges, conversion)
      else await toFile(target, sources, free, looking, conversion)
    } finally {
      const missing = await looking
      if (!conversion.output.json) for (const warning of missing) warn(`warning: ${warning}`)
    }
  } finally {
    for (const image of opened) await closeDisk(image)
  }
}

function checkCombination(target: string, conversion: Conversion): void {
  const { sources, snapshot, backingFile, backingFormat, format, output } = conversion
  if (snapshot !== undefined && sources.length > 1)
    throw new UsageError('a snapshot of one image at a time: several sources are named')
  if (backingFile === undefined && backingFormat !== undefined)
    throw new UsageError('-F is the format of a backing file, but none is named with -B')
  if (backingFile !== undefined && sources.length > 1)
    throw new UsageError('a target that is a difference to a backing file has one source; several are named')
  if (backingFile !== undefined && format === 'raw')
    throw new UsageError('a raw image has no backing file; make a qcow2 image with -O qcow2')
  if (backingFile !== undefined && backingFormat === undefined)
    throw new UsageError('the format of the backing file is not named: say -F raw or -F qcow2')
  if (target !== STANDARD_OUTPUT) return
  if (format === 'qcow2')
    throw new UsageError('to standard output goes raw: the header of a qcow2 image is written last')
  if (output.json) throw new UsageError('--json and - both want standard output')
  if (process.stdout.isTTY)
    throw new UsageError('standard output is a terminal; send it to a file or a program')
}

async function chooseSnapshot(
  images: readonly DiskImage[],
  choice: string | undefined,
): Promise<readonly BlockDevice[]> {
  const [image] = images
  if (choice === undefined || image === undefined) return images
  const { snapshotDevice } = await import('../image/qcow2/snapshot-device.ts')
  return [await snapshotDevice(image, parseSnapshot(choice))]
}

async function findFree(sources: readonly BlockDevice[], conversion: Conversion): Promise<DiskFreeSpace> {
  const { freeRanges } = await import('../copy/free-ranges.ts')
  return freeRanges(joined(sources), conversion.ignore === undefined ? {} : { ignore: conversion.ignore })
}

/** What reads as zeros because a file does not reach so far. What cannot be read is the conversion's to tell. */
async function incomplete(sources: readonly BlockDevice[]): Promise<readonly string[]> {
  const { dataPastEnd } = await import('../copy/past-end.ts')
  const found = (await Promise.all(sources.map(dataPastEnd)).catch(() => [])).flat()
  return found.map(
    ({ path, bytes }) =>
      `${path} is too short: ${bytes} bytes of data lie past its end and become zeros. Was it copied completely? "drydisk check" tells more.`,
  )
}

async function toStandardOutput(
  sources: readonly BlockDevice[],
  free: RangeSet | undefined,
  { operation, output }: Conversion,
): Promise<void> {
  try {
    await withProgress(operation, output, job =>
      streamRaw(sources, standardOutput(job.signal), { ...job, ...(free === undefined ? {} : { free }) }),
    )
  } catch (error) {
    if (!(error instanceof ReaderGone)) throw error
  }
}

async function toFile(
  target: string,
  sources: readonly BlockDevice[],
  free: DiskFreeSpace | undefined,
  missing: Promise<readonly string[]>,
  conversion: Conversion,
): Promise<void> {
  const { operation, output, format, qcow2, compress, sparseSize, backingFile, backingFormat } = conversion
  const backing =
    backingFile === undefined || backingFormat === undefined
      ? undefined
      : await openDisk(
          newBackingPath(target, backingFile),
          { format: backingFormat, backing: backingPolicy(output.backing) },
          false,
        )
  try {
    const result = await withProgress(operation, output, job =>
      withDiskFull(
        target,
        () => mostBytes(sources, free?.ranges, sparseSize),
        () =>
          convertImage(sources, target, {
            format,
            compress,
            force: conversion.replaceInUse,
            ...(sparseSize === undefined ? {} : { sparseSize }),
            ...(free === undefined ? {} : { free: free.ranges }),
            ...(format === 'raw'
              ? {}
              : {
                  qcow2: {
                    ...qcow2,
                    ...(backingFile === undefined ? {} : { backingFile }),
                    ...(backingFormat === undefined ? {} : { backingFormat }),
                  },
                }),
            ...(backing === undefined ? {} : { backing }),
            ...job,
          }),
      ),
    )
    await tell(target, result, free, [...(free?.warnings ?? []), ...(await missing)], conversion)
  } finally {
    if (backing !== undefined) await closeDisk(backing)
  }
}

/** Bytes that go into the target, before zeros are found in them and before they are compressed. */
async function mostBytes(
  sources: readonly BlockDevice[],
  free: RangeSet | undefined,
  sparseSize: number | undefined,
): Promise<number> {
  const disk = joined(sources)
  if (sparseSize === 0) return disk.size
  return (await dataBytes(disk)) - (free === undefined ? 0 : await dataBytes(disk, free))
}

/** The sources as one disk. */
function joined(sources: readonly BlockDevice[]): BlockDevice {
  const [only] = sources
  return sources.length === 1 && only !== undefined ? only : new ConcatDevice(sources)
}

async function tell(
  target: string,
  result: ConvertResult,
  free: DiskFreeSpace | undefined,
  warnings: readonly string[],
  { format, output }: Conversion,
): Promise<void> {
  if (output.json) {
    const { volumes, gaps } = free ?? {}
    await printEvent({
      event: 'result',
      filename: target,
      format,
      ...(await sizesOf(target, result)),
      ...(free === undefined ? {} : { sparsified: { dropped: free.ranges.total, gaps, volumes } }),
      warnings,
    })
    return
  }
  if (output.quiet) return
  const sizes = await sizesOf(target, result)
  await print(
    `${free === undefined ? '' : describeFree(free)}${target}: ${format}, ${humanSize(sizes['virtual-size'])}, ` +
      `${humanSize(sizes['actual-size'])} on the host\n`,
  )
}

async function sizesOf(target: string, result: ConvertResult) {
  const { blocks } = await stat(target)
  return { 'virtual-size': result.size, 'actual-size': blocks * 512 }
}
