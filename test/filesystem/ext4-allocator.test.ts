import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Ext4Variant, makeExt4Image } from '../../native-fixtures/ext4-images.ts'
import { RangeSet } from '../../src/bytes/range-set.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import type { BlockRun } from '../../src/filesystem/ext4/context.ts'
import type { Inode } from '../../src/filesystem/ext4/inode.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import type { Ext4Volume } from '../../src/filesystem/ext4/volume.ts'
import { checkWrittenImages, haveTool, oracle, propertySettings, runOk, writes } from '../support/native.ts'

checkWrittenImages()

const VARIANTS: readonly Ext4Variant[] = [
  { name: 'ext4', arguments: ['-t', 'ext4', '-b', '4096'], megabytes: 300 },
  { name: 'ext4, 1 KiB blocks', arguments: ['-t', 'ext4', '-b', '1024'], megabytes: 64 },
  {
    name: 'inode tables not zeroed',
    arguments: ['-t', 'ext4', '-b', '1024', '-E', 'lazy_itable_init=1'],
    megabytes: 64,
  },
  {
    name: 'uninit_bg',
    arguments: ['-t', 'ext4', '-b', '1024', '-O', '^metadata_csum,uninit_bg'],
    megabytes: 64,
  },
  { name: '32-bit checksums', arguments: ['-t', 'ext4', '-b', '1024', '-O', '^64bit'], megabytes: 64 },
  { name: 'meta_bg', arguments: ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode'], megabytes: 300 },
  {
    name: 'sparse_super2',
    arguments: ['-t', 'ext4', '-b', '2048', '-O', 'sparse_super2,^resize_inode'],
    megabytes: 128,
  },
  {
    name: 'no flex_bg, odd groups',
    arguments: ['-t', 'ext4', '-b', '1024', '-O', '^flex_bg', '-g', '1024', '-N', '3000'],
    megabytes: 20,
  },
  { name: '64 KiB blocks', arguments: ['-t', 'ext4', '-b', '65536'], megabytes: 200 },
  {
    name: 'checksum seed',
    arguments: ['-t', 'ext4', '-b', '1024', '-O', 'metadata_csum_seed'],
    megabytes: 64,
  },
  { name: 'ext3', arguments: ['-t', 'ext3', '-b', '1024'], megabytes: 64 },
  {
    name: 'ext2, 128-byte inodes',
    arguments: ['-t', 'ext2', '-b', '1024', '-I', '128', '-r', '1'],
    megabytes: 64,
  },
  { name: 'revision 0', arguments: ['-t', 'ext2', '-b', '1024', '-r', '0', '-O', 'none'], megabytes: 20 },
]

async function withVolume<Result>(
  image: string,
  use: (volume: Ext4Volume) => Promise<Result>,
): Promise<Result> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  try {
    const fs = await openExt4(device, { writable: true })
    const result = await use(fs.context)
    await fs.close()
    return result
  } finally {
    await device.close()
  }
}

/** The free blocks by dumpe2fs's word, which reads the bitmaps that are on the volume. */
async function freeBlocks(image: string): Promise<RangeSet> {
  const set = new RangeSet()
  for (const line of (await runOk('dumpe2fs', [image])).matchAll(/^ {2}Free blocks: (.*)$/gm))
    for (const part of (line[1] ?? '').split(', ').filter(text => text !== '')) {
      const [first, last] = part.split('-').map(Number)
      set.add(first ?? 0, (last ?? first ?? 0) + 1)
    }
  return set
}

type Step =
  | { readonly kind: 'allocate'; readonly goal: number; readonly wanted: number }
  | { readonly kind: 'free'; readonly which: number; readonly part: number }
  | { readonly kind: 'inode'; readonly directory: boolean; readonly near: number }
  | { readonly kind: 'drop'; readonly which: number }
  | { readonly kind: 'sync' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('allocate' as const),
      goal: fc.double({ min: 0, max: 1, noNaN: true }),
      wanted: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 40_000 })),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('free' as const), which: fc.nat(), part: fc.nat() }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('inode' as const), directory: fc.boolean(), near: fc.nat() }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('drop' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'sync' as const }) },
)

