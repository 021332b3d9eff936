/**
 * What ZenFS's own tests run on: a new filesystem of drydisk in memory, with their files in it. `DRYDISK_SUITE_TYPE` says which; at the
 * end the volume is written to a file for its native checker.
 */
import { randomUUID } from 'node:crypto'
import { open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after } from 'node:test'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openFileSystem } from '../../src/filesystem/open.ts'
import { makeXfs } from '../../src/filesystem/xfs/mkfs/mkfs.ts'
import { mountFileSystem } from '../../src/zenfs/mount.ts'

const {
  DRYDISK_SUITE_TYPE: type = 'ext4',
  DRYDISK_SUITE_OUT: out = '',
  DRYDISK_SUITE_DATA: data = '',
} = process.env

const device = new MemoryDevice(type === 'xfs' ? 320 << 20 : 64 << 20)
if (type === 'xfs') await makeXfs(device)
else await makeExt4(device)
const volume = await openFileSystem(device, { writable: true })
const context = await mountFileSystem(volume)

export const { fs } = context

/** What a backend may say that it cannot do. */
export const flags = {
  // An image is read by promises.
  sync: false,
  // Linux keeps no permissions for symbolic links.
  lchmod: false,
}

for (const name of await readdir(data))
  if ((await stat(join(data, name))).isFile())
    await fs.promises.writeFile(`/${name}`, await readFile(join(data, name)))

// The tests are written for Node 24.
if (!('isError' in Error))
  Object.assign(Error, { isError: (value: unknown): boolean => value instanceof Error })

// A test that waits in vain would else end its file: node:test cancels what follows when nothing keeps the process alive.
const alive = setInterval(() => undefined, 1000)

after(async () => {
  clearInterval(alive)
  await volume.close()
  const file = await open(join(out, `${randomUUID()}.${type}`), 'wx')
  await file.truncate(device.size)
  for await (const { offset, length, kind } of device.extents(0, device.size)) {
    if (kind === 'zero') continue
    const bytes = new Uint8Array(length)
    await device.read(offset, bytes)
    await file.write(bytes, 0, length, offset)
  }
  await file.close()
})
