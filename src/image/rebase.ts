import type { BlockDevice } from '../device/block-device.ts'
import { FileStorage } from '../device/file-storage.ts'
import { MemoryDevice } from '../device/memory-device.ts'
import { DrydiskError } from '../errors.ts'
import { foldersBeside, type ImagePlace, placeOf, resolveBeside } from './beside-file.ts'
import { detectFormat, type ImageFormat } from './detect.ts'
import { belowOf, sameFile, sameLayer } from './layers.ts'
import { maintainFile } from './maintain-file.ts'
import { neighbourOpeners, type OpenImageOptions, openImage } from './open.ts'
import type { Qcow2Image } from './qcow2/qcow2-image.ts'
import type { CopyWork } from './qcow2/rebase.ts'
import type { BackingName } from './qcow2/rebase-header.ts'

/** What `rebaseImage` takes. */
export interface RebaseOptions
  extends Pick<OpenImageOptions, 'force' | 'allowBacking' | 'keepCompressed'>,
    CopyWork {
  /**
   * What the image is to be a difference to; a relative name starts at the folder of the image. Left out or empty: nothing, the
   * image gets everything itself.
   */
  readonly backingFile?: string
  /** Not to be left out when a backing file is named. */
  readonly backingFormat?: ImageFormat
  /** Changes the name alone, and opens neither backing file: the caller knows that both read alike. */
  readonly unsafe?: boolean
}

/** What `rebaseImage` did. Amounts are in bytes. */
export interface RebasedImage {
  readonly backingFile: string | undefined
  readonly backingFormat: ImageFormat | undefined
  /** Bytes that were copied into the image because the backing files differ there, and those that it came to have as zeros. */
  readonly copied: number
  readonly zeroed: number
  readonly warnings: readonly string[]
}

/**
 * Gives a qcow2 image another backing file, or none. What its disk holds stays the same: where the old and the new backing
 * file differ, what the old one holds is copied into the image first, and all of it is committed with the new name at once.
 * Errors: as `openImage` for the image and both backing files; `ERR_INVALID_ARGUMENT`, also where the new backing file depends
 * on the image; `ERR_UNSUPPORTED` for a raw image; `ENOSPC`; `ERR_ABORTED`.
 */
export async function rebaseImage(path: string, options: RebaseOptions): Promise<RebasedImage> {
  const backing = backingName(options)
  const place = await placeOf(path)
  return options.unsafe ? rename(path, place, backing, options) : rebase(path, place, backing, options)
}

function invalid(what: string): DrydiskError {
  return new DrydiskError('ERR_INVALID_ARGUMENT', what)
}

function backingName({ backingFile, backingFormat }: RebaseOptions): BackingName | undefined {
  if (backingFile === undefined || backingFile === '') return undefined
  if (backingFormat === undefined)
    throw invalid(`the format of the backing file ${backingFile} is not named: raw or qcow2`)
  return { name: backingFile, format: backingFormat }
}

function result(
  { backingFile, backingFormat }: RebaseOptions,
  image: Qcow2Image,
  amount: { readonly copied: number; readonly zeroed: number },
): RebasedImage {
  const named = backingFile !== undefined && backingFile !== ''
  const count = image.snapshots.length
  return {
    backingFile: named ? backingFile : undefined,
    backingFormat: named ? backingFormat : undefined,
    ...amount,
    warnings:
      count === 0
        ? []
        : [
            count === 1
              ? 'its internal snapshot was taken over the old backing file, and from now on reads the new one where it has nothing of its own'
              : `its ${count} internal snapshots were taken over the old backing file, and from now on read the new one where they have nothing of their own`,
          ],
  }
}