/** Runs steps; every answer is checked against a model of what is in use. Returns what is still held. */
async function play(
  volume: Ext4Volume,
  steps: readonly Step[],
  free: RangeSet,
): Promise<{ runs: BlockRun[]; inodes: Inode[] }> {
  const runs: BlockRun[] = []
  const inodes: Inode[] = []
  for (const next of steps)
    switch (next.kind) {
      case 'allocate': {
        if (free.total === 0) {
          await expect(volume.allocator.allocate(1, 1)).rejects.toMatchObject({ code: 'ENOSPC' })
          break
        }
        const goal = Math.floor(next.goal * volume.geometry.blocksCount)
        const run = await volume.allocator.allocate(goal, next.wanted)
        expect(run.count).toBeGreaterThan(0)
        expect(run.count).toBeLessThanOrEqual(next.wanted)
        expect(free.covers(run.block, run.block + run.count)).toBe(true)
        free.delete(run.block, run.block + run.count)
        runs.push(run)
        break
      }
      case 'free': {
        const [run] = runs.splice(next.which % Math.max(1, runs.length), 1)
        if (run === undefined) break
        const kept = next.part % run.count
        const gone = { block: run.block + kept, count: run.count - kept }
        if (kept > 0) runs.push({ block: run.block, count: kept })
        await volume.allocator.free(gone)
        free.add(gone.block, gone.block + gone.count)
        await expect(volume.allocator.free(gone)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
        break
      }
      case 'inode': {
        const parent = inodes[next.near % Math.max(1, inodes.length)]?.ino ?? 2
        const inode = await volume.inodes.allocate(parent, next.directory ? 0o40755 : 0o100644)
        inode.linksCount = 1
        expect(inodes.some(other => other.ino === inode.ino)).toBe(false)
        expect(inode.ino).toBeGreaterThanOrEqual(volume.geometry.firstInode)
        inodes.push(inode)
        break
      }
      case 'drop': {
        const [inode] = inodes.splice(next.which % Math.max(1, inodes.length), 1)
        if (inode === undefined) break
        await volume.inodes.free(inode)
        await expect(volume.inodes.read(inode.ino)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
        break
      }
      case 'sync':
        await volume.sync()
    }
  expect(volume.allocator.freeBlocks).toBe(free.total)
  return { runs, inodes }
}

describe.skipIf(!haveTool('mke2fs'))('allocates and frees as the model says', () => {
  test.each(VARIANTS)('$name', async variant => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 80 }), async steps => {
        const image = await makeExt4Image(variant)
        const free = await freeBlocks(image)
        const held = await withVolume(image, volume => play(volume, steps, free))
        // The bitmaps on the volume are the model, by another reader's word.
        expect([...(await freeBlocks(image)).ranges()]).toEqual([...free.ranges()])
        await withVolume(image, async volume => {
          for (const run of held.runs) await volume.allocator.free(run)
          for (const { ino } of held.inodes) await volume.inodes.free(await volume.inodes.read(ino))
        })
        await oracle(image, 'ext4')
      }),
      propertySettings(3),
    )
  })
})

describe.skipIf(!haveTool('mke2fs'))('a volume used up', () => {
  const small = { name: 'small', arguments: ['-t', 'ext4', '-b', '1024', '-N', '64'], megabytes: 20 }

  test('gives every block once, then ENOSPC', async () => {
    const image = writes(await makeExt4Image(small), 'ext4')
    await withVolume(image, async volume => {
      const taken = new RangeSet()
      const total = volume.allocator.freeBlocks
      for (let left = total; left > 0; ) {
        const run = await volume.allocator.allocate(5000, 3000)
        expect(taken.intersects(run.block, run.block + run.count)).toBe(false)
        taken.add(run.block, run.block + run.count)
        left -= run.count
      }
      expect(taken.total).toBe(total)
      await expect(volume.allocator.allocate(0, 1)).rejects.toMatchObject({ code: 'ENOSPC' })
      for (const { start, end } of [...taken.ranges()])
        await volume.allocator.free({ block: start, count: end - start })
    })
  })

  test('gives every inode once, then ENOSPC', async () => {
    const image = writes(await makeExt4Image(small), 'ext4')
    await withVolume(image, async volume => {
      const inodes: Inode[] = []
      for (;;) {
        const inode = await volume.inodes.allocate(2, 0o100644).catch((error: { code: string }) => error)
        if ('code' in inode) {
          expect(inode.code).toBe('ENOSPC')
          break
        }
        inodes.push(inode)
      }
      expect(new Set(inodes.map(({ ino }) => ino)).size).toBe(volume.geometry.inodesCount - 11)
      for (const inode of inodes) await volume.inodes.free(inode)
    })
  })
})

describe.skipIf(!haveTool('mke2fs'))('damaged bitmaps', () => {
  const variant = { name: 'three groups', arguments: ['-t', 'ext4', '-b', '1024'], megabytes: 24 }

  /** Flips bits of a group's block bitmap on the volume, without a new checksum. */
  async function damage(image: string, group: number): Promise<void> {
    const storage = await FileStorage.open(image, 'write')
    const device = new StorageDevice(storage)
    const fs = await openExt4(device)
    const block = (await fs.context.descriptors.read(group)).bg_block_bitmap
    await device.write(block * fs.context.blockSize + 900, new Uint8Array(8).fill(0x55))
    await device.close()
  }

  test('their groups are not allocated from', async () => {
    const image = await makeExt4Image(variant)
    await damage(image, 0)
    await withVolume(image, async volume => {
      const { geometry } = volume
      for (let count = 0; count < 50; count++) {
        const run = await volume.allocator.allocate(geometry.groupFirstBlock(0) + 7200, 10)
        expect(geometry.groupOfBlock(run.block)).not.toBe(0)
      }
      await expect(
        volume.allocator.free({ block: geometry.groupFirstBlock(0) + 7200, count: 1 }),
      ).rejects.toMatchObject({ code: 'ERR_CORRUPT', message: expect.stringContaining('block bitmap') })
    })
  })

  test.each([
    ['the superblock', 1],
    ['group descriptors', 2],
    ['a backup superblock', 8193],
    ['an inode table', 400],
  ])('%s cannot be freed', async (_, block) => {
    const image = await makeExt4Image(variant)
    await withVolume(image, async volume => {
      await expect(volume.allocator.free({ block, count: 1 })).rejects.toMatchObject({
        code: 'ERR_CORRUPT',
        message: expect.stringContaining('metadata'),
      })
    })
    await oracle(image, 'ext4')
  })

  test.each([
    [0, 1],
    [24 * 1024, 1],
    [24 * 1024 - 1, 2],
    [-5, 3],
  ])('blocks from %d, %d of them, lie outside', async (block, count) => {
    const image = await makeExt4Image(variant)
    await withVolume(image, async volume => {
      await expect(volume.allocator.free({ block, count })).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    })
  })
})
