import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import { FIELD } from '../../src/image/qcow2/header.ts'
import { readPadded } from '../../src/image/qcow2/padded-read.ts'
import { Restructure } from '../../src/image/qcow2/restructure.ts'
import { haveTool, propertySettings, runOk, temporaryFolder } from '../support/native.ts'
import { everyPowerLoss, factsOf, fileOf, openOn } from '../support/power-loss.ts'

/** A qcow2 image of 300 KiB that qemu-img makes, with some clusters of zeros. */
async function make(options: string, ...flags: string[]): Promise<Uint8Array> {
  const folder = temporaryFolder()
  const content = new Uint8Array(300 << 10)
  for (let at = 0; at < content.length; at++) content[at] = at % 16_384 < 12_000 ? (at >>> 9) * 7 + 1 : 0
  writeFileSync(join(folder, 'raw'), content)
  const image = join(folder, 't.qcow2')
  await runOk('qemu-img', [
    'convert',
    '-f',
    'raw',
    '-O',
    'qcow2',
    '-o',
    options,
    ...flags,
    join(folder, 'raw'),
    image,
  ])
  return new Uint8Array(readFileSync(image))
}

/** Moves the L1 table, and everything of the refcount structure. */
async function moveL1(medium: FaultMedium): Promise<void> {
  const storage = await fileOf(medium, 't.qcow2', 'write')
  const restructure = await Restructure.of(storage)
  const { l1_size, l1_table_offset, geometry } = restructure.header
  const bytes = new Uint8Array(l1_size * 8)
  await readPadded(storage, l1_table_offset, bytes)
  const count = Math.ceil(bytes.length / geometry.clusterSize)
  const first = restructure.allocate(count)
  await storage.write(first * geometry.clusterSize, bytes)
  restructure.release(l1_table_offset / geometry.clusterSize, count)
  await restructure.publish(view => view.setU64(FIELD.l1_table_offset, first * geometry.clusterSize))
}

describe.skipIf(!haveTool('qemu-img'))('restructuring a qcow2 image', () => {
  for (const [options, ...flags] of [
    ['cluster_size=512'],
    ['cluster_size=4096,refcount_bits=1'],
    ['cluster_size=64k', '-c'],
    ['compat=0.10,cluster_size=1024'],
    ['extended_l2=on,cluster_size=16k'],
  ] as [string, ...string[]][])
    it(`${[options, ...flags].join(' ')}: old or new at every power loss`, async () => {
      const files = { 't.qcow2': await make(options, ...flags) }
      expect(
        await everyPowerLoss(
          files,
          moveL1,
          async image => `${await factsOf(image)}${image.header.l1_table_offset}`,
        ),
      ).toBeGreaterThan(4)
    })

  it('leaves the file as it was when it cannot be done', async () => {
    const image = await make('cluster_size=1024')
    const count = new FaultMedium({ 't.qcow2': image })
    await moveL1(count)
    for (let operation = 0; operation < count.operations; operation++) {
      const medium = new FaultMedium({ 't.qcow2': image }, { failAt: { operation, code: 'ENOSPC' } })
      await expect(moveL1(medium)).rejects.toMatchObject({ code: 'ENOSPC' })
      const after = await openOn(medium, false)
      expect(await after.check()).toMatchObject({ corruptions: 0 })
      await after.close()
    }
  })

  it('makes any refcount width, and refuses one that is too narrow', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(512, 4096, 65_536),
        fc.constantFrom(1, 2, 4, 8, 16, 32, 64),
        fc.boolean(),
        async (clusterSize, bits, compressed) => {
          const medium = new FaultMedium({
            't.qcow2': await make(`cluster_size=${clusterSize}`, ...(compressed ? ['-c'] : [])),
          })
          const before = await openOn(medium, false)
          const facts = await factsOf(before)
          await before.close()
          const restructure = await Restructure.of(await fileOf(medium, 't.qcow2', 'write'))
          const fits = restructure.counts.largest() <= 2 ** bits - 1
          const done = restructure.publish(view => view.setU32(96, Math.log2(bits)), bits)
          if (!fits) {
            await expect(done).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
            return
          }
          await done
          const after = await openOn(medium, true)
          expect(await after.check()).toMatchObject({ corruptions: 0, leaks: 0 })
          const normal = (text: string): string => text.replace(/"refcount-bits":\d+/, '')
          expect(normal(await factsOf(after))).toBe(normal(facts))
          await after.close()
        },
      ),
      propertySettings(12),
    )
  })
})
