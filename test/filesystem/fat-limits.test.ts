import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { FAT_VARIANTS, makeFatImage, withFat } from '../../native-fixtures/fat-images.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { DrydiskError } from '../../src/errors.ts'
import { openFat } from '../../src/filesystem/fat/open.ts'
import { fromFatTime, toFatTime } from '../../src/filesystem/fat/timestamp.ts'
import { mtools } from '../support/mtools.ts'
import { checkWrittenImages, haveTool, writes } from '../support/native.ts'

checkWrittenImages()

const b = (text: string) => new TextEncoder().encode(text)
const rw = { mode: 0o644, uid: 0, gid: 0 }
const [FAT32 = { name: '', arguments: [], kilobytes: 0 }] = FAT_VARIANTS

describe.skipIf(!haveTool('mkfs.fat'))('limits', () => {
  test('a file ends before 4 GiB: EFBIG, and nothing changes', async () => {
    const image = writes(await makeFatImage(FAT32), 'vfat')
    await withFat(image, { writable: true }, async fs => {
      const ino = await fs.create(fs.root, b('f'), rw)
      await fs.write(ino, 0, b('content'))
      const { freeBlocks } = await fs.statfs()
      await expect(fs.truncate(ino, 2 ** 32)).rejects.toMatchObject({ code: 'EFBIG' })
      await expect(fs.write(ino, 2 ** 32 - 1, b('x'))).rejects.toMatchObject({ code: 'EFBIG' })
      await expect(fs.truncate(ino, 2 ** 32 - 1)).rejects.toMatchObject({ code: 'ENOSPC' })
      await expect(fs.write(ino, 1.5, b('x'))).rejects.toMatchObject({ code: 'EINVAL' })
      expect((await fs.stat(ino)).size).toBe(7)
      expect((await fs.statfs()).freeBlocks).toBe(freeBlocks)
    })
  })

  test('a directory has 65536 entries at most, then ENOSPC', async () => {
    const image = writes(await makeFatImage(FAT32), 'vfat')
    await withFat(image, { writable: true }, async fs => {
      const d = await fs.mkdir(fs.root, b('d'), rw)
      const name = (n: number) => b(`${n}-`.padEnd(255, 'x'))
      // Two for `.` and `..`, and 21 for each: 20 of the long name and a short one.
      const fits = Math.floor((65_536 - 2) / 21)
      for (let n = 0; n < fits; n++) await fs.create(d, name(n), rw)
      const { freeBlocks } = await fs.statfs()
      for (const make of ['create', 'mkdir'] as const)
        await expect(fs[make](d, name(fits), rw)).rejects.toMatchObject({ code: 'ENOSPC' })
      expect((await fs.statfs()).freeBlocks).toBe(freeBlocks)
      await fs.unlink(d, name(77))
      await fs.create(d, name(fits), rw)
      expect((await fs.stat(d)).size).toBe(65_536 * 32)
    })
  })

  test('a full filesystem: ENOSPC leaves everything as it was, and there is room again after a removal', async () => {
    const image = writes(
      await makeFatImage({ name: '', arguments: ['-F', '12', '-s', '1'], kilobytes: 360 }),
      'vfat',
    )
    await withFat(image, { writable: true }, async fs => {
      const { freeBlocks } = await fs.statfs()
      const ino = await fs.create(fs.root, b('f'), rw)
      await expect(fs.write(ino, 0, new Uint8Array((freeBlocks + 1) * 512))).rejects.toMatchObject({
        code: 'ENOSPC',
      })
      expect(await fs.stat(ino)).toMatchObject({ size: 0, blocks: 0 })
      await fs.write(ino, 0, new Uint8Array(freeBlocks * 512).fill(7))
      expect((await fs.statfs()).freeBlocks).toBe(0)
      await expect(fs.mkdir(fs.root, b('d'), rw)).rejects.toMatchObject({ code: 'ENOSPC' })
      await fs.truncate(ino, (freeBlocks - 1) * 512)
      await fs.mkdir(fs.root, b('d'), rw)
      await fs.unlink(fs.root, b('f'))
      expect((await fs.statfs()).freeBlocks).toBe(freeBlocks - 1)
    })
  })

  test('a write that fails midway: nothing is written from then on', async () => {
    const bytes = new Uint8Array(readFileSync(await makeFatImage(FAT32)))
    class Failing extends MemoryDevice {
      failing = false
      override async write(offset: number, from: Uint8Array): Promise<void> {
        if (this.failing) throw new DrydiskError('ENOSPC', 'the disk of the host is full')
        await super.write(offset, from)
      }
    }
    const device = new Failing(bytes)
    const fs = await openFat(device, { writable: true })
    const ino = await fs.create(fs.root, b('f'), rw)
    device.failing = true
    await expect(fs.write(ino, 0, b('content'))).rejects.toMatchObject({ code: 'ENOSPC' })
    device.failing = false
    await expect(fs.create(fs.root, b('g'), rw)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    await expect(fs.sync()).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    await fs.close()
    expect(Buffer.compare(device.toBytes(), bytes)).toBe(0)
  })
})

describe('times', () => {
  const at = (text: string) => BigInt(Date.parse(text)) * 1_000_000n

  test.each([
    ['1980-01-01T00:00:00.000Z', '1980-01-01T00:00:00.000Z'],
    ['1969-07-20T20:17:40.000Z', '1980-01-01T00:00:00.000Z'],
    ['2026-11-22T13:57:59.990Z', '2026-11-22T13:57:59.990Z'],
    ['2026-11-22T13:57:58.004Z', '2026-11-22T13:57:58.000Z'],
    ['2096-02-29T23:59:59.999Z', '2096-02-29T23:59:59.990Z'],
    ['2107-12-31T23:59:59.999Z', '2107-12-31T23:59:58.000Z'],
    ['2200-01-01T00:00:00.000Z', '2107-12-31T23:59:58.000Z'],
  ])('%s is kept as %s', (given, kept) => {
    expect(fromFatTime(toFatTime(at(given)))).toBe(at(kept))
  })

  test('fields out of range are some time, not an error', () => {
    expect(fromFatTime({ date: 0, time: 0, tenths: 0 })).toBe(at('1980-01-01T00:00:00Z'))
    expect(fromFatTime({ date: 0xffff, time: 0xffff, tenths: 199 })).toBeTypeOf('bigint')
  })

  test.skipIf(!haveTool('mkfs.fat') || !haveTool('mdir'))('are what mdir shows', async () => {
    const image = writes(await makeFatImage(FAT32), 'vfat')
    const time = at('2031-04-05T06:07:09.550Z')
    await withFat(image, { writable: true }, async fs => {
      const ino = await fs.create(fs.root, b('FILE.TXT'), { ...rw, time })
      expect(await fs.stat(ino)).toMatchObject({
        birthtime: at('2031-04-05T06:07:09.550Z'),
        mtime: at('2031-04-05T06:07:08Z'),
        atime: at('2031-04-05T00:00:00Z'),
      })
    })
    expect(await mtools('mdir', image, '::/')).toMatch(/FILE +TXT +0 +2031-04-05 +6:07/)
  })
})
