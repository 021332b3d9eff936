import { closeSync, ftruncateSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { FileStorage } from '../src/device/file-storage.ts'
import { StorageDevice } from '../src/device/storage-device.ts'
import type { FatFileSystem } from '../src/filesystem/fat/filesystem.ts'
import { type OpenFatOptions, openFat } from '../src/filesystem/fat/open.ts'
import { runOk, temporaryFolder } from '../test/support/native.ts'

/** One shape of filesystem that mkfs.fat makes, and why it is worth having. */
export interface FatVariant {
  readonly name: string
  readonly arguments: readonly string[]
  readonly kilobytes: number
  /** Whether the contract suite runs on it: enough to have each way of keeping a root directory, a FAT and a sector once. */
  readonly contract?: true
}

/** The shapes that matter to where things lie; all with room for what the contract suite writes. */
export const FAT_VARIANTS: readonly FatVariant[] = [
  { name: 'FAT32', arguments: ['-F', '32', '-s', '1'], kilobytes: 40 << 10, contract: true },
  {
    name: 'FAT32 with too few clusters for one, as small EFI system partitions are made',
    arguments: ['-F', '32', '-s', '4'],
    kilobytes: 24 << 10,
  },
  {
    name: 'FAT32, sectors of 4 KiB',
    arguments: ['-F', '32', '-S', '4096', '-s', '1'],
    kilobytes: 32 << 10,
    contract: true,
  },
  { name: 'FAT16', arguments: ['-F', '16', '-s', '4', '-r', '2048'], kilobytes: 20 << 10 },
  {
    name: 'FAT16, sectors of 2 KiB, one FAT',
    arguments: ['-F', '16', '-S', '2048', '-s', '2', '-f', '1'],
    kilobytes: 24 << 10,
    contract: true,
  },
  { name: 'FAT12, clusters of 4 KiB', arguments: ['-F', '12', '-s', '8'], kilobytes: 15 << 10 },
  {
    name: 'FAT12, clusters of 16 KiB that are not aligned to anything',
    arguments: ['-F', '12', '-s', '32', '-a', '-R', '3'],
    kilobytes: 20 << 10,
    contract: true,
  },
]

/** A new image of a filesystem in a folder that goes away with the test. */
export async function makeFatImage(variant: FatVariant): Promise<string> {
  const path = join(temporaryFolder(), 'image')
  const file = openSync(path, 'w')
  ftruncateSync(file, variant.kilobytes * 1024)
  closeSync(file)
  await runOk('mkfs.fat', [...variant.arguments, path])
  return path
}

/** Our own driver on the image, while `use` runs. */
export async function withFat<Result>(
  image: string,
  options: OpenFatOptions,
  use: (filesystem: FatFileSystem) => Promise<Result>,
): Promise<Result> {
  const device = new StorageDevice(await FileStorage.open(image, options.writable ? 'write' : 'read'))
  try {
    const filesystem = await openFat(device, options)
    const result = await use(filesystem)
    await filesystem.close()
    return result
  } finally {
    await device.close()
  }
}
