import { describe, expect, it } from 'vitest'
import { emptyFiles, inodesOfRoot, makeExt4Image, withExt4 } from '../../native-fixtures/ext4-images.ts'
import { mapBlocks } from '../../src/filesystem/ext4/block-mapping.ts'
import type { Ext4Context } from '../../src/filesystem/ext4/context.ts'
import { ExtentNode, encodeExtents, encodeIndex } from '../../src/filesystem/ext4/extent-node.ts'
import { dataExtents, readData, truncateData, writeData } from '../../src/filesystem/ext4/file-data.ts'
import type { Inode } from '../../src/filesystem/ext4/inode.ts'
import { inodeSeed } from '../../src/filesystem/ext4/inode-seed.ts'
import { checkWrittenImages, haveTool, runOk, writes } from '../support/native.ts'

checkWrittenImages()
const tools = haveTool('mke2fs') && haveTool('debugfs')

async function imageWithFile(): Promise<{ image: string; ino: number }> {
  const image = await makeExt4Image({
    name: '',
    megabytes: 16,
    arguments: ['-t', 'ext4', '-b', '1024', '-N', '64', '-d', emptyFiles(['file'])],
  })
  return { image, ino: (await inodesOfRoot(image)).get('file') ?? 0 }
}

/** Hangs `entries` under a chain of index nodes with one entry each, so that the tree is `depth` levels deep. */
async function chain(
  context: Ext4Context,
  inode: Inode,
  depth: number,
  key: number,
  entries: Uint8Array,
): Promise<void> {
  const root = new ExtentNode(inode.iBlock, inode.ino)
  let child = entries
  for (let level = 0; level < depth; level++) {
    const { block } = await context.allocator.allocate(context.allocator.goalFor(inode), 1)
    const node = ExtentNode.format(context.blocks.fresh(block), inode.ino, level)
    node.replaceAll(child)
    node.setChecksum(inodeSeed(context, inode))
    inode.addBlocks(1)
    child = encodeIndex(key, block)
  }
  root.depth = depth
  root.replaceAll(child)
  context.inodes.markDirty(inode)
}

async function dataBlock(context: Ext4Context, inode: Inode, fill: number): Promise<number> {
  const { block } = await context.allocator.allocate(context.allocator.goalFor(inode), 1)
  await context.device.write(block * context.blockSize, new Uint8Array(context.blockSize).fill(fill))
  inode.addBlocks(1)
  return block
}

