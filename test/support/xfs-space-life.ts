import fc from 'fast-check'
import { expect } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { Extent, Owner } from '../../src/filesystem/xfs/writer.ts'
import { allGroups, type SpaceBench } from './xfs-space.ts'

export interface Held {
  readonly extent: Extent
  readonly owner: Owner
}

/** A file that does not exist, with a number that is one: Linux looks at that. */
export const file = (number: number, offset: number, more: Partial<Owner> = {}): Owner => ({
  owner: BigInt(4000 + number),
  offset,
  attribute: false,
  bmbt: false,
  unwritten: false,
  ...more,
})

export interface Operation {
  readonly kind: 'allocate' | 'free' | 'part' | 'convert' | 'share' | 'fail'
  readonly where: number
  readonly wanted: number
  readonly least: number
  readonly alignment: number
  readonly sameGroup: boolean
}

export const operation: fc.Arbitrary<Operation> = fc.record({
  kind: fc.constantFrom(
    'allocate',
    'allocate',
    'allocate',
    'free',
    'part',
    'convert',
    'share',
    'share',
    'fail',
  ),
  where: fc.integer({ min: 0, max: 99_999 }).map(part => part / 100_000),
  wanted: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 900 })),
  least: fc.constantFrom(1, 1, 1, 4, 30),
  alignment: fc.constantFrom(1, 1, 1, 2, 8),
  sameGroup: fc.boolean(),
})

/** Runs operations on a filesystem's space, each in its transaction; keeps what is allocated. */
export class Life {
  readonly held: Held[] = []
  readonly #bench: SpaceBench
  #ino = 1000

  constructor(bench: SpaceBench) {
    this.#bench = bench
  }

  async run(step: Operation): Promise<void> {
    try {
      await inTransaction(this.#bench, () => this.#run(step))
    } catch (error) {
      if (!isDrydiskError(error, 'ENOSPC') && error !== STOP) throw error
    }
  }

  async #run(step: Operation): Promise<void> {
    const { space } = this.#bench
    if (step.kind === 'allocate' || this.held.length === 0) return this.#allocate(step)
    const index = Math.floor(step.where * this.held.length)
    const [held] = this.held.splice(index, 1)
    if (held === undefined) return
    const { extent, owner } = held
    try {
      if (step.kind === 'convert') {
        const [before, middle, after] = parts(held, step.wanted)
        await space.convert(middle.extent, middle.owner)
        const converted = { ...middle, owner: { ...middle.owner, unwritten: !middle.owner.unwritten } }
        this.#keep(before, converted, after)
        return
      }
      if (step.kind === 'share') {
        this.held.push(held)
        await this.share(parts(held, step.wanted)[1])
        return
      }
      if (step.kind === 'part') {
        const [before, middle, after] = parts(held, step.wanted)
        await space.free(middle.extent, middle.owner)
        this.#keep(before, after)
        return
      }
      await space.free(extent, owner)
      if (step.kind === 'fail') throw STOP
    } catch (error) {
      if (step.kind !== 'share') this.held.push(held)
      throw error
    }
  }

  /** As copying with `cp --reflink` does. */
  async share({ extent, owner }: Held): Promise<void> {
    const { space, volume } = this.#bench
    if (!volume.superblock.hasReflink || owner.attribute || owner.bmbt) return
    const another = file(++this.#ino, 77)
    await space.increase(extent)
    await space.map(extent, another)
    this.held.push({ extent, owner: another })
  }

  #keep(...all: readonly Held[]): void {
    for (const held of all) if (held.extent.count > 0) this.held.push(held)
  }

  async #allocate(step: Operation): Promise<void> {
    const { space, volume } = this.#bench
    const { geometry } = volume
    const last = this.held.at(-1)
    const goesOn = step.where < 0.3 && last !== undefined
    const block = Math.floor(step.where * geometry.blocks)
    const goal = goesOn
      ? last.extent.start
      : geometry.fsBlock(Math.floor(block / geometry.agBlocks), block % geometry.agBlocks)
    const owner = goesOn
      ? { ...last.owner, offset: last.owner.offset + last.extent.count }
      : file(++this.#ino, 5, { attribute: step.where > 0.8, bmbt: step.where > 0.9 })
    const { wanted, least, alignment, sameGroup } = step
    const extent = await space.allocate({ goal, wanted, least, alignment, sameGroup, owner })
    expect(extent.count).toBeGreaterThanOrEqual(least)
    expect(extent.count).toBeLessThanOrEqual(Math.max(wanted, least))
    expect(geometry.agBlockOf(extent.start) % alignment).toBe(0)
    if (sameGroup) expect(geometry.agOf(extent.start)).toBe(geometry.agOf(goal))
    this.held.push({ extent, owner })
  }
}

