import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeXfs, quickFolder } from '../../native-fixtures/xfs-logs.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { NULL_AGINO, UNLINKED_BUCKETS } from '../../src/filesystem/xfs/agi.ts'
import { VERSION } from '../../src/filesystem/xfs/features.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { checkWrittenImages, haveTool, writes } from '../support/native.ts'
import { withWriter } from '../support/xfs-inodes.ts'

checkWrittenImages()

/** XFS_UQUOTA_ACCT and XFS_UQUOTA_ENFD, and XFS_UQUOTA_CHKD: usage was counted. */
const ON = 0x0003
const COUNTED = 0x0004

/** A file without a name: the number of one that the filesystem itself refers to. */
async function nameless({ volume, inodeAllocator }: XfsWriter): Promise<number> {
  const inode = await inodeAllocator.allocate(volume.superblock.sb_rootino, 0o100600)
  inode.di_nlink = 1
  return inode.ino
}

/** An image on which quotas of users are on and counted. The kernels of few test machines have quotas, so it is made here. */
async function withQuota(mkfs: readonly string[]): Promise<{ image: string; quotaInode: number }> {
  const image = writes(join(quickFolder(), 'image'), 'xfs')
  await makeXfs(image, 320, mkfs)
  const quotaInode = await withWriter(image, writer =>
    inTransaction(writer, async () => {
      const ino = await nameless(writer)
      const view = await writer.volume.editSuperblock()
      view.setU16(100, view.u16(100) | VERSION.QUOTA)
      view.setU64(160, ino)
      view.setU16(176, ON | COUNTED)
      return ino
    }),
  )
  return { image, quotaInode }
}

/** Leaves a file of a user on a list of removed files, as a crash does. */
async function leaveRemoved(image: string): Promise<void> {
  await withWriter(image, writer =>
    inTransaction(writer, async () => {
      const { volume, inodes } = writer
      const inode = await inodes.edit(await nameless(writer))
      inode.di_nlink = 0
      inode.di_uid = 1000
      const { inodePlace } = volume.geometry
      const place = inodePlace.call(volume.geometry, inode.ino)
      if (place === undefined) throw new Error('an inode outside the volume')
      const agino = place.agbno * volume.superblock.sb_inopblock + place.index
      const agi = await volume.editAgi(place.agno)
      expect(agi.unlinked(agino % UNLINKED_BUCKETS)).toBe(NULL_AGINO)
      agi.setUnlinked(agino % UNLINKED_BUCKETS, agino)
    }),
  )
}

async function quotaFlags(image: string): Promise<number> {
  const device = new StorageDevice(await FileStorage.open(image, 'read'))
  const { sb_qflags } = await readSuperblock(device)
  await device.close()
  return sb_qflags
}

async function editing(
  image: string,
  edit: (fs: Awaited<ReturnType<typeof openXfs>>) => Promise<void>,
): Promise<void> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  const fs = await openXfs(device, { writable: true })
  await edit(fs)
  await fs.close()
  await device.close()
}

describe.skipIf(!haveTool('mkfs.xfs') || !haveTool('xfs_repair'))('a filesystem with quotas', () => {
  for (const mkfs of [[], ['-m', 'crc=0']])
    test(`stays counted until something changes, and is then counted anew by the next mount (${mkfs.join(' ') || 'defaults'})`, async () => {
      const { image, quotaInode } = await withQuota(mkfs)
      await editing(image, async fs => {
        expect((await fs.stat(quotaInode)).size).toBe(0)
      })
      expect(await quotaFlags(image)).toBe(ON | COUNTED)
      await editing(image, async fs => {
        const ino = await fs.create(fs.root, new TextEncoder().encode('a'), {
          mode: 0o644,
          uid: 1000,
          gid: 1000,
        })
        await fs.write(ino, 0, new Uint8Array(100_000))
      })
      expect(await quotaFlags(image)).toBe(ON)
    })

  test('is counted anew where opening it freed what was removed', async () => {
    const { image } = await withQuota([])
    await leaveRemoved(image)
    await editing(image, async () => {})
    expect(await quotaFlags(image)).toBe(ON)
  })

  test('is counted anew where something is changed after opening it freed what was removed', async () => {
    const { image } = await withQuota([])
    await leaveRemoved(image)
    await editing(image, async fs => {
      await fs.create(fs.root, new TextEncoder().encode('a'), { mode: 0o644, uid: 1000, gid: 1000 })
    })
    expect(await quotaFlags(image)).toBe(ON)
  })
})
