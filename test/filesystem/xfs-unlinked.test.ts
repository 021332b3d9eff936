import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  haveXfsMounts,
  makeXfs,
  mountedXfs,
  quickFolder,
  replayedByKernel,
} from '../../native-fixtures/xfs-logs.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { DrydiskError } from '../../src/errors.ts'
import { NULL_AGINO, UNLINKED_BUCKETS } from '../../src/filesystem/xfs/agi.ts'
import { finishUnlinked, type UnlinkedResult } from '../../src/filesystem/xfs/inode-space/unlinked.ts'
import { bringLogHome } from '../../src/filesystem/xfs/log/bring-home.ts'
import { destroyInode } from '../../src/filesystem/xfs/new-inode.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { haveTool, runOk } from '../support/native.ts'
import { inodeBooks, repairSays, withWriter } from '../support/xfs-inodes.ts'

/** An image whose lists the kernel made. */
async function leftOpen(mkfs: string, files: number): Promise<string> {
  const image = join(quickFolder(), 'image')
  await makeXfs(image, 96, [...mkfs.split(' '), '-d', 'agcount=3'])
  await mountedXfs(image, async folder => {
    const script = new URL('../../native-fixtures/xfs/unlinked.py', import.meta.url).pathname
    await runOk('python3', [script, folder, '5', `${files}`])
  })
  return image
}

async function replayLog(image: string): Promise<void> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  await bringLogHome(device, await readSuperblock(device))
  await device.flush()
  await device.close()
}

const finish = (writer: XfsWriter): Promise<UnlinkedResult> =>
  finishUnlinked(writer, inode => destroyInode(writer, inode))

async function firstOfLists({
  volume,
}: XfsWriter): Promise<{ agno: number; bucket: number; agino: number }[]> {
  const found: { agno: number; bucket: number; agino: number }[] = []
  for (let agno = 0; agno < volume.geometry.agCount; agno++) {
    const agi = await volume.readAgi(agno)
    for (let bucket = 0; bucket < UNLINKED_BUCKETS; bucket++)
      if (agi.unlinked(bucket) !== NULL_AGINO) found.push({ agno, bucket, agino: agi.unlinked(bucket) })
  }
  return found
}

describe.skipIf(!haveTool('mkfs.xfs') || !haveTool('xfs_repair'))('lists of removed files', () => {
  // Few kernels mount version 4 any more, so these lists are made here.
  for (const mkfs of ['-m crc=0 -d agcount=3', '-m crc=0 -b size=65536 -d agcount=2'])
    test(`are emptied (${mkfs})`, async () => {
      const image = join(quickFolder(), 'image')
      await makeXfs(image, 160, mkfs.split(' '))
      const before = await withWriter(image, async writer => {
        const { volume, inodes, inodeAllocator } = writer
        const books = await inodeBooks(volume)
        for (let n = 0; n < 200; n++)
          await inTransaction(writer, async () => {
            const { ino } = await inodeAllocator.allocate(volume.superblock.sb_rootino, 0o100644)
            const inode = await inodes.edit(ino)
            const agino = ino - volume.geometry.inodeNumber(0, 0)
            const agi = await volume.editAgi(0)
            const bucket = agino % UNLINKED_BUCKETS
            inode.di_next_unlinked = agi.unlinked(bucket)
            agi.setUnlinked(bucket, agino)
          })
        return books
      })
      await withWriter(image, async writer => {
        expect(await finish(writer)).toEqual({ count: 200, warnings: [] })
        expect((await inodeBooks(writer.volume)).used).toEqual(before.used)
      })
      expect(await repairSays(image)).toEqual({ disconnected: new Set(), rest: [] })
    })
})