const STOP = new Error('stop')

/** Cuts an extent in three, some of them empty. */
function parts({ extent, owner }: Held, at: number): [Held, Held, Held] {
  const from = at % extent.count
  const count = Math.max(1, Math.floor((extent.count - from) / 2))
  const part = (start: number, length: number) => ({
    extent: { start: extent.start + start, count: length },
    owner: owner.bmbt ? owner : { ...owner, offset: owner.offset + start },
  })
  return [part(0, from), part(from, count), part(from + count, extent.count - from - count)]
}

/** By block of the volume: what a model of the allocations says is free. */
export async function expectAsHeld(
  bench: SpaceBench,
  before: readonly Uint8Array[],
  life: Life,
): Promise<void> {
  const { geometry } = bench.volume
  const states = await allGroups(bench.volume)
  const expected = before.map(bytes => bytes.slice())
  for (const { extent } of life.held) {
    const at = geometry.agBlockOf(extent.start)
    const group = expected[geometry.agOf(extent.start)]
    group?.fill(0, at, at + extent.count)
  }
  for (const [agno, state] of states.entries()) {
    const found = state.free.slice()
    for (const block of [...state.own, ...state.refcountbt]) found[block] = 1
    expect(Buffer.compare(found, expected[agno] ?? Buffer.alloc(0)), `group ${agno}`).toBe(0)
    expect(state.listed - state.needed).toBeLessThanOrEqual(20)
    expectReferences(bench, agno, state.references, life)
  }
}

/** As many as there are holders, where those are several. */
function expectReferences(
  { volume: { geometry } }: SpaceBench,
  agno: number,
  references: ReadonlyMap<number, number>,
  life: Life,
): void {
  const holders = new Map<number, number>()
  for (const { extent } of life.held)
    if (geometry.agOf(extent.start) === agno)
      for (let index = 0; index < extent.count; index++) {
        const block = geometry.agBlockOf(extent.start) + index
        holders.set(block, (holders.get(block) ?? 0) + 1)
      }
  const shared = [...holders].filter(([, count]) => count > 1).sort(([a], [b]) => a - b)
  expect([...references]).toEqual(shared)
}

/** Free space, and what the trees and the free list take of it. */
export async function spare(bench: SpaceBench): Promise<Uint8Array[]> {
  return (await allGroups(bench.volume)).map(({ free, own, refcountbt }) => {
    const bytes = free.slice()
    for (const block of [...own, ...refcountbt]) bytes[block] = 1
    return bytes
  })
}

/** Every other block of a long run, in an order that comes back to all places. */
export async function cutFreeSpace(bench: SpaceBench, life: Life): Promise<void> {
  const { space, volume } = bench
  const goal = volume.geometry.fsBlock(1, 3000)
  const whole = await inTransaction(bench, () =>
    space.allocate({ goal, wanted: 2400, least: 2400, owner: file(7, 0) }),
  )
  const single = (index: number) => ({ start: whole.start + index, count: 1 })
  for (let step = 0; step < 1200; step++) {
    const index = ((step * 7) % 1200) * 2
    await inTransaction(bench, () => space.free(single(index), file(7, index)))
  }
  for (let index = 1; index < 2400; index += 2)
    life.held.push({ extent: single(index), owner: file(7, index) })
}

/** Allocates until there is nothing left. */
export async function fill(bench: SpaceBench, life: Life, fromReserve = false): Promise<void> {
  const owner = file(9, 0)
  for (;;)
    try {
      const request = { goal: 3000, wanted: 4000, owner, fromReserve }
      const extent = await inTransaction(bench, () => bench.space.allocate(request))
      life.held.push({ extent, owner })
    } catch (error) {
      if (isDrydiskError(error, 'ENOSPC')) return
      throw error
    }
}
