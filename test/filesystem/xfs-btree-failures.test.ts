import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bigEndian } from '../../src/bytes/byte-view.ts'
import { DrydiskError } from '../../src/errors.ts'
import { ForkTree, moveForkRoot } from '../../src/filesystem/xfs/btree-fork.ts'
import { type BmbtRecord, type BtreeKey, rmapKey } from '../../src/filesystem/xfs/btree-kinds.ts'
import { propertySettings } from '../support/native.ts'
import { plant, type TestTree, testTree, walk } from '../support/xfs-btree.ts'
import {
  bmbt,
  end,
  isAbove,
  type Random,
  randomFrom,
  rmapbt,
  type Subject,
  subjects,
} from '../support/xfs-btree-records.ts'

interface Filled<Record> {
  readonly tree: TestTree<Record>
  readonly random: Random
  readonly keys: BtreeKey[]
}

async function filled<Record>(
  { kind, make }: Subject<Record>,
  {
    seed,
    records,
    isV5 = true,
    literalSize = 100,
  }: { seed: number; records: number; isV5?: boolean; literalSize?: number },
): Promise<Filled<Record>> {
  const random = randomFrom(seed)
  const shape = { blockSize: 512, isV5, ...(kind.pointers === 'long' ? { literalSize } : {}) }
  const tree = await testTree(kind, shape, random)
  const keys: BtreeKey[] = []
  while (keys.length < records) {
    const record = make(random(100_000), random)
    const key = kind.keyOf(record)
    if (keys.includes(key)) continue
    await tree.change(() => (keys.length === 0 ? plant(tree, kind, record) : tree.editor.insert(record)))
    keys.push(key)
  }
  return { tree, random, keys }
}

/** All bytes of the volume, as reading gives them. */
async function bytesOf<Record>({ volume }: TestTree<Record>): Promise<Uint8Array> {
  const { blocks, blockSize } = volume.geometry
  const bytes = new Uint8Array(blocks * blockSize)
  for (let block = 0; block < blocks; block++) bytes.set(await volume.buffers.read(block), block * blockSize)
  return bytes
}

const all = Object.entries(subjects) as [string, Subject<unknown>][]

describe('a change of a B+tree that fails', () => {
  for (const [name, subject] of all)
    it(`${name}: leaves every byte as it was`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.integer(), fc.integer({ min: 1, max: 300 }), async (seed, records) => {
          const { tree, random, keys } = await filled(subject, { seed, records })
          const before = await bytesOf(tree)
          const literal = tree.literal?.slice()
          for (let round = 0; round < 5; round++) {
            await expect(
              tree.change(async () => {
                // Insertions until no block is to be had, or removals until that is enough.
                tree.blocks.failAfter = random(6)
                const gone = [...keys]
                for (let count = 0; count < 400; count++)
                  if (round % 2 === 0) {
                    const record = subject.make(random(100_000), random)
                    if ((await tree.editor.find(subject.kind.keyOf(record))) === undefined)
                      await tree.editor.insert(record)
                  } else if (gone.length > 1) {
                    const [key] = gone.splice(random(gone.length), 1)
                    if (key !== undefined) await tree.editor.remove(key)
                  }
                throw new DrydiskError('EIO', 'the test says so')
              }),
            ).rejects.toBeInstanceOf(DrydiskError)
            tree.blocks.failAfter = Number.POSITIVE_INFINITY
          }
          expect(Buffer.compare(await bytesOf(tree), before)).toBe(0)
          expect(tree.literal?.slice()).toEqual(literal)
          expect((await walk(tree, subject)).records).toHaveLength(records)
        }),
        propertySettings(4),
      )
    })
})

describe('a damaged B+tree', () => {
  for (const [name, subject] of all)
    it(`${name}: is refused, or changed without end or crash`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.integer(), fc.integer({ min: 60, max: 300 }), async (seed, records) => {
          // Without checksums, so that the damage is not seen by them.
          const isV5 = subject.kind.magic === 0
          const { tree, random, keys } = await filled(subject, { seed, records, isV5 })
          const used: number[] = []
          for await (const pointer of tree.editor.blocks()) used.push(pointer)
          await tree.change(async () => {
            for (let hit = 0; hit <= random(4); hit++) {
              const block = used[random(used.length)] ?? 0
              const bytes = await tree.volume.buffers.edit([block], { at: 0, length: 512, crcAt: 508 })
              const view = bigEndian(bytes, 'block')
              const at = random(2) === 0 ? random(64) : random(512)
              const other = used[random(used.length)] ?? 0
              if (random(3) === 0) view.setU8(at, random(256))
              else if (random(2) === 0) view.setU32(at & ~3, other)
              else bytes.copyWithin(random(512), at, at + random(64))
            }
          })
          for (let count = 0; count < 60; count++) {
            const key = keys[random(keys.length)] ?? 0
            const work = tree.change(async () => {
              if (count % 4 === 0) await tree.editor.insert(subject.make(random(100_000), random))
              else if (count % 4 === 1) await tree.editor.ceiling(key)
              else await tree.editor.remove(key)
            })
            await work.catch((error: unknown) => {
              // The allocator of the test does not know what is damaged, and says so in its own words.
              if (!(error instanceof DrydiskError) && !String(error).includes('is freed twice')) throw error
            })
          }
        }),
        propertySettings(12),
      )
    })
})

