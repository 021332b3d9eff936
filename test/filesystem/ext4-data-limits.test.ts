import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { emptyFiles, inodesOfRoot, makeExt4Image, withExt4 } from '../../native-fixtures/ext4-images.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { mapBlocks } from '../../src/filesystem/ext4/block-mapping.ts'
import type { Ext4Context } from '../../src/filesystem/ext4/context.ts'
import { dataExtents, readData, truncateData, writeData } from '../../src/filesystem/ext4/file-data.ts'
import { INODE_FLAG, type Inode } from '../../src/filesystem/ext4/inode.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { readTarget, storeTarget } from '../../src/filesystem/ext4/symlink-target.ts'
import { checkWrittenImages, haveTool, runOk, writes } from '../support/native.ts'

checkWrittenImages()
const tools = haveTool('mke2fs') && haveTool('debugfs')

async function imageWithFile(...options: string[]): Promise<{ image: string; ino: number }> {
  const tree = emptyFiles(['file'])
  const image = await makeExt4Image({
    name: '',
    megabytes: 16,
    arguments: ['-N', '64', ...options, '-d', tree],
  })
  return { image, ino: (await inodesOfRoot(image)).get('file') ?? 0 }
}

async function kindsOf(context: Ext4Context, inode: Inode): Promise<string[]> {
  const kinds: string[] = []
  for await (const { kind, length } of dataExtents(context, inode)) kinds.push(`${kind} ${length}`)
  return kinds
}

const text = new TextEncoder()

describe.skipIf(!tools)('how large a file can be', () => {
  it('extents: the last byte that the kernel allows, and one more', async () => {
    const { image, ino } = await imageWithFile('-t', 'ext4', '-b', '4096')
    writes(image, 'ext4')
    const limit = (2 ** 32 - 1) * 4096
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      await writeData(context, inode, limit - 3, text.encode('end'))
      await expect(writeData(context, inode, limit - 1, text.encode('xx'))).rejects.toMatchObject({
        code: 'EFBIG',
      })
      await expect(truncateData(context, inode, limit + 1)).rejects.toMatchObject({ code: 'EFBIG' })
      expect(inode.size).toBe(limit)
      expect(inode.sectors).toBe(8)
      expect(await kindsOf(context, inode)).toEqual([`hole ${limit - 4096}`, 'data 4096'])
      const tail = new Uint8Array(10)
      expect(await readData(context, inode, limit - 5, tail)).toBe(5)
      expect([...tail.subarray(0, 5)]).toEqual([0, 0, ...text.encode('end')])
      await context.sync()
    })
  })

  it('block map: the last byte that three levels of pointers reach, and one more', async () => {
    const { image, ino } = await imageWithFile('-t', 'ext2', '-b', '1024')
    writes(image, 'ext4')
    const limit = (12 + 256 + 256 ** 2 + 256 ** 3) * 1024
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      await writeData(context, inode, limit - 3, text.encode('end'))
      await expect(writeData(context, inode, limit, text.encode('x'))).rejects.toMatchObject({
        code: 'EFBIG',
      })
      expect(inode.sectors).toBe(8)
      expect(await kindsOf(context, inode)).toEqual([`hole ${limit - 1024}`, 'data 1024'])
      await context.sync()
    })
    await runOk('e2fsck', ['-fn', image])
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      await truncateData(context, inode, 5)
      expect(inode.sectors).toBe(0)
      await context.sync()
    })
  })

  it('the first file of 2 GiB turns large_file on', async () => {
    const { image, ino } = await imageWithFile('-t', 'ext2', '-b', '1024', '-O', '^large_file')
    writes(image, 'ext4')
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      await truncateData(context, inode, 0x7fff_ffff)
      expect(context.superblock.has('large_file')).toBe(false)
      await truncateData(context, inode, 0x8000_0000)
      expect(context.superblock.has('large_file')).toBe(true)
      await context.sync()
    })
    expect(await runOk('dumpe2fs', ['-h', image])).toMatch(/large_file/)
  })

  it('offsets that are no offsets', async () => {
    const { image, ino } = await imageWithFile('-t', 'ext4')
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      for (const offset of [-1, 0.5, Number.NaN, 2 ** 53]) {
        await expect(writeData(context, inode, offset, text.encode('x'))).rejects.toMatchObject({
          code: 'EINVAL',
        })
        await expect(truncateData(context, inode, offset)).rejects.toMatchObject({ code: 'EINVAL' })
        await expect(readData(context, inode, offset, new Uint8Array(1))).rejects.toMatchObject({
          code: 'EINVAL',
        })
      }
    })
  })
})

