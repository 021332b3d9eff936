import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { emptyFiles, inodesOfRoot, makeExt4Image, withExt4 } from '../../native-fixtures/ext4-images.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { DrydiskError } from '../../src/errors.ts'
import { dataExtents, readData, truncateData, writeData } from '../../src/filesystem/ext4/file-data.ts'
import type { Inode } from '../../src/filesystem/ext4/inode.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { haveTool, propertySettings, runOk } from '../support/native.ts'

const SHAPES = [
  {
    name: 'extent tree',
    arguments: ['-t', 'ext4', '-b', '1024', '-O', '^metadata_csum,^has_journal', '-N', '32'],
    megabytes: 8,
  },
  { name: 'block map', arguments: ['-t', 'ext2', '-b', '1024', '-N', '32'], megabytes: 8 },
]

interface Target {
  readonly image: Uint8Array
  readonly ino: number
  /** Byte ranges of the volume that hold the map. */
  readonly map: readonly number[]
}

/** A file whose map has two levels of blocks, and where those blocks are. */
async function target(shape: (typeof SHAPES)[number]): Promise<Target> {
  const path = await makeExt4Image({ ...shape, arguments: [...shape.arguments, '-d', emptyFiles(['file'])] })
  const ino = (await inodesOfRoot(path)).get('file') ?? 0
  await withExt4(path, true, async ({ context }) => {
    const inode = await context.inodes.read(ino)
    for (let index = 0; index < 900; index++)
      await writeData(context, inode, ((index * 577) % 900) * 2048, new Uint8Array(1024).fill(index))
    await context.sync()
  })
  const blocks = (await runOk('debugfs', ['-R', `stat <${ino}>`, path])).matchAll(
    /\((?:ETB\d+|IND|DIND|TIND)\):(\d+)/g,
  )
  const map = [...blocks].map(match => Number(match[1]) * 1024)
  expect(map.length).toBeGreaterThan(4)
  return { image: readFileSync(path), ino, map }
}

/** A typed error is an answer; anything else that is thrown is a bug. */
async function answers(action: () => Promise<unknown>): Promise<void> {
  try {
    await action()
  } catch (error) {
    if (!(error instanceof DrydiskError)) throw error
  }
}

async function everythingWith(image: Uint8Array, ino: number, damage: (inode: Inode) => void): Promise<void> {
  const { context } = await openExt4(new MemoryDevice(image), { writable: true })
  const inode = await context.inodes.read(ino)
  damage(inode)
  let extents = 0
  await answers(async () => {
    for await (const extent of dataExtents(context, inode)) {
      expect(extent.length).toBeGreaterThan(0)
      extents++
    }
  })
  expect(extents).toBeLessThan(20_000)
  const piece = new Uint8Array(64 << 10)
  for (const offset of [0, 1_000_000, 0xffff_f000])
    await answers(() => readData(context, inode, offset, piece))
  await answers(() => writeData(context, inode, 300_000, piece))
  await answers(() => writeData(context, inode, 0x1_0000_0000, piece))
  await answers(() => truncateData(context, inode, 150_000))
  await answers(() => truncateData(context, inode, 0))
}

describe('a damaged map gives an answer or a typed error, in bounded time', () => {
  for (const shape of SHAPES)
    it.skipIf(!haveTool('mke2fs') || !haveTool('debugfs'))(shape.name, async () => {
      const { image, ino, map } = await target(shape)
      const edit = fc.record({
        where: fc.integer({ min: -1, max: map.length - 1 }),
        at: fc.oneof(fc.nat(30), fc.nat(1023)),
        value: fc.oneof(fc.constantFrom(0, 0xff, 0x7f, 0x80, 1), fc.nat(255)),
      })
      await fc.assert(
        fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 6 }), async edits => {
          const copy = image.slice()
          for (const { where, at, value } of edits) if (where >= 0) copy[(map[where] ?? 0) + at] = value
          await everythingWith(copy, ino, inode => {
            for (const { where, at, value } of edits) if (where < 0) inode.iBlock[at % 60] = value
          })
        }),
        propertySettings(60),
      )
    })

  for (const shape of SHAPES)
    it.skipIf(!haveTool('mke2fs') || !haveTool('debugfs'))(
      `${shape.name}: nodes that point to each other`,
      async () => {
        const { image, ino, map } = await target(shape)
        await fc.assert(
          fc.asyncProperty(
            fc.array(fc.tuple(fc.nat(1000), fc.nat(80), fc.nat(1000)), { minLength: 1, maxLength: 20 }),
            async links => {
              const copy = image.slice()
              const view = new DataView(copy.buffer, copy.byteOffset, copy.byteLength)
              for (const [from, slot, to] of links) {
                const child = (map[to % map.length] ?? 0) / 1024
                const at =
                  (map[from % map.length] ?? 0) + (shape.name === 'block map' ? slot * 4 : 12 + slot * 12 + 4)
                view.setUint32(at, child, true)
              }
              await everythingWith(copy, ino, () => undefined)
            },
          ),
          propertySettings(30),
        )
      },
    )

  it.skipIf(!haveTool('mke2fs'))(
    'a size beyond everything reads as zeros and is cut without looking at each block',
    async () => {
      for (const shape of SHAPES) {
        const { image, ino } = await target(shape)
        await everythingWith(image.slice(), ino, inode => {
          inode.size = 2 ** 52
        })
      }
    },
  )
})
