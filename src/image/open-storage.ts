import type { DiskImage } from '../device/block-device.ts'
import { MemoryFolder } from '../device/memory-folder.ts'
import type { Storage, StorageFolder } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'
import { detectFormat, type ImageFormat } from './detect.ts'
import { RawImage } from './raw.ts'

/** What `openStorage` takes. */
export interface OpenStorageOptions {
  /** Found from the content when left out. */
  readonly format?: ImageFormat
  /**
   * Opens the file that an image names as its backing file, for reading. Left out: an image with one is refused.
   * @param name as the image has it.
   * @param from the storage that the image is in.
   */
  readonly openBacking?: (name: string, from: Storage) => Promise<Storage>
  /** Where the redo log of a raw image goes; memory when left out. */
  readonly folder?: StorageFolder
  /** As in `openImage`. */
  readonly keepCompressed?: boolean
}

/**
 * Opens a disk image that is no file of the host: a browser's `Blob`, memory, a file on a web server, a disk behind NBD. It is open for
 * writing where its storage is; nothing in the storage changes before `commit()`.
 *
 * The image owns the storage, and closes it when opening fails. Errors: `ERR_UNSUPPORTED` for other formats, by name;
 * `ERR_NOT_ALLOWED` for files that the image names; `ERR_CORRUPT`.
 */
export async function openStorage(storage: Storage, options: OpenStorageOptions = {}): Promise<DiskImage> {
  return openLayer(storage, options.format, 0, options)
}

async function openLayer(
  storage: Storage,
  format: ImageFormat | undefined,
  depth: number,
  options: OpenStorageOptions,
): Promise<DiskImage> {
  try {
    const found = format ?? (await detectFormat(storage))
    if (found === 'raw') return await RawImage.open(storage, options.folder ?? new MemoryFolder(), 'image')
    const { openQcow2 } = await import('./qcow2/open.ts')
    return await openQcow2(storage, {
      writable: storage.writable,
      depth,
      keepCompressed: options.keepCompressed ?? true,
      openBacking: async (name, backingFormat, backingDepth) => {
        if (options.openBacking === undefined)
          throw notAllowed(storage, `the backing file ${JSON.stringify(name)}`)
        const backing = await options.openBacking(name, storage)
        return openLayer(backing, knownFormat(backingFormat), backingDepth, options)
      },
      openDataFile: async name => {
        throw notAllowed(
          storage,
          name === undefined ? 'a data file' : `the data file ${JSON.stringify(name)}`,
        )
      },
    })
  } catch (error) {
    await storage.close()
    throw error
  }
}

/** The names of QEMU's protocol drivers mean: as it is. An image need not say. */
function knownFormat(format: string | undefined): ImageFormat | undefined {
  if (format === undefined || format === 'qcow2') return format
  if (format === 'raw' || format === 'file' || format === 'http' || format === 'https' || format === 'nbd')
    return 'raw'
  throw new DrydiskError(
    'ERR_UNSUPPORTED',
    `the image's backing file has the format ${JSON.stringify(format)}; drydisk reads raw and qcow2`,
    { format },
  )
}

function notAllowed(storage: Storage, what: string): DrydiskError {
  return new DrydiskError(
    'ERR_NOT_ALLOWED',
    `${storage.name} needs ${what}, which cannot be opened from here`,
    {
      path: storage.name,
    },
  )
}
