import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { Buffers, type Seal } from '../../src/filesystem/xfs/buffers.ts'
import { checksumIsRight } from '../../src/filesystem/xfs/checksum.ts'
import { propertySettings } from '../support/native.ts'

const SIZE = 512
/** Buffers of one block, and of two. */
const UNITS: readonly (readonly number[])[] = [[0], [1], [2], [3], [4, 5], [6, 7], [9, 8]]
const MARK = 100

interface Change {
  readonly act: 'edit' | 'fresh' | 'forget'
  readonly unit: number
  readonly value: number
}
interface Part {
  readonly act: 'part'
  readonly steps: readonly (Change | Part)[]
  readonly keep: boolean
}

const change: fc.Arbitrary<Change> = fc.record({
  act: fc.constantFrom('edit', 'edit', 'fresh', 'forget'),
  unit: fc.nat(UNITS.length - 1),
  value: fc.nat(255),
})
const { part } = fc.letrec<{ part: Part; step: Change | Part }>(tie => ({
  step: fc.oneof({ maxDepth: 3, withCrossShrink: true }, change, tie('part')),
  part: fc.record({
    act: fc.constant('part' as const),
    steps: fc.array(tie('step'), { maxLength: 8 }),
    keep: fc.boolean(),
  }),
}))

/** Buffers beside what each of them is to hold. */
class Life {
  readonly device = new MemoryDevice(new Uint8Array(SIZE * 10))
  readonly buffers = new Buffers(this.device, SIZE, 10, true)
  now = UNITS.map(() => 0)
  stored = [...this.now]

  seal(unit: number): Seal {
    return { at: 0, length: SIZE * (UNITS[unit]?.length ?? 1), crcAt: 4 }
  }

  async run({ steps, keep }: Part, isOutermost: boolean): Promise<void> {
    const before = [...this.now]
    if (isOutermost) this.buffers.begin()
    else this.buffers.beginPart()
    for (const step of steps) {
      if (step.act === 'part') await this.run(step, false)
      else await this.change(step)
      await this.check()
    }
    if (keep) this.buffers.end()
    else {
      this.buffers.rollback()
      this.now = before
    }
    await this.check()
  }

  async change({ act, unit, value }: Change): Promise<void> {
    const blocks = UNITS[unit] ?? []
    if (act === 'forget') {
      for (const block of blocks) this.buffers.forget(block, 1)
      this.now[unit] = this.stored[unit] ?? 0
      return
    }
    const bytes =
      act === 'edit'
        ? await this.buffers.edit(blocks, this.seal(unit))
        : this.buffers.fresh(blocks, this.seal(unit))
    if (act === 'fresh' && bytes.some(byte => byte !== 0)) throw new Error('a new buffer is not zeroed')
    bytes[MARK] = value
    bytes[bytes.length - 1] = value
    this.now[unit] = value
  }

  async check(): Promise<void> {
    for (const [unit, blocks] of UNITS.entries()) {
      const bytes = await this.buffers.readJoined(blocks)
      if (bytes[MARK] !== this.now[unit] || bytes.at(-1) !== this.now[unit])
        throw new Error(`buffer ${unit} has ${bytes[MARK]} and ${bytes.at(-1)}, expected ${this.now[unit]}`)
    }
  }

  /** What is stored is what was kept, with right checksums. */
  async flush(): Promise<void> {
    await this.buffers.flush()
    this.stored = [...this.now]
    expect(this.buffers.changedBytes).toBe(0)
    for (const [unit, blocks] of UNITS.entries()) {
      const bytes = new Uint8Array(blocks.length * SIZE)
      for (const [index, block] of blocks.entries())
        await this.device.read(block * SIZE, bytes.subarray(index * SIZE, (index + 1) * SIZE))
      if (bytes[MARK] !== this.now[unit]) throw new Error(`buffer ${unit} is stored with ${bytes[MARK]}`)
      if (bytes[MARK] !== 0 && !checksumIsRight(bytes, 4)) throw new Error(`buffer ${unit} has no checksum`)
    }
    await this.check()
  }
}

test('XFS metadata in memory: transactions, parts of them, and what is written', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 6 }), fc.nat(5), async (parts, flushes) => {
      const life = new Life()
      for (const [index, each] of parts.entries()) {
        await life.run(each, true)
        if (index % (flushes + 1) === 0) await life.flush()
      }
      await life.flush()
    }),
    propertySettings(60),
  )
})
