import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Ext4Variant,
  emptyFiles,
  inodesOfRoot,
  makeExt4Image,
  withExt4,
  withKernelMount,
  writeAt,
} from '../../native-fixtures/ext4-images.ts'
import { punchData, readData, truncateData, writeData } from '../../src/filesystem/ext4/file-data.ts'
import type { Inode } from '../../src/filesystem/ext4/inode.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  propertySettings,
  runOk,
  writes,
} from '../support/native.ts'

checkWrittenImages()

const BLOCK = 1024
const BLOCKS = 6000

const SHAPES: readonly (Ext4Variant & { readonly depth: number })[] = [
  { name: 'extents', arguments: ['-t', 'ext4', '-b', '1024', '-N', '64'], megabytes: 40, depth: 2 },
  {
    name: 'extents without checksums',
    arguments: ['-t', 'ext4', '-b', '1024', '-O', '^metadata_csum,^64bit'],
    megabytes: 40,
    depth: 2,
  },
  { name: 'block map', arguments: ['-t', 'ext2', '-b', '1024'], megabytes: 40, depth: 0 },
]

function block(seed: number): Uint8Array {
  const bytes = new Uint8Array(BLOCK).fill(seed | 1)
  bytes[0] = seed >>> 8
  return bytes
}

function depthOf(inode: Inode): number {
  return new DataView(inode.iBlock.buffer, inode.iBlock.byteOffset).getUint16(6, true)
}

/** A fixed shuffle: which of the even blocks comes when. */
function shuffled(count: number, seed: number): number[] {
  const order = Array.from({ length: count }, (_, index) => index)
  let state = seed
  for (let at = count - 1; at > 0; at--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const other = state % (at + 1)
    const kept = order[at] ?? 0
    order[at] = order[other] ?? 0
    order[other] = kept
  }
  return order
}

describe('a file of thousands of pieces', () => {
  for (const shape of SHAPES)
    it.skipIf(!haveTool('mke2fs') || !haveTool('debugfs'))(
      `${shape.name}: grows, is holed and shrinks`,
      async () => {
        const image = writes(
          await makeExt4Image({ ...shape, arguments: [...shape.arguments, '-d', emptyFiles(['file'])] }),
          'ext4',
        )
        const ino = (await inodesOfRoot(image)).get('file') ?? 0
        const model = Buffer.alloc(BLOCKS * BLOCK)
        let size = 0
        let freeBefore = 0

        const compare = async () =>
          withExt4(image, false, async ({ context }) => {
            const inode = await context.inodes.read(ino)
            expect(inode.size).toBe(size)
            const content = new Uint8Array(size)
            await readData(context, inode, 0, content)
            expect(Buffer.compare(content, model.subarray(0, size))).toBe(0)
            return depthOf(inode)
          })

        await withExt4(image, true, async ({ context }) => {
          freeBefore = context.allocator.freeBlocks
          const inode = await context.inodes.read(ino)
          // Even blocks only, in any order: nothing joins, and every leaf splits in its middle.
          for (const index of shuffled(BLOCKS / 2, 7)) {
            const offset = index * 2 * BLOCK
            model.set(block(index), offset)
            size = Math.max(size, offset + BLOCK)
            await writeData(context, inode, offset, block(index))
          }
          await context.sync()
        })
        const depth = await compare()
        expect(depth).toBeGreaterThanOrEqual(shape.depth)
        expect(await runOk('e2fsck', ['-fn', image])).not.toMatch(/could be shorter/)

        await withExt4(image, true, async ({ context }) => {
          const inode = await context.inodes.read(ino)
          for (const index of shuffled(BLOCKS / 40, 11)) {
            const offset = index * 40 * BLOCK - 300
            await punchData(context, inode, Math.max(offset, 0), 9 * BLOCK)
            model.fill(0, Math.max(offset, 0), Math.min(size, Math.max(offset, 0) + 9 * BLOCK))
          }
          // The odd blocks of the first part: everything joins up where the volume allows it.
          for (let index = 1; index < 3000; index += 2) {
            model.set(block(index), index * BLOCK)
            await writeData(context, inode, index * BLOCK, block(index))
          }
          await context.sync()
        })
        await compare()
        await runOk('e2fsck', ['-fn', image])

        // The kernel goes on with the tree that was made here, and this driver with what the kernel makes of it.
        if (haveLoopMounts()) {
          await withKernelMount(image, async folder => {
            const path = join(folder, 'file')
            const offsets = shuffled(1000, 5).map(index => (3001 + index * 2) * BLOCK)
            writeAt(path, offsets, block(77))
            for (const offset of offsets) model.set(block(77), offset)
            if (shape.depth > 0) {
              await runOk('fallocate', ['-p', '-o', `${500 * BLOCK}`, '-l', `${1000 * BLOCK}`, path])
              model.fill(0, 500 * BLOCK, 1500 * BLOCK)
            }
            expect(Buffer.compare(readFileSync(path), model.subarray(0, size))).toBe(0)
          })
          await compare()
          await runOk('e2fsck', ['-fn', image])
        }

        for (const keep of [4000.5, 100.25, 3, 0]) {
          await withExt4(image, true, async ({ context }) => {
            const inode = await context.inodes.read(ino)
            size = keep * BLOCK
            model.fill(0, size)
            await truncateData(context, inode, size)
            await context.sync()
          })
          await compare()
          expect(await runOk('e2fsck', ['-fn', image])).not.toMatch(/could be shorter/)
        }
        await withExt4(image, true, async ({ context }) => {
          expect(context.allocator.freeBlocks).toBe(freeBefore)
          const inode = await context.inodes.read(ino)
          expect(inode.sectors).toBe(0)
          expect(depthOf(inode)).toBe(0)
        })
      },
    )
})

