import type { BlockDevice } from '../device/block-device.ts'
import { FileStorage } from '../device/file-storage.ts'
import type { Storage } from '../device/storage.ts'
import { foldersBeside, type ImagePlace, placeOf, resolveBeside } from './beside-file.ts'
import type { ImageFormat } from './detect.ts'
import type { Qcow2Image } from './qcow2/qcow2-image.ts'
import { RawImage } from './raw.ts'

/** One image of a chain: the image itself, or a file below it. */
export interface Layer {
  /** 0 for the image itself. */
  readonly depth: number
  readonly place: ImagePlace
  /** As the image above names it; the path of the image itself. */
  readonly name: string
  /** As the image above says; `undefined` where it does not say. */
  readonly format: ImageFormat | undefined
  readonly device: BlockDevice
}

/** The image and the backing files below it, which `openImage` has opened. */
export async function layersOf(path: string, image: BlockDevice): Promise<readonly Layer[]> {
  let place = await placeOf(path)
  const folders = await foldersBeside(place)
  const layers: Layer[] = [{ depth: 0, place, name: path, format: undefined, device: image }]
  for (let above: BlockDevice = image; ; ) {
    const device = belowOf(above)
    if (device === undefined) return layers
    const { backingFile = '', backingFormat } = (above as Qcow2Image).header
    // Whether it may be opened was asked when it was.
    place = await resolveBeside(backingFile, 'backing file', place, 'any', folders)
    layers.push({ depth: layers.length, place, name: backingFile, format: formatOf(backingFormat), device })
    above = device
  }
}

function formatOf(format: string | undefined): ImageFormat | undefined {
  if (format === undefined || format === 'qcow2') return format
  return 'raw'
}

/** The backing file of a layer. */
export function belowOf(layer: BlockDevice): BlockDevice | undefined {
  return 'backing' in layer ? (layer as Qcow2Image).backing : undefined
}

/** Whether two storages are the same file, opened twice. */
export function sameFile(a: Storage, b: Storage): boolean {
  return a instanceof FileStorage && b instanceof FileStorage && a.device === b.device && a.inode === b.inode
}

/** Whether two layers are the same file. */
export function sameLayer(a: BlockDevice, b: BlockDevice): boolean {
  return sameFile(storageOf(a), storageOf(b))
}

function storageOf(layer: BlockDevice): Storage {
  return layer instanceof RawImage ? layer.storage : (layer as Qcow2Image).parts.storage
}