describe.skipIf(!tools)('an extent tree', () => {
  it('of five levels is read, written, and shrinks when it is cut', async () => {
    const { image, ino } = await imageWithFile()
    writes(image, 'ext4')
    let free = 0
    await withExt4(image, true, async ({ context }) => {
      free = context.allocator.freeBlocks
      const inode = await context.inodes.read(ino)
      const block = await dataBlock(context, inode, 7)
      await chain(context, inode, 5, 10, encodeExtents([{ logical: 10, count: 1, block, unwritten: false }]))
      inode.size = 11 * 1024
      await context.sync()
    })
    await runOk('e2fsck', ['-fn', image])
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      const content = new Uint8Array(11 * 1024)
      await readData(context, inode, 0, content)
      expect([content[10 * 1024 - 1], content[10 * 1024]]).toEqual([0, 7])
      expect(await mapBlocks(context, inode, 3)).toMatchObject({ kind: 'hole', count: 7 })
      // Before everything in the tree: the keys of all levels have to follow.
      await writeData(context, inode, 2 * 1024, new Uint8Array(1024).fill(5))
      await writeData(context, inode, 20 * 1024, new Uint8Array(1024).fill(6))
      for (let at = 30; at < 400; at += 2)
        await writeData(context, inode, at * 1024, new Uint8Array(1024).fill(at))
      await context.sync()
    })
    await runOk('e2fsck', ['-fn', image])
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      const content = new Uint8Array(inode.size)
      await readData(context, inode, 0, content)
      for (const [at, value] of [
        [2, 5],
        [10, 7],
        [20, 6],
        [30, 30],
        [31, 0],
        [398, 398 & 0xff],
      ] as const)
        expect(content[at * 1024 + 1023]).toBe(value)
      await truncateData(context, inode, 11 * 1024)
      expect(new ExtentNode(inode.iBlock, ino).depth).toBe(0)
      expect(inode.sectors).toBe(4)
      await truncateData(context, inode, 0)
      expect(context.allocator.freeBlocks).toBe(free)
      await context.sync()
    })
  })

  it('of six levels is refused, as the kernel refuses it', async () => {
    const { image, ino } = await imageWithFile()
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      const block = await dataBlock(context, inode, 7)
      await chain(context, inode, 6, 0, encodeExtents([{ logical: 0, count: 1, block, unwritten: false }]))
      inode.size = 1024
      await expect(readData(context, inode, 0, new Uint8Array(1))).rejects.toMatchObject({
        code: 'ERR_CORRUPT',
        message: /depth 6/,
      })
    })
  })

  it('whose leaf starts behind its index key is read, and the key is put right by a write', async () => {
    const { image, ino } = await imageWithFile()
    writes(image, 'ext4')
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      const block = await dataBlock(context, inode, 7)
      await chain(context, inode, 2, 4, encodeExtents([{ logical: 10, count: 1, block, unwritten: false }]))
      inode.size = 11 * 1024
      expect(await mapBlocks(context, inode, 6)).toMatchObject({ kind: 'hole', count: 4 })
      expect(await mapBlocks(context, inode, 10)).toMatchObject({ kind: 'data', block })
      await writeData(context, inode, 7 * 1024, new Uint8Array(1024).fill(1))
      expect(new ExtentNode(inode.iBlock, ino).key(0)).toBe(7)
      await context.sync()
    })
  })

  const faults: readonly (readonly [string, RegExp, (node: ExtentNode, view: DataView) => void])[] = [
    ['no magic', /magic/, (_, view) => view.setUint16(0, 0)],
    ['more entries than room', /entries where/, (_, view) => view.setUint16(2, 400, true)],
    ['room that is not there', /room for/, (_, view) => view.setUint16(4, 400, true)],
    ['a depth that is not its own', /depth 1 where 0/, (_, view) => view.setUint16(6, 1, true)],
    ['an extent of no blocks', /extent 0 is empty/, (_, view) => view.setUint16(12 + 4, 0, true)],
    [
      'blocks outside the volume',
      /outside the volume/,
      (_, view) => view.setUint32(12 + 8, 0x7fff_ffff, true),
    ],
    ['extents that overlap', /before/, (_, view) => view.setUint32(24, 10, true)],
    ['an extent past 2^32', /2\^32/, (_, view) => view.setUint32(24, 0xffff_ffff, true)],
    ['entries outside of what the parent says', /in a node for/, (_, view) => view.setUint32(12, 1, true)],
  ]
  for (const [name, message, damage] of faults)
    it(`with ${name}: ERR_CORRUPT that says so`, async () => {
      const { image, ino } = await imageWithFile()
      await withExt4(image, true, async ({ context }) => {
        const inode = await context.inodes.read(ino)
        const block = await dataBlock(context, inode, 7)
        const extents = encodeExtents([
          { logical: 10, count: 2, block, unwritten: false },
          { logical: 20, count: 2, block: block + 2, unwritten: true },
        ])
        await chain(context, inode, 1, 10, extents)
        inode.size = 11 * 1024
        const leaf = await context.blocks.edit(new ExtentNode(inode.iBlock, ino).child(0))
        const node = new ExtentNode(leaf, ino)
        damage(node, new DataView(leaf.buffer, leaf.byteOffset, leaf.byteLength))
        if (node.max <= node.capacity) node.setChecksum(inodeSeed(context, inode))
        const all = async () => {
          for await (const extent of dataExtents(context, inode)) expect(extent.length).toBeGreaterThan(0)
        }
        await expect(all()).rejects.toMatchObject({ code: 'ERR_CORRUPT', message })
        await expect(writeData(context, inode, 10 * 1024, new Uint8Array(1))).rejects.toMatchObject({
          code: 'ERR_CORRUPT',
        })
      })
    })

  it('with a wrong checksum: ERR_CORRUPT that says so', async () => {
    const { image, ino } = await imageWithFile()
    await withExt4(image, true, async ({ context }) => {
      const inode = await context.inodes.read(ino)
      const block = await dataBlock(context, inode, 7)
      await chain(context, inode, 1, 10, encodeExtents([{ logical: 10, count: 1, block, unwritten: false }]))
      inode.size = 11 * 1024
      const leaf = await context.blocks.edit(new ExtentNode(inode.iBlock, ino).child(0))
      leaf[500] = 1
      await expect(readData(context, inode, 0, new Uint8Array(1))).rejects.toMatchObject({
        code: 'ERR_CORRUPT',
        message: /checksum/,
      })
    })
  })
})