describe('a block that a tree has already', () => {
  for (const [name, subject] of all)
    it(`${name}: is not taken for a new one`, async () => {
      const { tree, random } = await filled(subject, { seed: 5, records: 100 })
      const pointers: number[] = []
      for await (const pointer of tree.editor.blocks()) pointers.push(pointer)
      const { free } = tree.blocks
      let refused = 0
      for (const pointer of pointers)
        await tree
          .change(async () => {
            tree.blocks.free = [pointer, pointer, pointer]
            for (let count = 0; count < 100; count++)
              await tree.editor.insert(subject.make(random(100_000), random))
          })
          .catch((error: unknown) => {
            expect(error).toMatchObject({ code: 'ERR_CORRUPT' })
            if (String(error).includes('which it has already')) refused++
          })
      tree.blocks.free = free
      expect(refused).toBeGreaterThan(0)
    })
})

describe('the tree of a fork', () => {
  const record = (order: number): BmbtRecord => bmbt.make(order, () => 1)

  it('is built of any number of extents, and gives them back with all its blocks', async () => {
    for (const count of [1, 5, 27, 28, 100, 1000]) {
      const tree = await testTree(
        bmbt.kind,
        { blockSize: 512, isV5: true, literalSize: 100 },
        randomFrom(count),
      )
      const { editor } = tree
      if (!(editor instanceof ForkTree)) throw new Error('another tree')
      tree.literal?.fill(0xff)
      const records = Array.from({ length: count }, (_, index) => record(index))
      await tree.change(() => editor.build(records, 1))
      const found = await walk(tree, bmbt)
      expect(found.records).toEqual(records)
      await expect(tree.change(async () => void (await editor.dissolve(count - 1)))).rejects.toMatchObject({
        code: 'ERR_CORRUPT',
      })
      await tree.change(async () => expect(await editor.dissolve(count)).toEqual(records))
      expect(tree.blocks.used).toBe(0)
      expect(tree.literal?.every(byte => byte === 0)).toBe(true)
    }
  })

  it('has its root in an area of another size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer(),
        fc.integer({ min: 1, max: 900 }),
        fc.array(fc.integer({ min: 5, max: 42 }), { minLength: 1, maxLength: 6 }),
        async (seed, count, sizes) => {
          const random = randomFrom(seed)
          const volumeTree = await testTree(
            bmbt.kind,
            { blockSize: 512, isV5: true, literalSize: 336 },
            random,
          )
          const records = Array.from({ length: count }, (_, index) => record(index))
          let literal = new Uint8Array(336)
          const fork = new ForkTree(
            volumeTree.volume,
            131,
            () => bigEndian(literal, 'literal'),
            volumeTree.blocks,
          )
          const check = async () => {
            const seen: TestTree<BmbtRecord> = { ...volumeTree, literal }
            expect((await walk(seen, bmbt)).records).toEqual(records)
          }
          await volumeTree.change(() => fork.build(records, 1))
          await check()
          for (const units of sizes) {
            const to = new Uint8Array(units * 8)
            await volumeTree.change(async () => {
              if (to.length < literal.length) await fork.fitRoot(to.length)
              moveForkRoot(literal.slice(), to)
              const grows = to.length > literal.length
              literal = to
              if (grows) await fork.fitRoot(to.length)
            })
            await check()
          }
        },
      ),
      propertySettings(40),
    )
  })
})

describe('the reverse mapping', () => {
  it('finds all records that overlap others', async () => {
    const { tree, random } = await filled(rmapbt, { seed: 3, records: 600 })
    const { records } = await walk(tree, rmapbt)
    for (let count = 0; count < 200; count++) {
      const block = random(700)
      const last = block + random(10)
      const most = (1n << 64n) - 1n
      const found = []
      for await (const one of tree.editor.overlapping(rmapKey(block, 0n, 0n), rmapKey(last, most, most)))
        found.push(one)
      expect(found).toEqual(
        records.filter(each => each.rm_startblock <= last && !isAbove([block, 0n, 0n], end(each))),
      )
    }
  })
})
