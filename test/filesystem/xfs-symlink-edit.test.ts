import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeXfs, withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { removeAttribute, setAttribute } from '../../src/filesystem/xfs/attribute-edit/attribute-edit.ts'
import { FORMAT } from '../../src/filesystem/xfs/dinode.ts'
import { lookupName } from '../../src/filesystem/xfs/directory.ts'
import { addEntry } from '../../src/filesystem/xfs/directory-edit/directory-edit.ts'
import { emptyFork } from '../../src/filesystem/xfs/fork/fork-edit.ts'
import { readTarget } from '../../src/filesystem/xfs/symlink.ts'
import { storeTarget } from '../../src/filesystem/xfs/symlink-edit.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { pattern } from '../support/filesystem-contract.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { scattered, withXfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

const VARIANTS: readonly { readonly args: readonly string[]; readonly v4?: boolean }[] = [
  { args: ['-m', 'crc=0', '-i', 'size=256', '-b', 'size=512'], v4: true },
  { args: ['-m', 'crc=0', '-i', 'size=512', '-b', 'size=4096'], v4: true },
  { args: ['-b', 'size=1024', '-m', 'rmapbt=1'] },
  { args: [] },
  { args: ['-i', 'size=2048'] },
  { args: ['-b', 'size=65536'] },
]
/** Around what inodes of 256 to 1024 bytes and blocks of 512 have room for, with headers and without. */
const LENGTHS = [
  1, 2, 55, 156, 157, 335, 336, 337, 412, 413, 455, 456, 457, 511, 512, 513, 847, 848, 849, 912, 913, 967,
  968, 969, 1022, 1023,
]
const LABEL = 'security.selinux'

const b = (text: string) => new TextEncoder().encode(text)

function targetOf(length: number): string {
  return `${length}/`.repeat(length).slice(0, length)
}

async function linkOf({ volume, inodes }: XfsWriter, length: number): Promise<number> {
  const root = await inodes.read(volume.superblock.sb_rootino)
  return lookupName({ volume, inodes }, root, b(`${length}`))
}

async function make(writer: XfsWriter, length: number): Promise<void> {
  await inTransaction(writer, async () => {
    const root = await writer.inodes.edit(writer.volume.superblock.sb_rootino)
    const inode = await writer.inodeAllocator.allocate(root.ino, 0o120777)
    inode.di_nlink = 1
    await storeTarget(writer, inode, b(targetOf(length)))
    await addEntry(writer, root, b(`${length}`), inode.ino, 'symlink')
  })
}

async function expectTargets(writer: XfsWriter): Promise<void> {
  for (const length of LENGTHS) {
    const inode = await writer.inodes.read(await linkOf(writer, length))
    expect(Buffer.from(await readTarget(writer.volume, inode)).toString()).toBe(targetOf(length))
    const fits = length <= inode.data.literal.length
    expect([length, inode.di_format]).toEqual([length, fits ? FORMAT.LOCAL : FORMAT.EXTENTS])
  }
}

const tools = haveTool('mkfs.xfs') && haveTool('xfs_repair')

describe.skipIf(!tools)('targets of symlinks on XFS', () => {
  for (const { args, v4 } of VARIANTS)
    test(args.join(' ') || 'as mkfs.xfs makes it', async () => {
      const image = join(temporaryFolder(), 'image')
      await makeXfs(image, 320, args)
      writes(image, 'xfs')
      const check = async () => {
        await withXfsWriter(image, expectTargets)
        await runOk('xfs_repair', ['-n', '-f', image])
        if (v4 || !haveLoopMounts()) return
        await withXfsMount(image, 'ro,norecovery', async top => {
          expect(readdirSync(top).length).toBe(LENGTHS.length)
          for (const length of LENGTHS) expect(readlinkSync(join(top, `${length}`))).toBe(targetOf(length))
        })
      }
      await withXfsWriter(
        image,
        async writer => {
          for (const length of LENGTHS) await make(writer, length)
        },
        scattered(5),
      )
      await check()
      // A label takes room from the target, and a large one all that it can get.
      for (const size of [40, 3000])
        await withXfsWriter(image, async writer => {
          for (const length of LENGTHS)
            await inTransaction(writer, async () =>
              setAttribute(
                writer,
                await writer.inodes.edit(await linkOf(writer, length)),
                LABEL,
                pattern(size, length % 251),
              ),
            )
        })
      await check()
      await withXfsWriter(image, async writer => {
        for (const length of LENGTHS)
          await inTransaction(writer, async () =>
            removeAttribute(writer, await writer.inodes.edit(await linkOf(writer, length)), LABEL),
          )
      })
      await check()
    })

  test('what is no target changes nothing, and freed blocks can be taken again', async () => {
    const image = join(temporaryFolder(), 'image')
    await makeXfs(image, 320, [])
    writes(image, 'xfs')
    await withXfsWriter(image, async writer => {
      await make(writer, 1000)
      const ino = await linkOf(writer, 1000)
      for (const [target, code] of [
        ['', 'ENOENT'],
        ['x'.repeat(1024), 'ENAMETOOLONG'],
      ] as const)
        await expect(
          inTransaction(writer, async () => storeTarget(writer, await writer.inodes.edit(ino), b(target))),
        ).rejects.toMatchObject({ code })
      await inTransaction(writer, async () => {
        const inode = await writer.inodes.edit(ino)
        await emptyFork(writer, inode, 'data')
        await storeTarget(writer, inode, b('y'.repeat(1001)))
      })
      const inode = await writer.inodes.read(ino)
      expect(Buffer.from(await readTarget(writer.volume, inode)).toString()).toBe('y'.repeat(1001))
    })
  })
})
