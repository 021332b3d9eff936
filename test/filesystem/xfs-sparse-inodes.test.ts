import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { haveXfsMounts, makeXfs, mountedXfs, quickFolder } from '../../native-fixtures/xfs-logs.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { haveTool } from '../support/native.ts'
import { fillWithOneFile, makeHoles } from '../support/xfs-holes.ts'
import { inodeBooks, repairSays, withWriter } from '../support/xfs-inodes.ts'

/** Inodes of 2 KiB: a chunk has 32 blocks of 4 KiB, and half of one is the least that is made. */
const CHUNK_BLOCKS = 32
const HALF = CHUNK_BLOCKS / 2

async function allocateAll(writer: XfsWriter): Promise<number[]> {
  const made: number[] = []
  for (;;)
    try {
      const { sb_rootino } = writer.volume.superblock
      made.push(
        await inTransaction(
          writer,
          async () => (await writer.inodeAllocator.allocate(sb_rootino, 0o100600)).ino,
        ),
      )
    } catch (error) {
      expect(isDrydiskError(error, 'ENOSPC')).toBe(true)
      return made
    }
}

async function free(writer: XfsWriter, ino: number): Promise<void> {
  await inTransaction(writer, async () => writer.inodeAllocator.free(await writer.inodes.edit(ino)))
}

async function sparseRecords(writer: XfsWriter): Promise<number> {
  const { records } = await inodeBooks(writer.volume)
  return records.filter(({ ir_holemask }) => ir_holemask !== 0).length
}

describe.skipIf(!haveXfsMounts() || !haveTool('xfs_repair'))('parts of chunks of XFS inodes', () => {
  for (const features of ['rmapbt=1', 'finobt=0,reflink=0'])
    test(`are made where no chunk fits, and become whole (${features})`, async () => {
      const image = join(quickFolder(), 'image')
      await makeXfs(image, 48, ['-m', features, '-i', 'size=2048,maxpct=100', '-d', 'agcount=3'])
      const filler = await fillWithOneFile(image)
      const made = new Set<number>()
      await withWriter(image, async writer => {
        await makeHoles(writer, filler, { period: CHUNK_BLOCKS, offset: 0, count: HALF, most: 24 })
        for (const ino of await allocateAll(writer)) made.add(ino)
        expect(await sparseRecords(writer)).toBeGreaterThan(10)
      })
      expect(await repairSays(image)).toEqual({ disconnected: made, rest: [] })

      // The other halves: records become whole.
      await withWriter(image, async writer => {
        await makeHoles(writer, filler, { period: CHUNK_BLOCKS, offset: HALF, count: HALF, most: 18 })
        const before = await sparseRecords(writer)
        for (const ino of await allocateAll(writer)) made.add(ino)
        expect(await sparseRecords(writer)).toBeLessThan(before - 8)
      })
      expect(await repairSays(image)).toEqual({ disconnected: made, rest: [] })

      await withWriter(image, async writer => {
        const all = [...made]
        for (const [index, ino] of all.entries()) if (index % 3 > 0) await free(writer, ino)
        expect((await inodeBooks(writer.volume)).used.size).toBe(Math.ceil(all.length / 3) + 4)
        for (const [index, ino] of all.entries()) if (index % 3 === 0) await free(writer, ino)
        expect(await sparseRecords(writer)).toBe(0)
      })
      expect(await repairSays(image)).toEqual({ disconnected: new Set(), rest: [] })
      await mountedXfs(image, async () => {})
      expect(await repairSays(image)).toEqual({ disconnected: new Set(), rest: [] })
    }, 60_000)
})
