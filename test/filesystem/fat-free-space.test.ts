import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FAT_VARIANTS, makeFatImage, withFat } from '../../native-fixtures/fat-images.ts'
import { RangeSet } from '../../src/bytes/range-set.ts'
import { freeRanges } from '../../src/copy/free-ranges.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { openFat } from '../../src/filesystem/fat/open.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { scribble } from '../support/free-space.ts'
import { ownFatTree } from '../support/mtools.ts'
import { checkWrittenImages, haveTool, propertySettings, runOk, writes } from '../support/native.ts'

checkWrittenImages()

const rw = { mode: 0o644, uid: 0, gid: 0 }
const name = (text: string) => new TextEncoder().encode(text)

describe.skipIf(!haveTool('mkfs.fat') || !haveTool('fsck.fat'))('free space of FAT', () => {
  for (const variant of FAT_VARIANTS)
    test(`${variant.name}: is what fsck.fat counts, and nobody misses it`, async () => {
      const image = writes(await makeFatImage(variant), 'vfat')
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat(60_000), { minLength: 4, maxLength: 12 }), async sizes => {
          const ranges = new RangeSet()
          let tree: Awaited<ReturnType<typeof ownFatTree>> = {}
          let clusterSize = 0
          await withFat(image, { writable: true }, async fs => {
            const d = await fs.mkdir(fs.root, name(`d${sizes.join()}`), rw)
            for (const [index, size] of sizes.entries()) {
              const ino = await fs.create(d, name(`file ${index}`), rw)
              await fs.write(ino, 0, pattern(size + 1, index))
            }
            for (let index = 0; index < sizes.length; index += 2) await fs.unlink(d, name(`file ${index}`))
            tree = await ownFatTree(fs)
            clusterSize = (await fs.statfs()).blockSize
            let end = -1
            for await (const { offset, length } of fs.freeRanges()) {
              expect(offset).toBeGreaterThan(end)
              end = offset + length
              ranges.add(offset, end)
            }
            expect(ranges.total).toBe((await fs.statfs()).freeBlocks * clusterSize)
          })
          scribble(image, ranges)
          const [, used, all] = /, (\d+)\/(\d+) clusters/.exec(await runOk('fsck.fat', ['-n', image])) ?? []
          expect(ranges.total / clusterSize).toBe(Number(all) - Number(used))
          await withFat(image, {}, async fs => expect(await ownFatTree(fs)).toEqual(tree))
        }),
        propertySettings(2),
      )
    })

  test('of a whole disk: a FAT volume is dropped like any other, and not where another signature is on it', async () => {
    const [variant] = FAT_VARIANTS
    if (variant === undefined) return
    const device = new MemoryDevice(readFileSync(await makeFatImage(variant)))
    const own = await openFat(device)
    const free = (await own.statfs()).freeBlocks * (await own.statfs()).blockSize
    expect(await freeRanges(device)).toMatchObject({ volumes: [{ type: 'vfat', dropped: free }] })
    await device.write(0x8001, name('CD001'))
    const [volume] = (await freeRanges(device)).volumes
    expect(volume).toMatchObject({ dropped: 0, reason: expect.stringMatching(/both vfat and iso9660/) })
  })

  test('a cluster is in use where either FAT says so', async () => {
    const [variant] = FAT_VARIANTS
    if (variant === undefined) return
    const bytes = new Uint8Array(readFileSync(await makeFatImage(variant)))
    const view = new DataView(bytes.buffer)
    const second = view.getUint16(14, true) * 512 + view.getUint32(36, true) * 512
    const total = async () => {
      let sum = 0
      for await (const { length } of (await openFat(new MemoryDevice(bytes))).freeRanges()) sum += length
      return sum
    }
    const before = await total()
    view.setUint32(second + 100 * 4, 0x0fff_ffff, true)
    expect(await total()).toBe(before - 512)
  })
})
