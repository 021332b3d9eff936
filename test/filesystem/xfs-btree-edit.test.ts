import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { BtreeKey, BtreeKind } from '../../src/filesystem/xfs/btree-kinds.ts'
import { propertySettings } from '../support/native.ts'
import { plant, type TestTree, testTree, walk } from '../support/xfs-btree.ts'
import {
  bmbt,
  bnobt,
  type Random,
  randomFrom,
  rmapbt,
  type Subject,
  subjects,
} from '../support/xfs-btree-records.ts'

/** Records that go at once, some leaves of them. */
const RUN = 60

/** Records in the order of their keys. */
class Model<Record> {
  readonly records: Record[] = []
  readonly #kind: BtreeKind<Record>

  constructor(kind: BtreeKind<Record>) {
    this.#kind = kind
  }

  /** The first whose key is not below. */
  place(key: BtreeKey): number {
    let [low, high] = [0, this.records.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      const record = this.records[middle]
      if (record !== undefined && this.#kind.keyOf(record) < key) low = middle + 1
      else high = middle
    }
    return low
  }
  find(key: BtreeKey): Record | undefined {
    const found = this.records[this.place(key)]
    return found !== undefined && this.#kind.keyOf(found) === key ? found : undefined
  }
  floor(key: BtreeKey): Record | undefined {
    return this.find(key) ?? this.records[this.place(key) - 1]
  }
  put(record: Record): void {
    this.records.splice(this.place(this.#kind.keyOf(record)), 0, record)
  }
  take(key: BtreeKey): void {
    this.records.splice(this.place(key), 1)
  }
}

/** As toEqual, and fast. */
function expectSame<Record>(found: readonly Record[], expected: readonly Record[]): void {
  const values = (records: readonly Record[]) => records.flatMap(record => Object.values(record ?? {}))
  const [one, other] = [values(found), values(expected)]
  if (one.length !== other.length || one.some((value, index) => value !== other[index]))
    expect(found).toEqual(expected)
}

function behindAll<Record>(last: Record, { keyOf }: BtreeKind<Record>): BtreeKey {
  const key = keyOf(last)
  return typeof key === 'bigint' ? key + 1n : key + 1
}

/** One random step. */
async function step<Record>(
  { kind, make, changed }: Subject<Record>,
  tree: TestTree<Record>,
  model: Model<Record>,
  range: number,
  random: Random,
  growth: number,
): Promise<void> {
  const { editor } = tree
  const choice = random(100)
  const record = make(random(range), random)
  const key = kind.keyOf(record)
  const old = model.find(key)
  const some = model.records[random(Math.max(1, model.records.length))]
  if (choice < 15) {
    expect(await editor.find(key)).toEqual(old)
    expect(await editor.floor(key)).toEqual(model.floor(key))
    expect(await editor.ceiling(key)).toEqual(model.records[model.place(key)])
  } else if (choice < 30 && some !== undefined) {
    const next = changed(some, random)
    await tree.change(() => editor.replace(kind.keyOf(some), next))
    model.take(kind.keyOf(some))
    model.put(next)
  } else if (choice < 35 && some !== undefined) {
    const work = tree.change(() => editor.move(kind.keyOf(some), record))
    if (old !== undefined && key !== kind.keyOf(some))
      await expect(work).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    else {
      await work
      model.take(kind.keyOf(some))
      model.put(record)
    }
  } else if (choice < 40 && some !== undefined) {
    const from = model.place(kind.keyOf(some))
    const [before, after] = [model.records[from - 1], model.records[from + 1]]
    const fits =
      (before === undefined || kind.keyOf(before) < key) && (after === undefined || key < kind.keyOf(after))
    const work = tree.change(() => editor.replace(kind.keyOf(some), record))
    if (!fits) await expect(work).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    else {
      await work
      model.take(kind.keyOf(some))
      model.put(record)
    }
  } else if (choice < 40 + growth) {
    const work = tree.change(() => editor.insert(record))
    if (old !== undefined) await expect(work).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    else {
      await work
      model.put(record)
    }
  } else if (choice >= 98 && some !== undefined) {
    const from = model.place(kind.keyOf(some))
    const end = Math.min(model.records.length, from + random(RUN))
    const behind = model.records[end]
    // A tree in an inode is never empty.
    if (from === 0 && behind === undefined) return
    const to = behind === undefined ? behindAll(model.records.at(-1) ?? some, kind) : kind.keyOf(behind)
    await tree.change(async () => expect(await editor.removeRun(kind.keyOf(some), to)).toBe(end - from))
    model.records.splice(from, end - from)
  } else if (some !== undefined && model.records.length > 1) {
    expect(await tree.change(async () => void (await editor.remove(kind.keyOf(some))))).toBeUndefined()
    model.take(kind.keyOf(some))
  } else if (old === undefined)
    await expect(tree.change(async () => void (await editor.remove(key)))).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
    })
}

type Order = 'ascending' | 'descending' | 'random'

/** Fills, changes, and empties a tree; everything is compared with the model and with a walk over the bytes. Gives the most levels. */
async function life<Record>(
  subject: Subject<Record>,
  {
    seed,
    records,
    order,
    isV5,
    blockSize,
    literalSize,
    steps,
  }: {
    seed: number
    records: number
    order: Order
    isV5: boolean
    blockSize: number
    literalSize: number
    steps: number
  },
): Promise<number> {
  const { kind, make } = subject
  const random = randomFrom(seed)
  const shape = { blockSize, isV5, ...(kind.pointers === 'long' ? { literalSize } : {}) }
  const tree = await testTree(kind, shape, random)
  const model = new Model(kind)
  const range = records * 3
  let levels = 0
  const check = async (of = tree) => {
    const found = await walk(of, subject)
    expectSame(found.records, model.records)
    levels = Math.max(levels, found.levels)
  }
  const orders = Array.from({ length: records }, (_, index) => index * 3 + 1)
  if (order === 'descending') orders.reverse()
  if (order === 'random')
    for (const [index, value] of orders.entries()) {
      const other = random(orders.length)
      orders[index] = orders[other] ?? 0
      orders[other] = value
    }
  for (const [index, place] of orders.entries()) {
    const record = make(place, random)
    if (model.find(kind.keyOf(record)) !== undefined) continue
    await tree.change(() => (index === 0 ? plant(tree, kind, record) : tree.editor.insert(record)))
    model.put(record)
  }
  await check()
  for (let count = 0; count < steps; count++) {
    await step(subject, tree, model, range, random, 30)
    if (count % 16 === 0) await check()
  }
  await tree.volume.buffers.flush()
  const again = tree.reopened()
  await check(again)
  const from = model.records[random(model.records.length)]
  const read: Record[] = []
  for await (const record of again.editor.records(from && kind.keyOf(from))) read.push(record)
  expect(read).toEqual(from === undefined ? [] : model.records.slice(model.place(kind.keyOf(from))))
  // Emptied, in the order of keys or by chance.
  for (let count = 0; model.records.length > 1; count++) {
    const at =
      order === 'random' ? random(model.records.length) : order === 'ascending' ? 0 : model.records.length - 1
    const record = model.records[at]
    if (record === undefined) break
    const key = kind.keyOf(record)
    await again.change(async () => expect(await again.editor.remove(key)).toEqual(record))
    model.take(key)
    if (count % 64 === 0 || model.records.length < 40) await check(again)
  }
  await check(again)
  expect(again.blocks.used).toBe(1)
  const [last] = model.records
  if (last === undefined || kind.pointers === 'long') return levels
  // The root of a group's tree may be an empty leaf.
  await again.change(async () => void (await again.editor.remove(kind.keyOf(last))))
  expect((await walk(again, subject)).records).toEqual([])
  expect(await again.editor.floor(kind.keyOf(last))).toBeUndefined()
  expect(await again.editor.ceiling(kind.keyOf(last))).toBeUndefined()
  await again.change(() => again.editor.insert(last))
  await check(again)
  return levels
}

describe('B+trees of XFS that are changed', () => {
  const arbitrary = fc.record({
    seed: fc.integer(),
    order: fc.constantFrom<Order>('ascending', 'descending', 'random'),
    records: fc.integer({ min: 1, max: 400 }),
    isV5: fc.boolean(),
    blockSize: fc.constantFrom(512, 1024),
    literalSize: fc.constantFrom(56, 156, 336),
  })
  for (const [name, subject] of Object.entries(subjects) as [string, Subject<unknown>][])
    it(`${name}: random changes match a model, and every block is as it should be`, async () => {
      await fc.assert(
        fc.asyncProperty(arbitrary, async options => {
          // Versions before 5 have neither of these.
          const isV5 = options.isV5 || subject.kind.magic === 0
          await life(subject, { ...options, isV5, steps: 150 })
        }),
        propertySettings(4),
      )
    })

  for (const [name, subject, order, levels] of [
    ['bnobt', bnobt, 'ascending', 3],
    ['rmapbt', rmapbt, 'random', 4],
    // The root of the smallest fork there is has three entries.
    ['bmbt', bmbt, 'random', 4],
  ] as [string, Subject<unknown>, Order, number][])
    it(`${name}: several levels`, async () => {
      const options = { seed: 7, records: 2500, isV5: true, blockSize: 512, literalSize: 56, steps: 50 }
      expect(await life(subject, { ...options, order })).toBeGreaterThanOrEqual(levels)
    })
})
