import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { recoverCow } from '../../src/filesystem/xfs/space/recover-cow.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import { type Extent, OWN, type Owner, structureOwner } from '../../src/filesystem/xfs/writer.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  propertySettings,
  run,
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
  'shared blocks, no reverse mapping, blocks of 2 KiB': ['-b', 'size=2048'],
  'without what came later, sectors of 4 KiB': ['-m', 'finobt=0,reflink=0,inobtcount=0', '-s', 'size=4096'],
  'version 4, blocks of 512 bytes': ['-m', 'crc=0', '-b', 'size=512'],
  'version 4, counters that are not lazy': ['-m', 'crc=0', '-l', 'lazy-count=0'],
}

/** With these mkfs.xfs makes filesystems that are too small for it otherwise. */
const TINY = ['TEST_DIR=1', 'TEST_DEV=1', 'QA_CHECK_FS=1']

async function makeTiny(megabytes: number, args: readonly string[]): Promise<string> {
  const image = writes(join(temporaryFolder(), 'image'), 'xfs')
  await runOk('truncate', ['-s', `${megabytes}M`, image])
  await runOk('env', [...TINY, 'mkfs.xfs', '-q', ...args, image])
  return image
}

interface Held {
  readonly extent: Extent
  readonly owner: Owner
}

/** A file that does not exist, with a number that is one: Linux looks at that. */
const file = (number: number, offset: number, more: Partial<Owner> = {}): Owner => ({
  owner: BigInt(4000 + number),
  offset,
  attribute: false,
  bmbt: false,
  unwritten: false,
  ...more,
})

interface Operation {
  readonly kind: 'allocate' | 'free' | 'part' | 'convert' | 'share' | 'fail'
  readonly where: number
  readonly wanted: number
  readonly least: number
  readonly alignment: number
  readonly sameGroup: boolean
}

