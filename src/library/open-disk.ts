import type { DiskImage } from '../device/block-device.ts'
import type { Fetched, HttpStorageOptions } from '../device/http-storage.ts'
import { DrydiskError } from '../errors.ts'
import type { BackingPolicy } from '../image/beside-file.ts'
import type { ImageFormat } from '../image/detect.ts'
import { openImage as openFile } from '../image/open.ts'

/** What `openImage` takes with a path, a URL or a URI. */
export interface OpenDiskOptions {
  /** For writing; false when left out. Only one drydisk at a time opens a file for writing. */
  readonly writable?: boolean
  /** Opens a file although something else holds it. */
  readonly force?: boolean
  /**
   * Found from the content when left out. Say `raw` for a raw image that comes from somebody who may have written another format's
   * header to its beginning.
   */
  readonly format?: ImageFormat
  /** Which backing and data files may be opened; `beside` when left out. */
  readonly allowBacking?: BackingPolicy
  /** qcow2: what was compressed stays compressed; true when left out. */
  readonly keepCompressed?: boolean
  /** How a web server is asked. */
  readonly http?: HttpStorageOptions
}

/** A disk that was opened by a path or a URI. */
export interface OpenedDisk {
  readonly disk: DiskImage
  /** Opens its committed state again, for reading. */
  readonly committed: () => Promise<DiskImage>
  /** Of an image on a web server. */
  readonly fetched?: () => Fetched
}

/**
 * What a path or a URI names, as a disk: a file, `file:`, `http:`, `https:`, `nbd:`, `nbd+unix:`. Every way to an image is here.
 * Errors: those of each; `EROFS` for writing where there is only reading; `ERR_UNSUPPORTED` for other schemes.
 */
export async function openDisk(place: string | URL, options: OpenDiskOptions = {}): Promise<OpenedDisk> {
  const { writable = false, force = false, format, allowBacking = 'beside', keepCompressed = true } = options
  const chosen = format === undefined ? {} : { format }
  const uri = String(place)
  const scheme = /^([a-z][a-z\d+.-]*):/i.exec(uri)?.[1]?.toLowerCase()
  if (scheme === 'http' || scheme === 'https') {
    if (writable)
      throw new DrydiskError(
        'EROFS',
        'an image on a web server is only read; make a copy of it with convert, and change that',
      )
    const { openUrl } = await import('../image/open-url.ts')
    const open = () => openUrl(uri, { ...options.http, ...chosen, allowBacking })
    const { image, fetched } = await open()
    return { disk: image, fetched, committed: async () => (await open()).image }
  }
  if (/^nbds?(\+\w+)?$/.test(scheme ?? '')) {
    const { openNbd } = await import('../image/open-nbd.ts')
    const open = (forWriting: boolean) => openNbd(uri, { ...chosen, writable: forWriting })
    return { disk: await open(writable), committed: () => open(false) }
  }
  if (typeof place !== 'string' && scheme !== 'file')
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${scheme}: is none of the addresses that drydisk opens: file:, http:, https:, nbd: and nbd+unix:`,
    )
  const path = scheme === 'file' && uri.startsWith('file://') ? pathOf(uri) : uri
  const open = (forWriting: boolean, despite: boolean) =>
    openFile(path, { writable: forWriting, force: despite, ...chosen, allowBacking, keepCompressed })
  // The one that holds the file is this one.
  return { disk: await open(writable, force), committed: () => open(false, writable || force) }
}

function pathOf(uri: string): string {
  try {
    return decodeURIComponent(new URL(uri).pathname)
  } catch (error) {
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `${JSON.stringify(uri)} is no URI of a file`, {}, error)
  }
}
