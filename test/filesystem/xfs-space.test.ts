import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { Extent, Owner } from '../../src/filesystem/xfs/writer.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { allGroups, type SpaceBench, withSpace } from '../support/xfs-space.ts'

checkWrittenImages()

const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  'as mkfs.xfs makes it': [],
  'reverse mapping, blocks of 1 KiB': ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=0'],
  'reverse mapping and shared blocks': ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=1'],
  'many small groups': ['-d', 'agcount=16'],
  'version 4, blocks of 512 bytes': ['-m', 'crc=0', '-b', 'size=512'],
  'version 4, counters that are not lazy': ['-m', 'crc=0', '-l', 'lazy-count=0'],
}

interface Held {
  readonly extent: Extent
  readonly owner: Owner
}

const file = (ino: number, offset: number, more: Partial<Owner> = {}): Owner => ({
  owner: BigInt(ino),
  offset,
  attribute: false,
  bmbt: false,
  unwritten: false,
  ...more,
})

interface Operation {
  readonly kind: 'allocate' | 'free' | 'part' | 'convert' | 'fail'
  readonly where: number
  readonly wanted: number
  readonly least: number
  readonly alignment: number
  readonly sameGroup: boolean
}

const operation: fc.Arbitrary<Operation> = fc.record({
  kind: fc.constantFrom('allocate', 'allocate', 'allocate', 'free', 'part', 'convert', 'fail'),
  where: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  wanted: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 900 })),
  least: fc.constantFrom(1, 1, 1, 4, 30),
  alignment: fc.constantFrom(1, 1, 1, 2, 8),
  sameGroup: fc.boolean(),
})

/** Runs operations on a filesystem's space, each in its transaction; keeps what is allocated. */
class Life {
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
      if (step.kind === 'part') {
        const [before, middle, after] = parts(held, step.wanted)
        await space.free(middle.extent, middle.owner)
        this.#keep(before, after)
        return
      }
      await space.free(extent, owner)
      if (step.kind === 'fail') throw STOP
    } catch (error) {
      this.held.push(held)
      throw error
    }
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
async function expectAsHeld(bench: SpaceBench, before: readonly Uint8Array[], life: Life): Promise<void> {
  const { geometry } = bench.volume
  const states = await allGroups(bench.volume)
  const expected = before.map(bytes => bytes.slice())
  for (const { extent } of life.held) {
    const at = geometry.agBlockOf(extent.start)
    const group = expected[geometry.agOf(extent.start)]
    expect(group?.subarray(at, at + extent.count).every(bit => bit === 1)).toBe(true)
    group?.fill(0, at, at + extent.count)
  }
  for (const [agno, state] of states.entries()) {
    const found = state.free.slice()
    for (const block of state.own) found[block] = 1
    expect(Buffer.compare(found, expected[agno] ?? Buffer.alloc(0)), `group ${agno}`).toBe(0)
    expect(state.listed - state.needed).toBeLessThanOrEqual(20)
  }
}

/** Free space, and what the trees of the free space and the free list take of it. */
async function spare(bench: SpaceBench): Promise<Uint8Array[]> {
  return (await allGroups(bench.volume)).map(({ free, own }) => {
    const bytes = free.slice()
    for (const block of own) bytes[block] = 1
    return bytes
  })
}

describe.skipIf(!haveTool('mkfs.xfs'))('the space of XFS', () => {
  for (const [name, args] of Object.entries(VARIANTS))
    test(`any allocating and freeing: ${name}`, async () => {
      const image = writes(join(temporaryFolder(), 'image'), 'xfs')
      await runOk('truncate', ['-s', '320M', image])
      await runOk('mkfs.xfs', ['-q', ...args, image])
      await withSpace(image, async bench => {
        const before = await spare(bench)
        await fc.assert(
          fc.asyncProperty(fc.array(operation, { minLength: 60, maxLength: 60 }), async steps => {
            const life = new Life(bench)
            for (const step of steps) await life.run(step)
            await expectAsHeld(bench, before, life)
            for (const { extent, owner } of life.held)
              await inTransaction(bench, () => bench.space.free(extent, owner))
            life.held.length = 0
            await expectAsHeld(bench, before, life)
          }),
          propertySettings(3),
        )
      })
    })
})
