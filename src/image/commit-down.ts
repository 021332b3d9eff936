import { FileStorage } from '../device/file-storage.ts'
import { DrydiskError } from '../errors.ts'
import { placeOf } from './beside-file.ts'
import { checkNotInUse } from './in-use.ts'
import { type Layer, layersOf } from './layers.ts'
import { type OpenImageOptions, openImage } from './open.ts'
import type { Qcow2Image } from './qcow2/qcow2-image.ts'
import type { CopyWork } from './qcow2/rebase.ts'

/** What `commitImage` takes. */
export interface CommitImageOptions
  extends Pick<OpenImageOptions, 'force' | 'allowBacking' | 'keepCompressed'>,
    CopyWork {
  /** The backing file to commit into: one of the chain. The next one when left out. */
  readonly base?: string
  /** Whether the image is emptied afterwards; true when left out. An image is never emptied where `base` is given. */
  readonly empty?: boolean
}

/** What `commitImage` did. Amounts are in bytes. */
export interface CommittedImage {
  /** Path of the file that was committed into. */
  readonly base: string
  /** Bytes written to it, and bytes of it that came to read as zeros. */
  readonly copied: number
  readonly zeroed: number
  readonly emptied: boolean
}

/**
 * Merges an image into a backing file of it: the backing file reads as the image does, in one atomic change of its file; it
 * grows first where the image is larger. Then the image is emptied, in another: after a crash between the two, it still holds what it
 * has in common with the backing file by then.
 * Where `base` is not the next backing file, those between are worth nothing afterwards.
 * Errors: as opening both for writing; `ERR_INVALID_ARGUMENT` for an image without a backing file and a `base` that is none of
 * its; `ERR_UNSUPPORTED`; `ENOSPC`; `ERR_ABORTED`.
 */
export async function commitImage(path: string, options: CommitImageOptions = {}): Promise<CommittedImage> {
  const { force = false, allowBacking = 'beside', keepCompressed = true } = options
  const image = await openImage(path, { writable: true, force, allowBacking, signal: options.signal })
  try {
    const layers = await layersOf(path, image)
    if (layers.length === 1)
      throw new DrydiskError('ERR_INVALID_ARGUMENT', `${path} has no backing file to commit into`, { path })
    const top = image as Qcow2Image
    const { hasDataFile } = await import('./qcow2/table-references.ts')
    const empty = (options.empty ?? true) && options.base === undefined
    if (empty && hasDataFile(top.header))
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `${path} has an external data file, and drydisk does not empty such an image; leave it as it is with -d (option empty)`,
        { feature: 'external data file' },
      )
    const base = await baseOf(layers, options.base)
    const opening = {
      force,
      allowBacking,
      ...(base.format === undefined ? {} : { format: base.format }),
    }
    const { copyDown, emptyQcow2 } = await import('./qcow2/commit-down.ts')
    const shrinkAgain = await grow(base, image.size, opening)
    let amount: { readonly copied: number; readonly zeroed: number }
    try {
      const target = await openImage(base.place.path, {
        ...opening,
        writable: true,
        keepCompressed,
        signal: options.signal,
      })
      try {
        amount = await copyDown(image, target, base.depth, options)
        await target.commit()
      } finally {
        await target.close()
      }
    } catch (error) {
      if (!(error instanceof DrydiskError && error.context.published === true)) await shrinkAgain()
      throw error
    }
    if (empty) {
      const { storage } = top.parts
      if (!force && storage instanceof FileStorage)
        await checkNotInUse({ path, device: storage.device, inode: storage.inode }, 'write')
      await top.restructure(emptyQcow2)
    }
    return { base: base.place.path, ...amount, emptied: empty }
  } finally {
    await image.close()
  }
}

/** The layer to commit into: by the name that the image above has for it, or by the file itself. */
async function baseOf(layers: readonly Layer[], wanted: string | undefined): Promise<Layer> {
  const below = layers.slice(1)
  const [next] = below
  const place = wanted === undefined ? undefined : await placeOf(wanted).catch(() => undefined)
  const found =
    wanted === undefined
      ? next
      : (below.find(layer => layer.name === wanted) ?? below.find(layer => layer.place.path === place?.path))
  if (found !== undefined) return found
  throw new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    `${wanted} is no backing file of ${layers[0]?.name}; its backing files are ${below.map(layer => layer.place.path).join(', ')}`,
    { path: wanted },
  )
}

/** Makes the backing file as large as the image, if it is smaller. @returns what takes that back, as far as it goes. */
async function grow(
  base: Layer,
  size: number,
  opening: Pick<OpenImageOptions, 'force' | 'allowBacking' | 'format'>,
): Promise<() => Promise<void>> {
  if (base.device.size >= size) return async () => undefined
  const { resizeImage } = await import('./resize.ts')
  const { before } = await resizeImage(base.place.path, size, opening)
  return async () => {
    await resizeImage(base.place.path, before, { ...opening, shrink: true }).catch(() => undefined)
  }
}
