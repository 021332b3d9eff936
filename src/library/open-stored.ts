import { BlobStorage } from '../device/blob-storage.ts'
import { shownUrl } from '../device/http-range.ts'
import type { HttpStorageOptions } from '../device/http-storage.ts'
import type { Storage } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'
import type { ImageFormat } from '../image/detect.ts'
import { type OpenStorageOptions, openStorage } from '../image/open-storage.ts'
import { isUrl, openUrl } from '../image/open-url.ts'
import { Image } from './image.ts'

/** What `openImage` takes with a `Blob` or a `Storage`. */
export interface OpenStoredOptions extends OpenStorageOptions {
  /** As messages name it; the name of the storage or of the `File` when left out. */
  readonly name?: string
  /** How a web server is asked. */
  readonly http?: HttpStorageOptions
}

/**
 * An image that is no file of the host: on a web server, in a `Blob` or in a `Storage`. It is for writing where the storage is: to edit
 * a `File` of a browser, open a `PatchedStorage` above a `BlobStorage`.
 *
 * The image owns the storage, and closes it when opening fails. Errors: those of `openStorage` and `openUrl`.
 */
export async function openImage(
  place: string | URL | Blob | Storage,
  options: OpenStoredOptions = {},
): Promise<Image> {
  if (typeof place === 'string' || place instanceof URL) return openOnWeb(String(place), options)
  const storage = place instanceof Blob ? new BlobStorage(place, options.name) : place
  const disk = await openStorage(storage, options)
  return new Image(disk, {
    name: options.name ?? storage.name,
    committed: () => openStorage(readOnly(storage), options),
  })
}

async function openOnWeb(url: string, options: OpenStoredOptions): Promise<Image> {
  if (!isUrl(url))
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      'the address is not one of a web server (https://…), and no other is opened here',
    )
  const chosen: { format?: ImageFormat } = options.format === undefined ? {} : { format: options.format }
  const open = () => openUrl(url, { ...options.http, ...chosen })
  const { image, fetched } = await open()
  return new Image(image, {
    name: options.name ?? shownUrl(url),
    fetched,
    committed: async () => (await open()).image,
  })
}

/** A second look at a storage that the image above it keeps. */
function readOnly(storage: Storage): Storage {
  const refuse = async (): Promise<never> => {
    throw new DrydiskError('EROFS', `${storage.name} is open for reading only`)
  }
  return {
    name: storage.name,
    writable: false,
    get size() {
      return storage.size
    },
    read: (offset, into) => storage.read(offset, into),
    write: refuse,
    truncate: refuse,
    flush: async () => undefined,
    close: async () => undefined,
  }
}
