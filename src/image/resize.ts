import type { Storage } from '../device/storage.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import { detectFormat, type ImageFormat } from './detect.ts'
import { lookAgain, maintainFile } from './maintain-file.ts'
import { neighbourOpeners, type OpenImageOptions } from './open.ts'
import { checkSize } from './resize-size.ts'

/** What `resizeImage` takes. Progress is in bytes. */
export interface ResizeImageOptions extends Pick<OpenImageOptions, 'force' | 'format' | 'allowBacking'> {
  /** Consent to losing what lies beyond the new size; false when left out. */
  readonly shrink?: boolean
  /** Aborted: `ERR_ABORTED` with the image as it was, or with the disk smaller already and its file longer than it need be. */
  readonly signal?: AbortSignal
  /** Bytes that are moved to make the file shorter. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
}

/** What `resizeImage` did. Sizes are in bytes. */
export interface ResizedImage {
  readonly format: ImageFormat
  /** Bytes of the disk. */
  readonly before: number
  readonly after: number
}

/**
 * Changes the size of a disk, raw or qcow2, in one atomic change of its file; the file of a smaller qcow2 disk is then compacted. What
 * a larger disk gains reads as zeros. What is on the disk, such as a partition table, stays as it is.
 * @param size bytes; or how they follow from the bytes that there are. qcow2 disks have a multiple of 512.
 * Errors: as opening for writing; `ERR_INVALID_ARGUMENT`, also for a smaller size without `shrink`; `EFBIG`; `ERR_UNSUPPORTED` for
 * qcow2 images with persistent bitmaps, and of version 2 with snapshots.
 */
export function resizeImage(
  path: string,
  size: number | ((before: number) => number),
  options: ResizeImageOptions = {},
): Promise<ResizedImage> {
  const wanted = (before: number): number => (typeof size === 'number' ? size : size(before))
  const shrink = options.shrink ?? false
  return maintainFile(path, options, async (storage, place) => {
    const beforeSwitch = lookAgain(storage, options)
    const format = options.format ?? (await detectFormat(storage))
    if (format === 'raw') return { format, ...(await resizeRaw(storage, wanted(storage.size), shrink)) }
    const { readHeader } = await import('./qcow2/qcow2-image.ts')
    const { resizeQcow2 } = await import('./qcow2/resize.ts')
    const { hasDataFile } = await import('./qcow2/table-references.ts')
    const { header } = await readHeader(storage)
    const openers = await neighbourOpeners(storage, place, options)
    try {
      const result = await resizeQcow2(storage, wanted(header.size), {
        ...options,
        shrink,
        beforeSwitch,
        ...openers,
      })
      // A smaller disk is wanted in a smaller file: what is left moves to its beginning, and the rest is cut off.
      if (result.after < result.before && !hasDataFile(header)) {
        const { compactQcow2 } = await import('./qcow2/compact.ts')
        await compactQcow2(storage, { ...options, beforeSwitch }).catch(error => {
          throw resizedAlready(error, path, result.after)
        })
      }
      return { format, ...result }
    } finally {
      await openers.release()
    }
  })
}

/** The disk has its new size whatever becomes of the file's. */
function resizedAlready(error: unknown, path: string, size: number): unknown {
  if (!isDrydiskError(error)) return error
  return new DrydiskError(
    error.code,
    `${path}: the disk has ${size} bytes now, but its file could not be made shorter: ${error.message}. ` +
      '"drydisk compact" tries that again',
    { ...error.context, published: true },
    error,
  )
}

/**
 * Changes the length of a raw image: one operation of the host's filesystem.
 * Errors: `ERR_INVALID_ARGUMENT`; `ENOSPC` and `EFBIG` as the host says.
 */
export async function resizeRaw(
  storage: Storage,
  size: number,
  shrink: boolean,
): Promise<{ readonly before: number; readonly after: number }> {
  const before = storage.size
  checkSize(storage.name, before, size, shrink)
  if (size !== before) {
    await storage.truncate(size)
    await storage.flush()
  }
  return { before, after: size }
}
