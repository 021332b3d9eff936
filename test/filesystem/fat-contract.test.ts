import { FAT_VARIANTS, makeFatImage } from '../../native-fixtures/fat-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { openFat } from '../../src/filesystem/fat/open.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { fileSystemContract } from '../support/filesystem-contract.ts'
import { checkWrittenImages, writes } from '../support/native.ts'

checkWrittenImages()

/** The others have their turn under random operations. */
const variants = FAT_VARIANTS.filter(({ contract }) => contract)

for (const variant of variants)
  fileSystemContract(
    variant.name,
    async () => {
      const image = writes(await makeFatImage(variant), 'vfat')
      const open = async () => {
        const device = new StorageDevice(await FileStorage.open(image, 'write'))
        return { fs: await openFat(device, { writable: true }), device }
      }
      let current = await open()
      const close = async (fs: FileSystem) => {
        await fs.close()
        await current.device.close()
      }
      return {
        fs: current.fs,
        async reopen() {
          await close(current.fs)
          current = await open()
          return current.fs
        },
        finish: close,
      }
    },
    {
      timeResolution: 2_000_000_000n,
      lacks: [
        'links',
        'symlinks',
        'special files',
        'xattrs',
        'owners',
        'byte names',
        'holes',
        'change time',
        'access time',
        'inode count',
      ],
    },
  )
