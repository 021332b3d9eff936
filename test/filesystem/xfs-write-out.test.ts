import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { toBytes } from '../../src/bytes/names.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { DrydiskError } from '../../src/errors.ts'
import { makeXfs } from '../../src/filesystem/xfs/mkfs/mkfs.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { checkWrittenImages, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

class FailingDevice extends MemoryDevice {
  fails = false

  override async write(offset: number, from: Uint8Array): Promise<void> {
    if (this.fails) throw new DrydiskError('EIO', 'no')
    await super.write(offset, from)
  }
}

test('what fails because earlier changes cannot be written is not done, and they are not lost', async () => {
  const device = new FailingDevice(300 << 20)
  await makeXfs(device, {})
  const fs = await openXfs(device, { writable: true })
  const attributes = { mode: 0o644, uid: 0, gid: 0 }
  const ino = await fs.create(fs.root, toBytes('file'), attributes)
  device.fails = true
  const value = pattern(60_000, 1)
  const made: string[] = []
  let failed = ''
  // More than is kept in memory.
  for (let n = 0; failed === ''; n++)
    try {
      await fs.setxattr(ino, `user.${n}`, value)
      made.push(`user.${n}`)
    } catch (error) {
      expect(error).toMatchObject({ code: 'EIO' })
      failed = `user.${n}`
    }
  await expect(fs.setxattr(ino, failed, value)).rejects.toMatchObject({ code: 'EIO' })
  expect(await fs.getxattr(ino, failed)).toBeUndefined()
  await expect(fs.close()).rejects.toMatchObject({ code: 'EIO' })
  device.fails = false
  await fs.setxattr(ino, failed, value)
  await fs.close()
  const again = await openXfs(device)
  expect((await again.listxattr(ino)).sort()).toEqual([...made, failed].sort())
  for (const name of made)
    expect(Buffer.compare((await again.getxattr(ino, name)) ?? new Uint8Array(), value), name).toBe(0)
  const image = new Uint8Array(device.size)
  await device.read(0, image)
  writeFileSync(writes(join(temporaryFolder(), 'image'), 'xfs'), image)
}, 60_000)
