import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeXfs, quickFolder } from '../../native-fixtures/xfs-logs.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { AGI_CRC_OFFSET } from '../../src/filesystem/xfs/agi.ts'
import { storeChecksum } from '../../src/filesystem/xfs/checksum.ts'
import { writeData } from '../../src/filesystem/xfs/fork/file-write.ts'
import { finishUnlinked } from '../../src/filesystem/xfs/inode-space/unlinked.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import { haveTool, propertySettings } from '../support/native.ts'
import { withWriter, writerOf } from '../support/xfs-inodes.ts'

/** A structure with its own checksum. */
interface Place {
  readonly at: number
  readonly length: number
  readonly crcAt: number
}

interface Damaged {
  readonly path: string
  readonly isV5: boolean
  readonly used: readonly number[]
  readonly places: readonly Place[]
}

/** A filesystem with some inodes in use, and where that is written down. */
async function prepare(mkfs: string): Promise<Damaged> {
  const path = join(quickFolder(), 'image')
  await makeXfs(path, 64, mkfs.split(' '))
  return withWriter(path, async writer => {
    const { volume } = writer
    const { sb_sectsize, sb_blocksize, sb_inodesize, sb_inopblock, sb_rootino, isV5, hasFinobt } =
      volume.superblock
    const used: number[] = []
    for (let n = 0; n < 200; n++)
      await inTransaction(writer, async () => {
        used.push((await writer.inodeAllocator.allocate(sb_rootino, 0o100644)).ino)
      })
    const agi = await volume.readAgi(0)
    const block = (agbno: number): Place => ({ at: agbno * sb_blocksize, length: sb_blocksize, crcAt: 52 })
    const inode = (ino: number): Place => ({
      at: Math.floor(ino / sb_inopblock) * sb_blocksize + (ino % sb_inopblock) * sb_inodesize,
      length: sb_inodesize,
      crcAt: 100,
    })
    const places = [
      { at: 2 * sb_sectsize, length: sb_sectsize, crcAt: AGI_CRC_OFFSET },
      block(agi.agi_root),
      ...(hasFinobt ? [block(agi.agi_free_root)] : []),
      ...[...used.slice(0, 3), Math.max(...used) + 1].map(inode),
    ]
    return { path, isV5, used, places }
  })
}

async function damage(
  device: BlockDevice,
  { at, length, crcAt }: Place,
  isV5: boolean,
  changes: readonly (readonly [number, number])[],
): Promise<void> {
  const bytes = new Uint8Array(length)
  await device.read(at, bytes)
  // What is in use of a tree's block, of an AGI and of an inode's core is at the beginning.
  for (const [where, value] of changes) bytes[where % Math.min(length, 360)] = value
  if (isV5) storeChecksum(bytes, crcAt)
  await device.write(at, bytes)
}

describe.skipIf(!haveTool('mkfs.xfs'))('damaged books of XFS inodes', () => {
  for (const mkfs of ['-m crc=0 -d agcount=2', '-m rmapbt=1 -d agcount=2'])
    test(`give typed errors (${mkfs})`, async () => {
      const image = await prepare(mkfs)
      const base = new StorageDevice(await FileStorage.open(image.path, 'read'))
      const change = fc.tuple(fc.nat(400), fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)))
      const codes = new Set<string>()
      const tolerate = async (work: () => Promise<unknown>) => {
        try {
          await work()
        } catch (error) {
          if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED', 'ENOSPC')) throw error
          codes.add(error.code)
        }
      }
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...image.places),
          fc.array(change, { minLength: 1, maxLength: 4 }),
          fc.nat(150),
          async (place, changes, from) => {
            const device = new OverlayDevice(base)
            await damage(device, place, image.isV5, changes)
            const writer = await writerOf(device)
            const { sb_rootino } = writer.volume.superblock
            const begun = performance.now()
            await tolerate(() => finishUnlinked(writer, inode => writer.inodeAllocator.free(inode)))
            for (const ino of [...image.used.slice(0, 3), ...image.used.slice(from, from + 30)])
              await tolerate(() =>
                inTransaction(writer, async () => writer.inodeAllocator.free(await writer.inodes.edit(ino))),
              )
            for (let n = 0; n < 80; n++)
              await tolerate(() =>
                inTransaction(writer, () => writer.inodeAllocator.allocate(sb_rootino, 0o100644)),
              )
            await writer.volume.buffers.flush()
            expect(performance.now() - begun).toBeLessThan(5000)
          },
        ),
        propertySettings(60),
      )
      await base.close()
      expect(codes).toContain('ERR_CORRUPT')
    }, 120_000)

  test('a fork with no room for an extent is damage, and told as such', async () => {
    const path = join(quickFolder(), 'image')
    await makeXfs(path, 64, [])
    await withWriter(path, async writer => {
      for (const forkoff of [1, 2, 3]) {
        const inode = await inTransaction(writer, async () => {
          const made = await writer.inodeAllocator.allocate(writer.volume.superblock.sb_rootino, 0o100644)
          made.di_forkoff = forkoff
          return made
        })
        const write = (at: number) =>
          inTransaction(writer, async () =>
            writeData(writer, await writer.inodes.edit(inode.ino), at, new Uint8Array(10)),
          )
        if (forkoff > 1) await write(0)
        if (forkoff < 3) await expect(write(100_000)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
        else await write(100_000)
      }
    })
  })
})
