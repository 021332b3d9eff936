import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeXfs } from '../../native-fixtures/xfs-images.ts'
import { DrydiskError, isDrydiskError } from '../../src/errors.ts'
import { FORMAT } from '../../src/filesystem/xfs/dinode.ts'
import { nameHash } from '../../src/filesystem/xfs/dir-name.ts'
import { listNames } from '../../src/filesystem/xfs/directory.ts'
import { setParent } from '../../src/filesystem/xfs/directory-edit/directory-edit.ts'
import { ForkEditor } from '../../src/filesystem/xfs/fork/fork-edit.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { Space, XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'
import { bytesOf, DirectoryLab, nameOf } from '../support/xfs-directory.ts'
import { withXfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

/** A block of the third of four groups of 80 MiB. */
const AWAY = 2 << 15

const tools = haveTool('mkfs.xfs') && haveTool('xfs_repair')

async function makeImage(args: readonly string[], megabytes = 320): Promise<string> {
  const image = join(temporaryFolder(), 'image')
  await makeXfs(image, megabytes, args)
  return writes(image, 'xfs')
}

/** A file takes all free blocks. */
async function fill(writer: XfsWriter, ino: number): Promise<void> {
  for (let count = 1 << 16; count > 0; ) {
    try {
      await inTransaction(writer, async () => {
        const editor = new ForkEditor(writer, await writer.inodes.edit(ino), 'data')
        await editor.allocate(await editor.end(), count, { unwritten: true })
      })
    } catch (error) {
      if (!isDrydiskError(error, 'ENOSPC')) throw error
      count >>= 1
    }
  }
}

/** Gives nothing any more from some time on. */
function refusing(state: { full: boolean }): (space: Space) => Space {
  return space => ({
    allocate: async request => {
      if (state.full) throw new DrydiskError('ENOSPC', 'full')
      return space.allocate(request)
    },
    free: (extent, owner) => space.free(extent, owner),
    freeAll: owned => space.freeAll(owned),
    firstShared: extent => space.firstShared(extent),
    convert: (extent, owner) => space.convert(extent, owner),
    freeBlocks: () => space.freeBlocks(),
  })
}

/** What lies behind the entries of a directory goes to another allocation group, so that all is in a few extents. */
function apart(space: Space): Space {
  return {
    allocate: request => {
      const behind = request.owner.offset >= 2 ** 23
      return space.allocate(behind ? { ...request, goal: Math.max(request.goal, AWAY) } : request)
    },
    free: (extent, owner) => space.free(extent, owner),
    freeAll: owned => space.freeAll(owned),
    firstShared: extent => space.firstShared(extent),
    convert: (extent, owner) => space.convert(extent, owner),
    freeBlocks: () => space.freeBlocks(),
  }
}

async function blocksOf(lab: DirectoryLab): Promise<number> {
  return (await lab.inode()).di_nblocks
}

describe.skipIf(!tools)('directories of XFS at the limits', () => {
  for (const args of [
    ['-m', 'rmapbt=1'],
    ['-m', 'crc=0', '-b', 'size=1024', '-n', 'size=8192'],
  ])
    test(`without free space: ${args.join(' ')}`, async () => {
      const image = await makeImage(args)
      await withXfsWriter(image, async writer => {
        const lab = await DirectoryLab.make(writer)
        for (let n = 0; n < 12; n++) await lab.add(`start ${n}`)
        await fill(writer, lab.files[0])
        let refused = 0
        for (let n = 0; n < 400; n++)
          try {
            await lab.add(`entry ${n}`)
          } catch (error) {
            if (!isDrydiskError(error, 'ENOSPC')) throw error
            refused++
          }
        expect(refused).toBeGreaterThan(0)
        await lab.check()
        for (const name of [...lab.entries.keys()]) await lab.remove(name)
        await lab.check()
        expect(await lab.form()).toBe('short')
      })
      await runOk('xfs_repair', ['-n', '-f', image])
    })

  test('no block is left empty where there is no space for one extent more', async () => {
    // An inode of 256 bytes holds nine extents.
    const image = await makeImage(['-m', 'crc=0', '-i', 'size=256'])
    const space = { full: false }
    const use = async (writer: XfsWriter) => {
      const lab = await DirectoryLab.make(writer)
      for (let n = 0; n < 480; n++) await lab.add(`${n} ${'x'.repeat(240)}`)
      expect([await lab.form(), (await lab.inode()).data.format]).toEqual(['leaf', FORMAT.EXTENTS])
      space.full = true
      const inOrder: string[] = []
      for await (const { name } of listNames(writer, await lab.inode())) inOrder.push(nameOf(name))
      const start = await blocksOf(lab)
      // 15 entries are in a block, of which every second one goes.
      for (const [index, name] of inOrder.entries())
        if (Math.floor(index / 15) % 2 === 1) await lab.remove(name)
      await lab.check()
      const { data, di_nblocks } = await lab.inode()
      expect([data.format, data.nextents]).toEqual([FORMAT.EXTENTS, 9])
      expect(start - di_nblocks).toBeLessThan(9)
    }
    await withXfsWriter(image, use, refusing(space))
    await runOk('xfs_repair', ['-n', '-f', image])
    await withXfsWriter(image, async writer => {
      const lab = await DirectoryLab.open(writer)
      for (let n = 0; n < 500; n++) await lab.add(`later ${n}`)
      await lab.check()
      for (const name of [...lab.entries.keys()]) await lab.remove(name)
      expect(await lab.form()).toBe('short')
    })
  })

  test('everything can be removed without any new block', async () => {
    const image = await makeImage(['-m', 'crc=0', '-i', 'size=256'])
    const space = { full: false }
    const use = async (writer: XfsWriter) => {
      const lab = await DirectoryLab.make(writer)
      for (let n = 0; n < 3500; n++) await lab.add(`${n} ${'y'.repeat(30)}`)
      expect([await lab.form(), (await lab.inode()).data.nextents]).toEqual(['node', 4])
      space.full = true
      const inOrder: string[] = []
      for await (const { name } of listNames(writer, await lab.inode())) inOrder.push(nameOf(name))
      const checked = async () => {
        await lab.check()
        await writer.volume.buffers.flush()
        await runOk('xfs_repair', ['-n', '-f', image])
      }
      // Every second block of entries (of 85, and 84 beside `.` and `..`), then a stretch of hashes in the middle, then the rest.
      for (const [index, name] of inOrder.entries())
        if (Math.floor((index + 1) / 85) % 2 === 1) await lab.remove(name)
      expect((await lab.inode()).data.nextents).toBe(9)
      await checked()
      const byHash = [...lab.entries.keys()].sort((a, b) => nameHash(bytesOf(a)) - nameHash(bytesOf(b)))
      for (const name of byHash.slice(200, -200)) await lab.remove(name)
      await checked()
      for (const name of lab.entries.keys()) await lab.remove(name)
      expect(await lab.form()).toBe('short')
    }
    await withXfsWriter(image, use, each => refusing(space)(apart(each)))
  })

  test('inode numbers of more than 32 bits', async () => {
    const image = await makeImage(
      ['-d', 'agcount=5', '-l', 'size=64m', '-i', 'size=256', '-m', 'crc=0'],
      4 << 20,
    )
    await withXfsWriter(image, async writer => {
      const { geometry, superblock } = writer.volume
      const far = geometry.inodeNumber(geometry.agCount - 1, superblock.sb_inopblock * 64)
      const lab = await DirectoryLab.make(writer, far)
      expect(lab.files[0]).toBeGreaterThan(2 ** 32)
      for (let n = 0; n < 9; n++) await lab.add(`${n}`)
      expect([await lab.form(), (await lab.inode()).data.literal.u8(1)]).toEqual(['short', 9])
      await lab.check()
      await inTransaction(writer, async () => setParent(writer, await writer.inodes.edit(lab.ino), far))
      expect((await lab.inode()).data.literal.u8(1)).toBe(10)
      await inTransaction(writer, async () =>
        setParent(writer, await writer.inodes.edit(lab.ino), superblock.sb_rootino),
      )
      for (let n = 0; n < 60; n++) await lab.add(`name ${n}`)
      expect(await lab.form()).toBe('block')
      for (let n = 0; n < 60; n++) await lab.remove(`name ${n}`)
      expect(await lab.form()).toBe('short')
      await lab.check()
    })
    await runOk('xfs_repair', ['-n', '-f', image])
  })
})
