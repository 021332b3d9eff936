import { shownPlace } from '../device/shown-place.ts'
import type { Storage } from '../device/storage.ts'
import { Image } from './image.ts'
import { type OpenDiskOptions, openDisk } from './open-disk.ts'
import { type OpenStoredOptions, openImage as openStored } from './open-stored.ts'

/**
 * Opens a disk image: raw or qcow2, a file with its backing files, on a web server or behind NBD.
 *
 * ```ts
 * await using image = await openImage('disk.qcow2', { writable: true })
 * const { fs } = await image.guest()
 * await fs.writeFile('/etc/motd', 'edited while asleep\n')
 * await image.commit() // until here, nothing has changed
 * ```
 *
 * Errors: POSIX codes for the file itself; `ERR_IN_USE` when a running machine or another drydisk holds it; `ERR_UNSUPPORTED` for other
 * formats, by name; `ERR_NOT_ALLOWED` for a backing file elsewhere; `ERR_CORRUPT`; `EROFS` for writing where there is only reading.
 * @param place a path, or a URI: `file:`, `http:`, `https:`, `nbd:`, `nbd+unix:`; a `Blob` or a `Storage`, which is for writing where
 * the storage is.
 */
export async function openImage(place: string | URL, options?: OpenDiskOptions): Promise<Image>
export async function openImage(place: Blob | Storage, options?: OpenStoredOptions): Promise<Image>
export async function openImage(
  place: string | URL | Blob | Storage,
  options: OpenDiskOptions & OpenStoredOptions = {},
): Promise<Image> {
  if (typeof place !== 'string' && !(place instanceof URL)) return openStored(place, options)
  const { disk, committed, fetched } = await openDisk(place, options)
  return new Image(disk, {
    name: shownPlace(String(place)),
    committed,
    ...(fetched === undefined ? {} : { fetched }),
  })
}