const operation: fc.Arbitrary<Operation> = fc.record({
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
      if (step.kind === 'share') {
        this.held.push(held)
        await this.#share(parts(held, step.wanted)[1])
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
  async #share({ extent, owner }: Held): Promise<void> {
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
async function expectAsHeld(bench: SpaceBench, before: readonly Uint8Array[], life: Life): Promise<void> {
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
async function spare(bench: SpaceBench): Promise<Uint8Array[]> {
  return (await allGroups(bench.volume)).map(({ free, own, refcountbt }) => {
    const bytes = free.slice()
    for (const block of [...own, ...refcountbt]) bytes[block] = 1
    return bytes
  })
}

/** Every other block of a long run, in an order that comes back to all places. */
async function cutFreeSpace(bench: SpaceBench, life: Life): Promise<void> {
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
async function fill(bench: SpaceBench, life: Life): Promise<void> {
  const owner = file(9, 0)
  for (;;)
    try {
      const request = { goal: 3000, wanted: 4000, owner }
      const extent = await inTransaction(bench, () => bench.space.allocate(request))
      life.held.push({ extent, owner })
    } catch (error) {
      if (isDrydiskError(error, 'ENOSPC')) return
      throw error
    }
}

/** Blocks of files that do not exist are all that xfs_repair may find, and only where a reverse mapping has them. */
async function expectOnlyUnknownBlocks(image: string): Promise<void> {
  const { stdout, stderr } = await run('xfs_repair', ['-n', '-f', image])
  const expected =
    /^(Phase| +- |No modify|Cannot get host|Repair may|the image and|unknown block state, ag 1, |$)/
  expect(`${stdout}\n${stderr}`.split('\n').filter(line => !expected.test(line))).toEqual([])
}

/** Shared blocks are overwritten; a hint has more set aside for each write than it needs. */
const CRASH_IN_COPYING = `
cd "$0"
head -c 4M /dev/urandom > a
cp --reflink=always a b
sync
xfs_io -c 'cowextsize 1m' b
for n in 1 5 9 13; do xfs_io -c "pwrite -q $((n * 65536)) 4096" -c fsync b; done
xfs_io -x -c 'shutdown -f' .
`

/** Files come and go, on a disk full of pieces. */
async function useByKernel(image: string): Promise<void> {
  const script =
    'cd "$0"; for n in $(seq 300); do head -c $((n * 331)) /dev/urandom > f$n; done; sync; rm f*[13579]; head -c 9M /dev/urandom > long; sync; rm f* long'
  await withXfsMount(image, 'noatime', folder => runOk('sh', ['-ec', script, folder]))
  await expectOnlyUnknownBlocks(image)
}

describe.skipIf(!haveTool('mkfs.xfs'))('the space of XFS', () => {
  for (const [name, args] of Object.entries(VARIANTS))
    test(`any allocating and freeing: ${name}`, async () => {
      const image = await makeTiny(64, args)
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

  for (const args of [
    ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=1'],
    ['-b', 'size=1024', '-m', 'rmapbt=0,finobt=0,reflink=0,inobtcount=0'],
    ['-m', 'crc=0', '-b', 'size=512'],
    ['-m', 'crc=0', '-b', 'size=512', '-l', 'lazy-count=0'],
  ])
    test(`free space in a thousand pieces, then filled to the last block: ${args.join(' ')}`, async () => {
      const image = await makeTiny(64, args)
      const held = await withSpace(image, async bench => {
        const before = await spare(bench)
        const life = new Life(bench)
        await cutFreeSpace(bench, life)
        await expectAsHeld(bench, before, life)
        return life.held
      })
      await expectOnlyUnknownBlocks(image)
      if (haveLoopMounts() && !args.includes('crc=0')) await useByKernel(image)
      await withSpace(image, async bench => {
        const { space } = bench
        const life = new Life(bench)
        const before = (await spare(bench)).map(bytes => bytes.slice())
        const oneByOne = await inTransaction(bench, () =>
          space.allocate({
            goal: held[0]?.extent.start ?? 0,
            wanted: 40,
            sameGroup: true,
            owner: file(8, 0),
          }),
        )
        expect(oneByOne.count).toBe(40)
        life.held.push({ extent: oneByOne, owner: file(8, 0) })
        await fill(bench, life)
        await expectAsHeld(bench, before, life)
        expect(await space.freeBlocks()).toBe(0)
        for (const { extent, owner } of life.held.reverse())
          await inTransaction(bench, () => space.free(extent, owner))
        life.held.length = 0
        await expectAsHeld(bench, before, life)
        for (const { extent, owner } of held) await inTransaction(bench, () => space.free(extent, owner))
        await allGroups(bench.volume)
      })
    })

  test('what is free already is not freed, and what is metadata is not either', async () => {
    const image = await makeTiny(64, ['-m', 'rmapbt=0'])
    await withSpace(image, async bench => {
      const { space, volume } = bench
      const owner = file(7, 0)
      const extent = await inTransaction(bench, () => space.allocate({ goal: 3000, wanted: 8, owner }))
      const free = (start: number, count: number) =>
        inTransaction(bench, () => space.free({ start, count }, owner))
      for (const [start, count] of [
        [extent.start - 1, 2],
        [extent.start + 7, 2],
        [extent.start + 8, 1],
        [extent.start - 5, 20],
        [0, 1],
        [volume.superblock.sb_logstart + 5, 1],
        [2 ** 40, 1],
      ] as const)
        await expect(free(start, count)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
      await free(extent.start, 8)
      await expect(free(extent.start, 8)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    })
  })

  test('blocks belong to who they are taken from', async () => {
    const image = await makeTiny(64, ['-m', 'rmapbt=1'])
    await withSpace(image, async bench => {
      const { space } = bench
      const owner = file(7, 100)
      const extent = await inTransaction(bench, () => space.allocate({ goal: 3000, wanted: 8, owner }))
      for (const other of [
        file(8, 100),
        file(7, 101),
        file(7, 100, { attribute: true }),
        file(7, 100, { bmbt: true }),
        file(7, 100, { unwritten: true }),
      ])
        await expect(inTransaction(bench, () => space.free(extent, other))).rejects.toMatchObject({
          code: 'ERR_CORRUPT',
        })
      await inTransaction(bench, () => space.free(extent, owner))
    })
  })

  test('a file does not get blocks for its data that its transaction has freed', async () => {
    const image = await makeTiny(64, [])
    await withSpace(image, async bench => {
      const { space } = bench
      const owner = file(7, 0)
      const extent = await inTransaction(bench, () => space.allocate({ goal: 3000, wanted: 8, owner }))
      const again = await inTransaction(bench, async () => {
        await space.free(extent, owner)
        return space.allocate({ goal: extent.start, wanted: 4, owner })
      })
      expect(again.start).toBe(extent.start + 8)
      await inTransaction(bench, () => space.free(again, owner))
      const later = await inTransaction(bench, () => space.allocate({ goal: extent.start, wanted: 4, owner }))
      expect(later.start).toBe(extent.start)
      await inTransaction(bench, () => space.free(later, owner))
    })
  })

  test('what copy-on-write had allocated becomes free', async () => {
    const image = await makeTiny(64, ['-m', 'rmapbt=1,reflink=1'])
    await withSpace(image, async bench => {
      const { space } = bench
      const before = await spare(bench)
      const owner = structureOwner(OWN.COW)
      for (const goal of [3000, 3010, 3100, bench.volume.geometry.fsBlock(2, 900)])
        await inTransaction(bench, async () => {
          const extent = await space.allocate({ goal, wanted: 10, owner })
          await space.stage(extent)
        })
      expect(await inTransaction(bench, () => recoverCow(bench))).toBe(40)
      await expectAsHeld(bench, before, new Life(bench))
    })
  })

  for (const args of [[], ['-m', 'rmapbt=1']])
    test.skipIf(!haveLoopMounts() || !haveTool('xfs_io'))(
      `what a crash left of copy-on-write is free after opening, as after a mount ${args.join(' ')}`,
      async () => {
        const image = await makeTiny(128, args)
        await withXfsMount(image, 'noatime', top => runOk('sh', ['-ec', CRASH_IN_COPYING, top]))
        const byKernel = `${image}.mounted`
        await runOk('cp', [image, byKernel])
        const device = new StorageDevice(await FileStorage.open(image, 'write'))
        await (await openXfs(device, { writable: true })).close()
        await device.flush()
        await device.close()
        await withXfsMount(byKernel, 'noatime', async () => undefined)
        const fdblocks = (path: string) =>
          withSpace(path, async ({ volume }) => (await volume.counters()).fdblocks)
        expect(await fdblocks(image)).toBe(await fdblocks(byKernel))
      },
    )
})
