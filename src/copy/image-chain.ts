import type { BlockDevice } from '../device/block-device.ts'
import { FileStorage } from '../device/file-storage.ts'
import type { Storage } from '../device/storage.ts'
import { StorageDevice } from '../device/storage-device.ts'
import { DrydiskError } from '../errors.ts'
import { Qcow2Image } from '../image/qcow2/qcow2-image.ts'
import { RawImage } from '../image/raw.ts'

/** The images of a chain from the top, each with the files that it is made of. */
export function imageChain(device: BlockDevice): readonly (readonly Storage[])[] {
  const chain: (readonly Storage[])[] = []
  for (let image: BlockDevice | undefined = device; image !== undefined; ) {
    if (image instanceof Qcow2Image) {
      const { storage, dataFile, reader }: Qcow2Image['parts'] = image.parts
      chain.push(dataFile === undefined ? [storage] : [storage, dataFile])
      image = reader.backing
      continue
    }
    if (image instanceof RawImage || image instanceof StorageDevice) chain.push([image.storage])
    return chain
  }
  return chain
}

/** The files of a chain that hold disk content byte by byte: these may have holes. */
export function plainFiles(device: BlockDevice): readonly Storage[] {
  const files: Storage[] = []
  for (let image: BlockDevice | undefined = device; image !== undefined; ) {
    if (image instanceof RawImage || image instanceof StorageDevice) files.push(image.storage)
    if (!(image instanceof Qcow2Image)) break
    const { dataFile, reader }: Qcow2Image['parts'] = image.parts
    if (dataFile !== undefined) files.push(dataFile)
    image = reader.backing
  }
  return files
}

/**
 * A target that replaces a file which its own content comes from would take it away from whatever else relies on it.
 * Errors: `ERR_INVALID_ARGUMENT`.
 */
export async function checkNotSource(
  sources: readonly BlockDevice[],
  backing: BlockDevice | undefined,
  path: string,
): Promise<void> {
  const identity = await pathIdentity(path)
  if (identity === undefined) return
  for (const device of backing === undefined ? sources : [...sources, backing])
    for (const [depth, storages] of imageChain(device).entries())
      if (storages.some(storage => storage.identity === identity))
        throw new DrydiskError(
          'ERR_INVALID_ARGUMENT',
          `${path} is ${device === backing ? 'what the target is to be a difference to' : depth === 0 ? 'the source itself' : 'a backing file of the source'}; ` +
            'name another file',
          { path },
        )
}

/** `undefined` when there is no such file, or none that could be a source. */
async function pathIdentity(path: string): Promise<string | undefined> {
  const storage = await FileStorage.open(path, 'read').catch(() => undefined)
  if (storage === undefined) return undefined
  await storage.close()
  return storage.identity
}
