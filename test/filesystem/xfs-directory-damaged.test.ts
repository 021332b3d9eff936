import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeXfs } from '../../native-fixtures/xfs-images.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { DrydiskError } from '../../src/errors.ts'
import { ForkMap } from '../../src/filesystem/xfs/fork-map.ts'
import { haveTool, propertySettings, temporaryFolder } from '../support/native.ts'
import { type DirectoryForm, DirectoryLab } from '../support/xfs-directory.ts'
import { withXfsWriter, xfsWriter } from '../support/xfs-writer.ts'

/** Byte ranges of the volume that are the directory's: its inode's fork, or its blocks. */
async function placesOf(lab: DirectoryLab): Promise<{ at: number; length: number }[]> {
  const { volume } = lab.writer
  const inode = await lab.inode()
  const { sb_blocksize, sb_inodesize } = volume.superblock
  const place = volume.geometry.inodePlace(lab.ino)
  if (place === undefined) throw new Error('no place')
  const block = volume.geometry.inAg(place.agno, place.agbno)
  const fork = { at: block * sb_blocksize + place.index * sb_inodesize + inode.coreSize, length: 60 }
  const size = { at: fork.at - inode.coreSize + 56, length: 8 }
  if ((await lab.form()) === 'short') return [fork, size]
  const places = [size]
  for await (const { br_startblock, br_blockcount } of new ForkMap(volume, inode, inode.data).extents())
    for (let index = 0; index < br_blockcount; index++)
      places.push({
        at: (volume.geometry.volumeBlock(br_startblock) + index) * sb_blocksize,
        length: sb_blocksize,
      })
  return places
}

async function flip(device: BlockDevice, at: number, bits: number): Promise<() => Promise<void>> {
  const before = new Uint8Array(1)
  await device.read(at, before)
  await device.write(at, Uint8Array.of((before[0] ?? 0) ^ bits))
  return () => device.write(at, before)
}

const flips = fc.array(
  fc.record({ place: fc.nat(), near: fc.boolean(), at: fc.nat(), bits: fc.integer({ min: 1, max: 255 }) }),
  { minLength: 1, maxLength: 4 },
)

describe.skipIf(!haveTool('mkfs.xfs'))('damaged directories of XFS', () => {
  // Without checksums, so that what is damaged is met.
  for (const [form, count] of [
    ['short', 5],
    ['block', 60],
    ['leaf', 300],
    ['node', 900],
  ] as const satisfies readonly (readonly [DirectoryForm, number])[])
    test(`${form}: typed errors, and nothing changed`, async () => {
      const image = join(temporaryFolder(), 'image')
      await makeXfs(image, 320, ['-m', 'crc=0', '-i', 'size=256'])
      const { places, names } = await withXfsWriter(image, async writer => {
        const lab = await DirectoryLab.make(writer)
        for (let n = 0; n < count; n++) await lab.add(`name ${n}`)
        for (let n = 0; n < count; n += 7) await lab.remove(`name ${n}`)
        expect(await lab.form()).toBe(form)
        return { places: await placesOf(lab), names: [...lab.entries.keys()] }
      })
      const device = new StorageDevice(await FileStorage.open(image, 'write'))
      try {
        await fc.assert(
          fc.asyncProperty(flips, fc.nat(), async (list, start) => {
            const undo: (() => Promise<void>)[] = []
            for (const { place, near, at, bits } of list) {
              const { at: from, length } = places[place % places.length] ?? { at: 0, length: 1 }
              // Most of the fields are at the beginning, and some at the end.
              const within = near ? (at % 2 === 0 ? at % 80 : length - 1 - (at % 80)) : at
              undo.unshift(await flip(device, from + (((within % length) + length) % length), bits))
            }
            const writer = await xfsWriter(device)
            let failed = 0
            for (let step = 0; step < 40; step++) {
              const name = names[(start + step * 17) % names.length] ?? ''
              const before = writer.volume.buffers.changedBytes
              try {
                const lab = await DirectoryLab.known(writer)
                if (step % 2 === 0) await lab.removeAny(name)
                else await lab.add(`new ${step} ${'x'.repeat(step * 5)}`)
              } catch (error) {
                if (!(error instanceof DrydiskError)) throw error
                failed++
                expect(writer.volume.buffers.changedBytes).toBe(before)
              }
            }
            for (const step of undo) await step()
            expect(failed).toBeLessThanOrEqual(40)
          }),
          propertySettings(30),
        )
      } finally {
        await device.close()
      }
    })
})