describe('a full filesystem', () => {
  for (const shape of SHAPES)
    it.skipIf(!haveTool('mke2fs') || !haveTool('debugfs'))(
      `${shape.name}: ENOSPC leaves everything in order`,
      async () => {
        const base = await makeExt4Image({
          ...shape,
          megabytes: 3,
          arguments: [...shape.arguments, '-O', '^has_journal', '-d', emptyFiles(['file', 'other'])],
        })
        const inos = await inodesOfRoot(base)
        await fc.assert(
          fc.asyncProperty(
            fc.integer({ min: 1, max: 7 }),
            fc.integer({ min: 1, max: 9000 }),
            async (stride, length) => {
              const image = writes(`${base}.${stride}.${length}`, 'ext4')
              await runOk('cp', [base, image])
              const model = Buffer.alloc(12 << 20)
              await withExt4(image, true, async ({ context }) => {
                const inode = await context.inodes.read(inos.get('file') ?? 0)
                const other = await context.inodes.read(inos.get('other') ?? 0)
                let failed = false
                for (let index = 0; !failed && index < 2000; index++) {
                  const offset = ((index * 37) % 997) * stride * 1024
                  const bytes = new Uint8Array(length).fill(index | 1)
                  try {
                    await writeData(context, index % 5 === 0 ? other : inode, offset, bytes)
                    if (index % 5 !== 0) model.set(bytes, offset)
                  } catch (error) {
                    expect(error).toMatchObject({ code: 'ENOSPC' })
                    failed = true
                    // A hole cut in the middle of a run takes a leaf more where all are full, and there is no block for it.
                    await truncateData(context, other, 0)
                    await writeData(
                      context,
                      inode,
                      offset,
                      index % 5 === 0 ? model.subarray(offset, offset + length) : bytes,
                    )
                    if (index % 5 !== 0) model.set(bytes, offset)
                  }
                }
                const content = new Uint8Array(inode.size)
                await readData(context, inode, 0, content)
                expect(Buffer.compare(content, model.subarray(0, inode.size))).toBe(0)
                await context.sync()
              })
              await runOk('e2fsck', ['-fn', image])
            },
          ),
          propertySettings(4),
        )
      },
    )
})