async function rebase(
  path: string,
  place: ImagePlace,
  backing: BackingName | undefined,
  options: RebaseOptions,
): Promise<RebasedImage> {
  const { force = false, allowBacking = 'beside', keepCompressed = true } = options
  const image = await openImage(path, {
    writable: true,
    force,
    allowBacking,
    keepCompressed,
    signal: options.signal,
  })
  try {
    const { Qcow2Image } = await import('./qcow2/qcow2-image.ts')
    if (!(image instanceof Qcow2Image)) throw notQcow2(path)
    checkNoRawDataFile(image, backing)
    const below = backing === undefined ? undefined : await openNew(place, image, backing, options)
    try {
      const { copyDifferences, stageBackingName } = await import('./qcow2/rebase.ts')
      const amount = await copyDifferences(image, below, options, sameFile)
      await stageBackingName(image, backing)
      await image.commit()
      return result(options, image, amount)
    } finally {
      await below?.close()
    }
  } finally {
    await image.close()
  }
}

function notQcow2(path: string): DrydiskError {
  return new DrydiskError('ERR_UNSUPPORTED', `${path} is raw, and a raw image has no backing file`, { path })
}

/** What reads the data file by itself would not see the backing file. */
function checkNoRawDataFile(image: Qcow2Image, backing: BackingName | undefined): void {
  if (backing !== undefined && image.info['data-file-raw'])
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${image.parts.storage.name} has a data file that is a raw image by itself (data_file_raw), which a backing file excludes`,
      { feature: 'data_file_raw' },
    )
}

/** The new backing file. It was named by the caller, so the policy is for those that it names in its turn. */
async function openNew(
  place: ImagePlace,
  image: Qcow2Image,
  { name, format }: BackingName,
  { force = false, allowBacking = 'beside' }: RebaseOptions,
): Promise<BlockDevice> {
  const { path } = await resolveBeside(name, 'backing file', place, 'any', await foldersBeside(place))
  const below = await openImage(path, { format: format === 'raw' ? 'raw' : 'qcow2', force, allowBacking })
  try {
    for (let layer: BlockDevice | undefined = below; layer !== undefined; layer = belowOf(layer))
      if (sameLayer(layer, image))
        throw invalid(
          layer === below
            ? `${place.path} cannot be its own backing file; name another file`
            : `${path} depends on ${place.path} itself; name another file`,
        )
    return below
  } catch (error) {
    await below.close()
    throw error
  }
}

/** Changes the header alone. */
function rename(
  path: string,
  place: ImagePlace,
  backing: BackingName | undefined,
  options: RebaseOptions,
): Promise<RebasedImage> {
  return maintainFile(path, options, async storage => {
    if ((await detectFormat(storage)) !== 'qcow2') throw notQcow2(path)
    if (backing !== undefined) await checkOther(place, storage, backing.name)
    const { openQcow2 } = await import('./qcow2/open.ts')
    const { stageBackingName } = await import('./qcow2/rebase.ts')
    const openers = await neighbourOpeners(storage, place, options)
    try {
      const { FileFolder } = await import('../device/file-folder.ts')
      const image = await openQcow2(storage, {
        writable: true,
        redo: { folder: new FileFolder(place.folder), imageName: place.name },
        openDataFile: openers.openDataFile,
        // The old backing file may be gone; nothing of it is read.
        openBacking: async () => new MemoryDevice(0),
      })
      try {
        checkNoRawDataFile(image, backing)
        await stageBackingName(image, backing)
        await image.commit()
        return result(options, image, { copied: 0, zeroed: 0 })
      } finally {
        await image.close()
      }
    } finally {
      await openers.release()
    }
  })
}

/** The new name may lead nowhere, but not to the image itself. */
async function checkOther(place: ImagePlace, storage: FileStorage, name: string): Promise<void> {
  const found = await resolveBeside(name, 'backing file', place, 'any', new Set()).catch(() => undefined)
  if (found === undefined) return
  const other = await FileStorage.open(found.path, 'read').catch(() => undefined)
  await other?.close()
  if (other !== undefined && other.device === storage.device && other.inode === storage.inode)
    throw invalid(`${place.path} cannot be its own backing file; name another file`)
}
