import { type Ext4Variant, makeExt4Image } from '../../native-fixtures/ext4-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { fileSystemContract } from '../support/filesystem-contract.ts'
import { checkWrittenImages, writes } from '../support/native.ts'

checkWrittenImages()

const VARIANTS: readonly (Ext4Variant & { readonly seconds?: boolean })[] = [
  { name: 'ext4, 4 KiB blocks', arguments: ['-t', 'ext4', '-b', '4096'], megabytes: 64 },
  { name: 'ext4, 1 KiB blocks', arguments: ['-t', 'ext4', '-b', '1024'], megabytes: 64 },
  {
    name: 'ext4 with inline data, large values, large directories, a checksum seed',
    arguments: ['-t', 'ext4', '-O', 'inline_data,ea_inode,large_dir,metadata_csum_seed'],
    megabytes: 64,
  },
  {
    name: 'ext4 with uninit_bg instead of metadata_csum, no dir_index',
    arguments: ['-t', 'ext4', '-b', '2048', '-O', '^metadata_csum,uninit_bg,^dir_index'],
    megabytes: 64,
  },
  { name: 'ext3', arguments: ['-t', 'ext3', '-b', '4096'], megabytes: 64 },
  {
    name: 'ext2, no file types, inodes of 128 bytes',
    arguments: ['-t', 'ext2', '-b', '1024', '-I', '128', '-O', '^filetype'],
    megabytes: 64,
    seconds: true,
  },
]

for (const variant of VARIANTS)
  fileSystemContract(
    variant.name,
    async () => {
      const image = writes(await makeExt4Image(variant), 'ext4')
      const open = async () => {
        const device = new StorageDevice(await FileStorage.open(image, 'write'))
        const fs = await openExt4(device, { writable: true })
        return { fs, device }
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
      presentAtFirst: ['lost+found'],
      xattrSize: 700,
      ...(variant.seconds ? { timeResolution: 1_000_000_000n } : {}),
    },
  )
