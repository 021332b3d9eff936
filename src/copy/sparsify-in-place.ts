import { RangeSet } from '../bytes/range-set.ts'
import { FileStorage } from '../device/file-storage.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { BackingPolicy } from '../image/beside-file.ts'
import { openImage } from '../image/open.ts'
import { BITMAP_FLAG } from '../image/qcow2/bitmap-directory.ts'
import { Qcow2Image } from '../image/qcow2/qcow2-image.ts'
import { compactImage } from './compact.ts'
import { freeRanges, type VolumeFreeSpace } from './free-ranges.ts'
import { heldClusters, zeroClusters } from './held-clusters.ts'

/** What `sparsifyInPlace` takes. */
export interface SparsifyInPlaceOptions {
  /** Goes on although something else holds the image. */
  readonly force?: boolean
  /** Which backing and data files may be opened; `beside` when left out. */
  readonly allowBacking?: BackingPolicy
  /** Names of volumes (`/dev/sda2`) to leave as they are. */
  readonly ignore?: readonly string[]
  /** Frees clusters that hold nothing but zeros too, which reads all data; false when left out. */
  readonly dropZeros?: boolean
  /** Finds what could be dropped and changes nothing. */
  readonly dryRun?: boolean
  /** Aborted: `ERR_ABORTED`. Before the commit nothing is changed; afterwards the image is valid and just less compact. */
  readonly signal?: AbortSignal
  /** Bytes: `zeros` of data that is looked through, `move` of clusters that move. */
  readonly onProgress?: (phase: 'zeros' | 'move', done: number, total: number) => void
}

/** What `sparsifyInPlace` did. Sizes are in bytes. */
export interface SparsifyInPlaceResult {
  /** Bytes of the disk that nobody wants. */
  readonly free: number
  /** Bytes of the disk whose clusters were given up. */
  readonly dropped: number
  /** Bytes that were moved towards the file's beginning. */
  readonly moved: number
  /** Length of the file in bytes. */
  readonly before: number
  readonly after: number
  /** What is on the disk, and what of it was free, or why it stays whole. */
  readonly volumes: readonly VolumeFreeSpace[]
  /** Whole sentences. */
  readonly warnings: readonly string[]
}

/**
 * Makes a qcow2 image smaller in place: gives up the clusters of what the filesystems on the disk do not use, without reading
 * or writing it, and shortens the file (`compactImage`). The content of what is used stays, and so do the disk's size, snapshots
 * and backing file. What a backing file holds is not covered with zeros: that would make nothing smaller.
 *
 * A crash leaves a valid image with the same files in it.
 * Errors: those of `openImage`; `ERR_UNSUPPORTED` for a raw image, one with an external data file, or of version 2 with a backing
 * file; `ERR_ABORTED`; as `compactImage`, with `published: true` in the context when something was dropped already.
 */
export async function sparsifyInPlace(
  path: string,
  options: SparsifyInPlaceOptions = {},
): Promise<SparsifyInPlaceResult> {
  const before = await lengthOf(path)
  const { force = false, allowBacking = 'beside', dryRun = false } = options
  const image = await openImage(path, { writable: !dryRun, force, allowBacking, signal: options.signal })
  let found: Omit<SparsifyInPlaceResult, 'moved' | 'before' | 'after'>
  try {
    if (!(image instanceof Qcow2Image))
      throw unsupported(path, 'is a raw image, and Node.js cannot give back parts of a file')
    if (image.parts.dataFile !== undefined)
      throw unsupported(path, 'keeps its data in another file, which Node.js cannot give back parts of')
    if (image.header.version === 2 && image.backing !== undefined)
      throw unsupported(
        path,
        'is of version 2, which cannot say that a part of the backing file no longer counts ("drydisk amend -o compat=1.1" makes ' +
          'it version 3)',
      )
    found = await dropUnused(image, options)
    checkAborted(path, options.signal)
    if (!dryRun) await image.commit()
  } finally {
    await image.close()
  }
  if (dryRun) return { ...found, moved: 0, before, after: before }
  const { onProgress, signal } = options
  const compacted = await compactImage(path, {
    force,
    ...(signal !== undefined && { signal }),
    ...(onProgress !== undefined && { onProgress: ({ done, total }) => onProgress('move', done, total) }),
  }).catch(error => {
    throw found.dropped === 0 ? error : droppedAlready(error, path, found.dropped)
  })
  return { ...found, moved: compacted.copied, before, after: compacted.after }
}

/** What nobody uses is given up, whatever becomes of the file's length. */
function droppedAlready(error: unknown, path: string, bytes: number): unknown {
  if (!isDrydiskError(error)) return error
  return new DrydiskError(
    error.code,
    `${path}: ${bytes} bytes are dropped, but its file could not be made as short as it can be: ${error.message}. ` +
      '"drydisk compact" tries that again',
    { ...error.context, published: true },
    error,
  )
}

async function lengthOf(path: string): Promise<number> {
  const file = await FileStorage.open(path, 'read')
  await file.close()
  return file.size
}

function unsupported(path: string, why: string): DrydiskError {
  return new DrydiskError(
    'ERR_UNSUPPORTED',
    `${path} ${why}: make a smaller copy with "drydisk sparsify ${path} COPY"`,
    { path },
  )
}

function checkAborted(path: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new DrydiskError('ERR_ABORTED', `making ${path} smaller was stopped; it is as before`, { path })
}

/** Stages the erasure of what nobody wants. */
async function dropUnused(
  image: Qcow2Image,
  options: SparsifyInPlaceOptions,
): Promise<Omit<SparsifyInPlaceResult, 'moved' | 'before' | 'after'>> {
  const { clusterSize, size } = image
  const path = image.parts.storage.name
  const { ranges, volumes, warnings } = await freeRanges(image, { ignore: options.ignore ?? [] })
  const given = new RangeSet()
  const drop = async (start: number, end: number): Promise<void> => {
    checkAborted(path, options.signal)
    given.add(start, end)
    if (options.dryRun !== true) await image.erase(start, end - start)
  }
  for (const range of ranges.ranges()) {
    // Only whole clusters can be given up. The disk may end within its last one.
    const start = Math.ceil(range.start / clusterSize) * clusterSize
    const end = range.end === size ? size : Math.floor(range.end / clusterSize) * clusterSize
    if (end > start)
      for await (const held of heldClusters(image, start, end)) await drop(held.start, held.end)
  }
  if (options.dropZeros === true) {
    const zeros = await zeroClusters(image, (done, total) => {
      checkAborted(path, options.signal)
      options.onProgress?.('zeros', done, total)
    })
    for (const { start, end } of zeros.ranges()) await drop(start, end)
  }
  const dropped = given.total
  return { free: ranges.total, dropped, volumes, warnings: [...warnings, ...sideEffects(image, dropped)] }
}

function sideEffects(image: Qcow2Image, dropped: number): string[] {
  if (dropped === 0) return []
  const warnings: string[] = []
  if (image.snapshots.length > 0)
    warnings.push(
      `Snapshots keep what they hold: ${image.snapshots.map(({ name }) => JSON.stringify(name)).join(', ')}.`,
    )
  const stale = (image.parts.bitmaps?.bitmaps ?? []).filter(({ flags }) => (flags & BITMAP_FLAG.auto) !== 0)
  if (stale.length > 0)
    warnings.push(
      `Bitmaps no longer say what has changed, and are marked so: ${stale.map(({ name }) => JSON.stringify(name)).join(', ')}. ` +
        'Make a full backup next.',
    )
  return warnings
}
