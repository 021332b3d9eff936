import { copyFileSync } from 'node:fs'
import { mkdir, open, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  type Ext4Variant,
  makeExt4Image,
  withExt4,
  withKernelMount,
  writeAt,
} from '../../native-fixtures/ext4-images.ts'
import { checkWrittenImages, haveLoopMounts, haveTool, runOk, writes } from '../support/native.ts'

checkWrittenImages()

const VARIANTS: readonly Ext4Variant[] = [
  { name: 'list', arguments: ['-t', 'ext4', '-b', '1024'], megabytes: 64 },
  { name: 'orphan file', arguments: ['-t', 'ext4', '-b', '1024', '-O', 'orphan_file'], megabytes: 64 },
  {
    name: 'orphan file, no checksums',
    arguments: ['-t', 'ext4', '-b', '4096', '-O', 'orphan_file,^metadata_csum'],
    megabytes: 64,
  },
  { name: 'ext3', arguments: ['-t', 'ext3', '-b', '1024'], megabytes: 64 },
  { name: 'attributes in inodes', arguments: ['-t', 'ext4', '-b', '4096', '-O', 'ea_inode'], megabytes: 64 },
]

/** A copy of an image as it is while files without names are open, and the kernel has committed that. */
async function withDeletedFiles(variant: Ext4Variant): Promise<string> {
  const image = await makeExt4Image(variant)
  const copy = `${image}.copy`
  await withKernelMount(image, async folder => {
    const handles = []
    for (let index = 0; index < 20; index++) {
      const path = join(folder, `file${index}`)
      await writeFile(path, Buffer.alloc(index * 7919, index))
      if (index % 3 === 0 && haveTool('setfattr'))
        await runOk('setfattr', ['-n', 'user.note', '-v', 'x'.repeat(300), path])
      if (index % 4 !== 3) handles.push(await open(path))
    }
    await mkdir(join(folder, 'directory'))
    await runOk('sync', ['-f', folder])
    for (let index = 0; index < 20; index++) if (index % 4 !== 3) await rm(join(folder, `file${index}`))
    await truncate(join(folder, 'file19'), 100)
    await runOk('sync', ['-f', folder])
    copyFileSync(image, copy)
    for (const handle of handles) await handle.close()
  })
  return copy
}

describe.skipIf(!haveLoopMounts() || !haveTool('mke2fs'))('files that were deleted while open', () => {
  test.each(VARIANTS)('are freed at the next writable open: $name', async variant => {
    const image = writes(await withDeletedFiles(variant), 'ext4')
    await withExt4(image, false, async fs => {
      const names = []
      for await (const entry of fs.readdir(fs.root)) names.push(new TextDecoder().decode(entry.name))
      expect(names.sort()).toEqual([
        'directory',
        'file11',
        'file15',
        'file19',
        'file3',
        'file7',
        'lost+found',
      ])
    })
    await withExt4(image, true, fs => fs.close())
    await withExt4(image, false, async fs => {
      const { superblock, geometry } = fs.context
      expect(superblock.s_last_orphan).toBe(0)
      expect(superblock.has('orphan_present')).toBe(false)
      expect(superblock.has('needs_recovery')).toBe(false)
      const own = superblock.has('orphan_file') ? 1 : 0
      expect((await fs.statfs()).freeInodes).toBe(geometry.inodesCount - 10 - own - 7)
    })
  })
})

describe.skipIf(!haveTool('mke2fs') || !haveTool('debugfs'))('the orphan list', () => {
  const variant = {
    name: 'plain',
    arguments: ['-t', 'ext4', '-b', '1024', '-O', '^has_journal'],
    megabytes: 16,
  }

  /** An image with files `a` (inode 12) and `b` (inode 13) of 20 blocks each. */
  async function twoFiles(): Promise<string> {
    const image = await makeExt4Image(variant)
    await withExt4(image, true, async fs => {
      for (const name of ['a', 'b']) {
        const ino = await fs.create(fs.root, new TextEncoder().encode(name), { mode: 0o644, uid: 0, gid: 0 })
        await fs.write(ino, 0, new Uint8Array(20 * 1024).fill(1))
      }
      await fs.close()
    })
    return image
  }

  async function debugfs(image: string, ...commands: string[]): Promise<void> {
    await runOk('debugfs', ['-w', '-f', '-', image], commands.map(command => `${command}\n`).join(''))
  }

  test('a file with a name is cut to its size', async () => {
    const image = writes(await twoFiles(), 'ext4')
    await debugfs(image, 'set_inode_field <12> size 5000', 'set_super_value last_orphan 12')
    await withExt4(image, true, async fs => {
      expect(await fs.stat(12)).toMatchObject({ size: 5000, blocks: 10 })
      await fs.truncate(12, 6000)
      const bytes = new Uint8Array(6000)
      await fs.read(12, 0, bytes)
      expect(bytes.indexOf(0)).toBe(5000)
      expect(bytes.subarray(5000).every(byte => byte === 0)).toBe(true)
      await fs.close()
    })
  })

  test('is followed through deletion times', async () => {
    const image = writes(await twoFiles(), 'ext4')
    await debugfs(
      image,
      'unlink a',
      'unlink b',
      'set_inode_field <12> links_count 0',
      'set_inode_field <13> links_count 0',
      'set_inode_field <12> dtime @13',
      'set_super_value last_orphan 12',
    )
    await withExt4(image, true, fs => fs.close())
    await withExt4(image, false, async fs => expect((await fs.statfs()).freeInodes).toBe(4096 - 11))
  })

  test.each([
    ['a circle', ['set_inode_field <12> dtime @12', 'set_super_value last_orphan 12'], /twice/],
    ['an inode outside', ['set_super_value last_orphan 99999'], /inode 99999/],
    ['a reserved inode', ['set_super_value last_orphan 8'], /reserved inode 8/],
    ['a free inode', ['set_super_value last_orphan 500'], /inode 500/],
  ])('%s is ERR_CORRUPT for writing, and no matter for reading', async (_, commands, message) => {
    const image = await twoFiles()
    await debugfs(image, ...commands)
    await expect(withExt4(image, true, fs => fs.close())).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: expect.stringMatching(message),
    })
    await withExt4(image, false, async fs => expect((await fs.stat(12)).size).toBe(20 * 1024))
  })
})

describe.skipIf(!haveTool('mke2fs') || !haveTool('debugfs'))('a damaged orphan file', () => {
  const variant = {
    name: 'orphan file',
    arguments: ['-t', 'ext4', '-b', '4096', '-O', 'orphan_file'],
    megabytes: 64,
  }

  test.each([
    ['an inode number', 4000, /checksum of orphan file block/],
    ['the magic number', 4088, /no magic/],
  ])('%s: ERR_CORRUPT for writing', async (_, offset, message) => {
    const image = await makeExt4Image(variant)
    await runOk('debugfs', ['-w', '-R', 'feature orphan_present', image])
    const blocks = (await runOk('debugfs', ['-R', 'blocks <12>', image])).trim().split(/\s+/).map(Number)
    writeAt(
      image,
      blocks.map(block => block * 4096 + offset),
      Uint8Array.of(7, 0, 0, 0),
    )
    await expect(withExt4(image, true, fs => fs.close())).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: expect.stringMatching(message),
    })
  })
})
