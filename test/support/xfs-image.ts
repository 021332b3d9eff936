import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import type { XfsFileSystem } from '../../src/filesystem/xfs/filesystem.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'

/** The XFS in an image file, open as long as it is used. */
export async function withXfs<T>(
  image: string,
  mode: 'read' | 'write',
  use: (fs: XfsFileSystem) => Promise<T>,
): Promise<T> {
  const device = new StorageDevice(await FileStorage.open(image, mode))
  try {
    return await use(await openXfs(device, { writable: mode === 'write' }))
  } finally {
    await device.close()
  }
}