describe.skipIf(!haveXfsMounts() || !haveTool('xfs_repair'))('removed files of XFS', () => {
  for (const mkfs of [
    '-m rmapbt=1 -i nrext64=1',
    '-b size=1024 -i sparse=0',
    '-m finobt=0,reflink=0,bigtime=0',
  ])
    test(`are freed as the kernel frees them (${mkfs})`, async () => {
      const image = await leftOpen(mkfs, 150)
      const theirs = await replayedByKernel(image)
      if (theirs === undefined) throw new Error('the kernel does not replay it')
      await replayLog(image)
      const used = await withWriter(image, async writer => {
        expect((await firstOfLists(writer)).length).toBeGreaterThan(20)
        expect(await finish(writer)).toEqual({ count: 118, warnings: [] })
        expect(await firstOfLists(writer)).toEqual([])
        expect(await finish(writer)).toEqual({ count: 0, warnings: [] })
        return (await inodeBooks(writer.volume)).used
      })
      expect(await repairSays(image)).toEqual({ disconnected: new Set(), rest: [] })
      expect(await withWriter(theirs, async writer => (await inodeBooks(writer.volume)).used)).toEqual(used)
      await mountedXfs(image, async () => {})
    }, 60_000)

  test('a file that needs space to be freed waits for it, and the filesystem opens', async () => {
    const image = await leftOpen('-m rmapbt=1', 3)
    await replayLog(image)
    await withWriter(image, async writer => {
      const lists = await firstOfLists(writer)
      const full = async (): Promise<void> => {
        throw new DrydiskError('ENOSPC', 'no space left')
      }
      const { count, warnings } = await finishUnlinked(writer, full)
      expect([count, warnings.length]).toEqual([0, lists.length])
      expect(warnings[0]).toMatch(/waits to be freed/)
      expect(await firstOfLists(writer)).toEqual(lists)
      expect((await finish(writer)).count).toBeGreaterThan(0)
    })
    expect(await repairSays(image)).toEqual({ disconnected: new Set(), rest: [] })
  }, 60_000)

  test('damaged lists end, and cost nothing but what only they know of', async () => {
    const image = await leftOpen('-m rmapbt=1', 400)
    await replayLog(image)
    const lost = new Set<number>()
    await withWriter(image, async writer => {
      const { volume, inodes } = writer
      const lists = await firstOfLists(writer)
      const [first, second, third, fourth, fifth, sixth] = lists
      if (!first || !second || !third || !fourth || !fifth || !sixth) throw new Error('too few lists')
      const rest = async ({ agno, agino }: typeof first, from: number) => {
        for (let at = agino, index = 0; at !== NULL_AGINO; index++) {
          const ino = volume.geometry.inodeNumber(agno, at)
          if (index >= from) lost.add(ino)
          at = (await inodes.read(ino)).di_next_unlinked
        }
      }
      await rest(first, 0)
      await rest(second, 1)
      await rest(third, 0)
      await inTransaction(writer, async () => {
        const edit = ({ agno, agino }: typeof first) => inodes.edit(volume.geometry.inodeNumber(agno, agino))
        // Beyond the group; an inode that is free; one of another list; a circle; itself; a file with a name.
        const agi = await volume.editAgi(first.agno)
        agi.setUnlinked(first.bucket, 0x7fff_0000 + first.bucket)
        const inode = await edit(second)
        inode.di_next_unlinked = second.agino + 64 * 5000
        const other = await volume.editAgi(third.agno)
        other.setUnlinked(third.bucket, third.agino + 1)
        const last = await edit(fourth)
        if (!last.isUnlinkedLast) await rest(fourth, 1)
        last.di_next_unlinked = fourth.agino
        const linked = await edit(sixth)
        linked.di_nlink = 1
        lost.add(linked.ino)
      })
      let count = 0
      const result = await finishUnlinked(writer, async inode => {
        // One that cannot be freed stays, and the list goes on behind it.
        if (count++ === 0) {
          lost.add(inode.ino)
          inode.di_nblocks += 1
          return writer.inodeAllocator.free(inode)
        }
        return destroyInode(writer, inode)
      })
      expect(result.warnings.length).toBe(5)
      expect(await firstOfLists(writer)).toEqual([])
      await inodeBooks(volume)
    })
    const { disconnected, rest } = await repairSays(image)
    expect(disconnected).toEqual(lost)
    // As after a mount that cleared such lists: what is lost points on to what is lost.
    for (const line of rest)
      expect(lost).toContain(Number(/^Would clear next_unlinked in inode (\d+)$/.exec(line)?.[1]))
  }, 60_000)
})
