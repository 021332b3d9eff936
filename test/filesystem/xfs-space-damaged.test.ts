import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { storeChecksum } from '../../src/filesystem/xfs/checksum.ts'
import { Inodes } from '../../src/filesystem/xfs/inodes.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { createSpace } from '../../src/filesystem/xfs/space/space.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import { XfsVolume } from '../../src/filesystem/xfs/volume.ts'
import { haveTool, propertySettings } from '../support/native.ts'
import { groupState, makeTinyXfs, withSpace } from '../support/xfs-space.ts'
import { cutFreeSpace, type Held, Life, operation } from '../support/xfs-space-life.ts'

/** A structure of group 1 and where its checksum is. */
interface Structure {
  readonly at: number
  readonly size: number
  readonly crc: number
}

interface Image {
  readonly path: string
  readonly held: readonly Held[]
  readonly structures: readonly Structure[]
}

async function prepare(args: readonly string[]): Promise<Image> {
  const path = await makeTinyXfs(64, args)
  return withSpace(path, async bench => {
    const { volume } = bench
    const life = new Life(bench)
    await cutFreeSpace(bench, life)
    for (const held of life.held.slice(0, 300)) await inTransaction(bench, () => life.share(held))
    const { own, refcountbt, listed } = await groupState(volume, 1)
    const agf = await volume.readAgf(1)
    const list = new Set(await volume.readAgfl(1, agf))
    expect(list.size).toBe(listed)
    const { sb_sectsize, sb_blocksize } = volume.superblock
    const headers = [
      [1, 216],
      [3, 32],
    ].map(([sector = 0, crc = 0]) => ({
      at: volume.geometry.agByte(1) + sector * sb_sectsize,
      size: sb_sectsize,
      crc,
    }))
    const blocks = [...own, ...refcountbt]
      .filter(block => !list.has(block))
      .map(block => ({
        at: volume.geometry.agByte(1) + block * sb_blocksize,
        size: sb_blocksize,
        crc: 52,
      }))
    // Each header as often as all blocks together.
    return { path, held: life.held, structures: [...blocks, ...blocks.flatMap(() => headers)] }
  })
}

const damage = fc.record({
  structure: fc.nat(),
  place: fc.nat(),
  /** Most of what matters is at the beginning. */
  early: fc.boolean(),
  value: fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff),
  width: fc.constantFrom(1, 2, 4),
})

async function spoil(
  device: BlockDevice,
  image: Image,
  each: typeof damage extends fc.Arbitrary<infer T> ? T : never,
  isV5: boolean,
) {
  const structure = image.structures[each.structure % image.structures.length]
  if (structure === undefined) return
  const bytes = new Uint8Array(structure.size)
  await device.read(structure.at, bytes)
  const place = each.place % (each.early ? 120 : structure.size - 4)
  bytes.fill(each.value, place, place + each.width)
  if (isV5) storeChecksum(bytes, structure.crc)
  await device.write(structure.at, bytes)
}

describe.skipIf(!haveTool('mkfs.xfs'))('damaged trees of free space', () => {
  for (const args of [
    ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=1'],
    ['-m', 'crc=0', '-b', 'size=512'],
  ]) {
    let image: Image
    beforeAll(async () => {
      image = await prepare(args)
    })
    test(`are told of, and end nowhere else: ${args.join(' ')}`, async () => {
      const base = new StorageDevice(await FileStorage.open(image.path, 'read'))
      let told = 0
      const property = fc.asyncProperty(
        fc.array(damage, { minLength: 1, maxLength: 3 }),
        fc.array(operation, { minLength: 12, maxLength: 12 }),
        async (damages, steps) => {
          // Closing it would close the image.
          const device = new OverlayDevice(base)
          const superblock = await readSuperblock(device)
          for (const each of damages) await spoil(device, image, each, superblock.isV5)
          const volume = new XfsVolume(device, superblock)
          const life = new Life({ volume, inodes: new Inodes(volume), space: createSpace(volume) })
          life.held.push(...image.held)
          for (const step of steps)
            try {
              await life.run({ ...step, where: 0.25 + step.where / 4 })
            } catch (error) {
              if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
              told++
            }
        },
      )
      try {
        await fc.assert(property, propertySettings(60))
      } finally {
        await base.close()
      }
      expect(told).toBeGreaterThan(20)
    })
  }
})
