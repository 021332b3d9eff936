import { randomBytes } from 'node:crypto'
import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { convertImage } from '../../src/copy/convert.ts'
import { openImage } from '../../src/image/open.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'

describe.skipIf(!haveTool('qemu-img'))('a compressed image that was cut short', () => {
  it('is named, with the place, when its clusters cannot be decompressed', async () => {
    const folder = temporaryFolder()
    const raw = join(folder, 'raw')
    const path = join(folder, 'cut.qcow2')
    // Half of it random, so that the streams are long.
    writeFileSync(raw, Buffer.from(randomBytes(300_000).toString('hex')))
    await runOk('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, path])
    truncateSync(path, 400_000)
    const image = await openImage(path)
    try {
      const told = {
        code: 'ERR_CORRUPT',
        message: expect.stringMatching(/cut\.qcow2: at byte \d+, .*another copy/),
      }
      await expect(image.read(0, new Uint8Array(image.size))).rejects.toMatchObject(told)
      await expect(convertImage([image], join(folder, 'out'), { format: 'raw' })).rejects.toMatchObject(told)
    } finally {
      await image.close()
    }
  })
})