describe.skipIf(!tools)('files that are not to be written', () => {
  const cases = [
    { flag: INODE_FLAG.IMMUTABLE, code: 'EPERM', message: /immutable/ },
    { flag: INODE_FLAG.APPEND, code: 'EPERM', message: /append-only/ },
    { flag: INODE_FLAG.VERITY, code: 'EPERM', message: /verity/ },
    { flag: INODE_FLAG.ENCRYPT, code: 'ERR_UNSUPPORTED', message: /encrypted/ },
    { flag: 0x200, code: 'ERR_UNSUPPORTED', message: /compressed/ },
  ]
  for (const { flag, code, message } of cases)
    it(`flag 0x${flag.toString(16)}: ${code}`, async () => {
      const { image, ino } = await imageWithFile('-t', 'ext4')
      await withExt4(image, true, async ({ context }) => {
        const inode = await context.inodes.read(ino)
        await writeData(context, inode, 0, text.encode('before'))
        inode.setFlag(flag, true)
        await expect(writeData(context, inode, 0, text.encode('x'))).rejects.toMatchObject({ code, message })
        await expect(truncateData(context, inode, 0)).rejects.toMatchObject({ code, message })
        if (flag === INODE_FLAG.APPEND) await writeData(context, inode, 6, text.encode(', after'))
        if (code === 'EPERM')
          expect(await readData(context, inode, 0, new Uint8Array(100))).toBeGreaterThan(5)
        else
          await expect(readData(context, inode, 0, new Uint8Array(1))).rejects.toMatchObject({
            code,
            message,
          })
      })
    })
})

describe.skipIf(!tools)('unwritten blocks', () => {
  it('read as zeros; a write turns what it covers, and only that, into data', async () => {
    const { image, ino } = await imageWithFile('-t', 'ext4', '-b', '4096')
    writes(image, 'ext4')
    await runOk('debugfs', ['-w', '-R', 'fallocate /file 0 99', image])
    await runOk('debugfs', ['-w', '-R', `set_inode_field /file size ${100 * 4096}`, image])
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      expect(await kindsOf(context, inode)).toEqual([`unwritten ${100 * 4096}`])
      const sectors = inode.sectors
      await writeData(context, inode, 10 * 4096 + 5, new Uint8Array(2 * 4096).fill(1))
      expect(await kindsOf(context, inode)).toEqual([
        `unwritten ${10 * 4096}`,
        `data ${3 * 4096}`,
        `unwritten ${87 * 4096}`,
      ])
      await writeData(context, inode, 9 * 4096, new Uint8Array(4096).fill(2))
      await writeData(context, inode, 13 * 4096, new Uint8Array(4096).fill(2))
      expect(await kindsOf(context, inode)).toEqual([
        `unwritten ${9 * 4096}`,
        `data ${5 * 4096}`,
        `unwritten ${86 * 4096}`,
      ])
      expect(inode.sectors).toBe(sectors)
      const content = new Uint8Array(15 * 4096).fill(9)
      await readData(context, inode, 0, content)
      const wanted = new Uint8Array(15 * 4096)
      wanted.fill(2, 9 * 4096, 10 * 4096)
      wanted.fill(1, 10 * 4096 + 5, 12 * 4096 + 5)
      wanted.fill(2, 13 * 4096, 14 * 4096)
      expect(Buffer.compare(content, wanted)).toBe(0)
      await context.sync()
    })
  })
})

describe.skipIf(!tools)('symlink targets', () => {
  for (const options of [
    ['-t', 'ext4', '-b', '4096'],
    ['-t', 'ext4', '-b', '1024', '-O', 'inline_data'],
    ['-t', 'ext2', '-b', '1024'],
  ])
    it(options.join(' '), async () => {
      const { image, ino } = await imageWithFile(...options)
      const blockSize = Number(options[3])
      await withExt4(image, true, async ({ context }) => {
        for (const length of [1, 59, 60, 61, blockSize - 1]) {
          const inode = await context.inodes.read(ino)
          await truncateData(context, inode, 0)
          inode.mode = 0o120777
          inode.setFlag(INODE_FLAG.INLINE_DATA, false)
          const target = new Uint8Array(length).fill(0x61)
          await storeTarget(context, inode, target)
          expect(inode.size).toBe(length)
          expect(inode.sectors).toBe(length < 60 ? 0 : blockSize / 512)
          expect(Buffer.compare(await readTarget(context, inode), target)).toBe(0)
          if (length >= 60) inode.mode = 0o100644
          else {
            inode.mode = 0o100644
            inode.iBlock.fill(0)
            inode.size = 0
          }
        }
        const inode = await context.inodes.read(ino)
        await expect(storeTarget(context, inode, new Uint8Array(blockSize).fill(1))).rejects.toMatchObject({
          code: 'ENAMETOOLONG',
        })
        await expect(storeTarget(context, inode, new Uint8Array(0))).rejects.toMatchObject({ code: 'ENOENT' })
        await expect(storeTarget(context, inode, new Uint8Array(2))).rejects.toMatchObject({ code: 'EINVAL' })
      })
    })
})

