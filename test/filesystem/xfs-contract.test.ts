import { makeXfs } from '../../native-fixtures/xfs-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { fileSystemContract } from '../support/filesystem-contract.ts'
import { checkWrittenImages, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

const VARIANTS: readonly { name: string; arguments: readonly string[]; oldTimes?: boolean }[] = [
  { name: 'xfs as mkfs.xfs makes it', arguments: [] },
  {
    name: 'xfs, 1 KiB blocks, reverse mapping, wide counters, old times',
    arguments: ['-b', 'size=1024', '-m', 'rmapbt=1,bigtime=0', '-i', 'nrext64=1'],
    oldTimes: true,
  },
  {
    name: 'xfs version 4, 512-byte blocks, no file types',
    arguments: ['-b', 'size=512', '-m', 'crc=0', '-n', 'ftype=0', '-i', 'size=256,attr=1'],
    oldTimes: true,
  },
]

for (const variant of VARIANTS)
  fileSystemContract(
    variant.name,
    async () => {
      const image = writes(`${temporaryFolder()}/image`, 'xfs')
      await makeXfs(image, 320, variant.arguments)
      const open = async () => {
        const device = new StorageDevice(await FileStorage.open(image, 'write'))
        return { fs: await openXfs(device, { writable: true }), device }
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
      xattrSize: 700,
      lastDevice: { major: 2 ** 14 - 1, minor: 2 ** 18 - 1 },
      // Of the last second itself Linux keeps no nanoseconds.
      ...(variant.oldTimes ? { lastSecond: 2n ** 31n - 2n } : {}),
    },
  )
