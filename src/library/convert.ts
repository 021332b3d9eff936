import { type ConvertOptions, type ConvertResult, convertImage } from '../copy/convert.ts'
import { type DiskFreeSpace, freeRanges } from '../copy/free-ranges.ts'
import {
  type SparsifyInPlaceOptions,
  type SparsifyInPlaceResult,
  sparsifyInPlace,
} from '../copy/sparsify-in-place.ts'
import type { DiskImage } from '../device/block-device.ts'
import { isNbdUri } from '../image/open-nbd.ts'
import { Image } from './image.ts'
import { type OpenDiskOptions, openDisk } from './open-disk.ts'

/** A path or a URI, or an image that is open already and stays open. */
export type ImageSource = string | URL | Image

/** What `convert` takes. Sizes are in bytes. */
export interface ConvertImageOptions extends Omit<ConvertOptions, 'format' | 'free' | 'backing'> {
  /** Of the target; `qcow2` when left out. */
  readonly format?: 'raw' | 'qcow2'
  /** Leaves out what the filesystems on the disk do not use; false when left out. */
  readonly sparsify?: boolean
  /** With `sparsify`: names of volumes (`/dev/sda2`) to leave as they are. */
  readonly ignore?: readonly string[]
  /** How a source that is a path or a URI is opened. */
  readonly open?: Omit<OpenDiskOptions, 'writable'>
}

/** What `convert` made. */
export interface ConvertedImage extends ConvertResult {
  /** With `sparsify`: what was left out, and why not more. */
  readonly free?: Omit<DiskFreeSpace, 'ranges'> & { readonly bytes: number }
}

/**
 * Copies an image into a new one, which has its name only when it is complete. Errors: those of opening the source and of
 * `convertImage`; `ERR_ABORTED`, and the target is what it was.
 */
export function convert(
  source: ImageSource,
  target: string,
  options: ConvertImageOptions = {},
): Promise<ConvertedImage> {
  const { format = 'qcow2', sparsify: drops = false, ignore = [], open = {}, ...copy } = options
  return withDisk(source, open, async disk => {
    if (!drops) return convertImage([disk], target, { ...copy, format })
    const { ranges, ...free } = await freeRanges(disk, { ignore })
    const result = await convertImage([disk], target, { ...copy, format, free: ranges })
    return { ...result, free: { ...free, bytes: ranges.total } }
  })
}

/** What `sparsify` takes. */
export interface SparsifyOptions extends Omit<SparsifyInPlaceOptions, 'onProgress'> {
  readonly onProgress?: (progress: SparsifyProgress) => void
}

/** In bytes. */
export interface SparsifyProgress {
  /** `zeros`: data that is looked through; `move`: clusters that move towards the file's beginning. */
  readonly phase: 'zeros' | 'move'
  readonly done: number
  readonly total: number
}

/**
 * Makes a qcow2 file smaller in place: gives up what the filesystems on the disk do not use. A raw disk behind an NBD server (`nbd:`,
 * `nbd+unix:`) keeps its length, and the server is told to trim that. For a copy, and for other formats: `convert` with `sparsify`.
 * Errors: those of `sparsifyInPlace`; `ENOTSUP` for a server that does not trim.
 */
export async function sparsify(path: string, options: SparsifyOptions = {}): Promise<SparsifyInPlaceResult> {
  const { onProgress, ...rest } = options
  if (isNbdUri(path)) return (await import('./sparsify-export.ts')).sparsifyExport(path, rest)
  return sparsifyInPlace(path, {
    ...rest,
    ...(onProgress && { onProgress: (phase, done, total) => onProgress({ phase, done, total }) }),
  })
}

/** A disk for as long as `step` runs. */
async function withDisk<T>(
  source: ImageSource,
  options: OpenDiskOptions,
  step: (disk: DiskImage) => Promise<T>,
): Promise<T> {
  if (source instanceof Image) {
    await source.sync()
    return step(source.disk)
  }
  const { disk } = await openDisk(source, options)
  try {
    return await step(disk)
  } finally {
    await disk.close()
  }
}
