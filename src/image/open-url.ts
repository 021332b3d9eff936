import type { DiskImage } from '../device/block-device.ts'
import { type Fetched, HttpStorage, type HttpStorageOptions } from '../device/http-storage.ts'
import type { Storage } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'
import type { ImageFormat } from './detect.ts'
import { openStorage } from './open-storage.ts'

/** What `openUrl` takes. */
export interface OpenUrlOptions extends HttpStorageOptions {
  readonly format?: ImageFormat
  /** Which backing files may be opened (one on another server is asked for without `headers`): those in the image's own folder on its server (when left out), any on the web, or none. */
  readonly allowBacking?: 'beside' | 'any' | 'none'
}

/** Whether a path names a file on a web server. */
export function isUrl(path: string): boolean {
  return /^https?:\/\//i.test(path)
}

/** An image on a web server, and how much of it was fetched. */
export interface RemoteImage {
  readonly image: DiskImage
  /** Of the image and of its backing files together. */
  fetched(): Fetched
}

/**
 * Opens an image on a web server for reading, fetching only what is read. Backing files are resolved against the URL of the image
 * that names them.
 * Errors: as `HttpStorage` and `openStorage`; `ERR_NOT_ALLOWED` for a backing file elsewhere.
 */
export async function openUrl(url: string, options: OpenUrlOptions = {}): Promise<RemoteImage> {
  const opened: HttpStorage[] = []
  /** The whole URL of each storage, of which its name tells a part. */
  const urls = new Map<Storage, string>()
  const open = async (where: string): Promise<Storage> => {
    // What the caller sends to its server is not for another one, which only the image names.
    const { headers = {}, ...others } = options
    const storage = await HttpStorage.open(where, isSameServer(where, url) ? { ...others, headers } : others)
    opened.push(storage)
    urls.set(storage, where)
    return storage
  }
  const openBacking = (name: string, from: Storage) =>
    open(resolveBacking(name, urls.get(from) ?? url, url, options.allowBacking ?? 'beside'))
  const image = await openStorage(await open(url), {
    openBacking,
    ...(options.format === undefined ? {} : { format: options.format }),
  })
  return {
    image,
    fetched: () =>
      opened.reduce(
        (sum, { fetched }) => ({
          size: sum.size + fetched.size,
          bytes: sum.bytes + fetched.bytes,
          requests: sum.requests + fetched.requests,
        }),
        { size: 0, bytes: 0, requests: 0 },
      ),
  }
}

function isSameServer(one: string, other: string): boolean {
  return URL.canParse(one) && URL.canParse(other) && new URL(one).origin === new URL(other).origin
}

/** @param image the image that was asked for: what lies in its folder lies beside it. */
function resolveBacking(
  name: string,
  from: string,
  image: string,
  policy: 'beside' | 'any' | 'none',
): string {
  const shown = JSON.stringify(name)
  if (policy === 'none')
    throw new DrydiskError(
      'ERR_NOT_ALLOWED',
      `the image has the backing file ${shown}, and opening one is not allowed here`,
    )
  if (!isUrl(name) && /^[^/:]*:/.test(name))
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `the image has the backing file ${shown}, which is not on a web server`,
    )
  // A name may have any character; only those that end the path of a URL have a meaning there.
  const place = new URL(
    isUrl(name) ? name : name.replaceAll('%', '%25').replaceAll('?', '%3F').replaceAll('#', '%23'),
    from,
  )
  const folder = (of: URL) => of.origin + of.pathname.slice(0, of.pathname.lastIndexOf('/') + 1)
  if (policy === 'beside' && folder(place) !== folder(new URL(image)))
    throw new DrydiskError(
      'ERR_NOT_ALLOWED',
      `the image has the backing file ${shown}, which is not in its folder on its server. If you trust the image, allow it with ` +
        '--backing any (option allowBacking)',
    )
  // Beside it, a signature that opened the image may open this too.
  if (place.search === '' && folder(place) === folder(new URL(image))) place.search = new URL(image).search
  const own = new URL(from)
  if (place.origin === own.origin) [place.username, place.password] = [own.username, own.password]
  return place.href
}
