import type { Fetched } from '../device/http-storage.ts'
import type { Storage } from '../device/storage.ts'
import { isNbdUri } from './open-nbd.ts'
import { isUrl } from './open-url.ts'

/** The bytes of an image that is on a server. */
export interface RemoteStorage {
  readonly storage: Storage
  /** Of a web server. */
  readonly fetched?: () => Fetched
}

/**
 * The bytes that an image on a web server or behind NBD consists of, for reading. `undefined` where the place names a file.
 * Errors: as `HttpStorage.open` and `NbdClient.connect`.
 */
export async function openRemote(place: string): Promise<RemoteStorage | undefined> {
  if (isUrl(place)) {
    const { HttpStorage } = await import('../device/http-storage.ts')
    const storage = await HttpStorage.open(place)
    return { storage, fetched: () => storage.fetched }
  }
  if (!isNbdUri(place)) return undefined
  const { openNbdStorage } = await import('./open-nbd.ts')
  return { storage: await openNbdStorage(place, false) }
}