describe.skipIf(!tools)('a map that claims metadata of the filesystem', () => {
  for (const [name, options, pointer] of [
    ['extents', ['-t', 'ext4', '-b', '1024'], 20],
    ['block map', ['-t', 'ext2', '-b', '1024'], 0],
  ] as const)
    it(`${name}: neither written, nor cut, nor freed`, async () => {
      const { image, ino } = await imageWithFile(...options)
      const found = /Inode table at (\d+)/.exec(await runOk('dumpe2fs', [image]))
      const inodeTable = Number(found?.[1])
      const before = readFileSync(image)
      const device = new MemoryDevice(before)
      const { context } = await openExt4(device, { writable: true })
      const inode = await context.inodes.read(ino)
      await writeData(context, inode, 0, new Uint8Array(100).fill(1))
      new DataView(inode.iBlock.buffer, inode.iBlock.byteOffset).setUint32(pointer, inodeTable, true)
      const corrupt = { code: 'ERR_CORRUPT' }
      await expect(writeData(context, inode, 3, new Uint8Array(5000))).rejects.toMatchObject(corrupt)
      await expect(truncateData(context, inode, 50)).rejects.toMatchObject(corrupt)
      await expect(truncateData(context, inode, 0)).rejects.toMatchObject(corrupt)
      const at = inodeTable * 1024
      expect(Buffer.compare(device.toBytes().subarray(at, at + 4096), before.subarray(at, at + 4096))).toBe(0)
    })
})

describe.skipIf(!tools)('inline data that is none', () => {
  for (const [name, options, message] of [
    ['on a filesystem without the feature', ['-t', 'ext4'], /does not have that feature/],
    ['without its attribute', ['-t', 'ext4', '-O', 'inline_data'], /no system.data/],
  ] as const)
    it(`${name}: ERR_CORRUPT`, async () => {
      const { image, ino } = await imageWithFile(...options)
      await withExt4(image, true, async ({ context }) => {
        const inode = await context.inodes.read(ino)
        inode.setFlag(INODE_FLAG.INLINE_DATA, true)
        inode.extraSpace.fill(0)
        inode.size = 5
        const corrupt = { code: 'ERR_CORRUPT', message }
        await expect(readData(context, inode, 0, new Uint8Array(5))).rejects.toMatchObject(corrupt)
        await expect(writeData(context, inode, 0, new Uint8Array(5))).rejects.toMatchObject(corrupt)
        await expect(truncateData(context, inode, 500)).rejects.toMatchObject(corrupt)
      })
    })
})

describe.skipIf(!tools)('bytes behind the end of a file', () => {
  for (const options of [
    ['-t', 'ext4', '-b', '4096'],
    ['-t', 'ext2', '-b', '4096'],
  ])
    it(`${options[1]}: never come to light, and are wiped when they are cut off`, async () => {
      const { image, ino } = await imageWithFile(...options)
      writes(image, 'ext4')
      await withExt4(image, true, async ({ context }) => {
        const inode = await context.inodes.read(ino)
        const garbage = async () => {
          const run = await mapBlocks(context, inode, 0)
          await context.device.write(
            run.block * 4096 + inode.size,
            new Uint8Array(4096 - inode.size).fill(0xee),
          )
        }
        const content = async () => {
          const bytes = new Uint8Array(inode.size)
          await readData(context, inode, 0, bytes)
          return bytes
        }
        await writeData(context, inode, 0, new Uint8Array(100).fill(1))
        await garbage()
        await truncateData(context, inode, 300)
        expect((await content()).subarray(100).every(byte => byte === 0)).toBe(true)
        await garbage()
        await writeData(context, inode, 400, new Uint8Array(100).fill(2))
        expect((await content()).subarray(100, 400).every(byte => byte === 0)).toBe(true)
        await garbage()
        await writeData(context, inode, 9000, new Uint8Array(100).fill(3))
        expect((await content()).subarray(500, 9000).every(byte => byte === 0)).toBe(true)
        await truncateData(context, inode, 450)
        const onDisk = new Uint8Array(4096)
        const run = await mapBlocks(context, inode, 0)
        await context.device.read(run.block * 4096, onDisk)
        expect(onDisk.subarray(400, 450).every(byte => byte === 2)).toBe(true)
        expect(onDisk.subarray(450).every(byte => byte === 0)).toBe(true)
        await context.sync()
      })
    })
})
