import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { haveTool, run, runOk, temporaryFolder } from '../support/native.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

describe.skipIf(!haveTool('mkfs.xfs') || !haveTool('xfs_repair'))(
  'a filesystem with a real-time device',
  () => {
    test('is written on its data device, also where directories say that files go to the other', async () => {
      const folder = temporaryFolder()
      const [image, realtime] = [join(folder, 'image'), join(folder, 'realtime')]
      await runOk('truncate', ['-s', '320M', image])
      await runOk('truncate', ['-s', '64M', realtime])
      await runOk('mkfs.xfs', ['-q', '-r', `rtdev=${realtime},size=64m`, '-d', 'rtinherit=1', image])
      const device = new StorageDevice(await FileStorage.open(image, 'write'))
      const fs = await openXfs(device, { writable: true })
      const attributes = { mode: 0o644, uid: 0, gid: 0 }
      const directory = await fs.mkdir(fs.root, bytes('directory'), attributes)
      for (let number = 0; number < 100; number++) {
        const ino = await fs.create(directory, bytes(`file ${number}`), attributes)
        await fs.write(ino, 0, new Uint8Array(5000).fill(number))
      }
      for (let number = 0; number < 100; number += 2) await fs.unlink(directory, bytes(`file ${number}`))
      const content = new Uint8Array(5000)
      expect(await fs.read(await fs.lookup(directory, bytes('file 99')), 0, content)).toBe(5000)
      expect(content.every(byte => byte === 99)).toBe(true)
      await fs.close()
      await device.close()
      const { status, stdout, stderr } = await run('xfs_repair', ['-n', '-r', realtime, image])
      expect(`${status}\n${stdout}${stderr}`).toMatch(/^0\n/)
    })
  },
)
