import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { RangeSet } from '../../src/bytes/range-set.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { recoverCow } from '../../src/filesystem/xfs/space/recover-cow.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import { OWN, structureOwner } from '../../src/filesystem/xfs/writer.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  propertySettings,
  run,
  runOk,
} from '../support/native.ts'
import { allGroups, makeTinyXfs, withSpace } from '../support/xfs-space.ts'
import { cutFreeSpace, expectAsHeld, file, fill, Life, operation, spare } from '../support/xfs-space-life.ts'

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
      const image = await makeTinyXfs(64, args)
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
    ['-m', 'crc=0', '-b', 'size=512', '-l', 'lazy-count=0'],
  ])
    test(`free space in a thousand pieces, then filled to the last block: ${args.join(' ')}`, async () => {
      const image = await makeTinyXfs(64, args)
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

  test('without one free block, trees grow with what is freed', async () => {
    const image = await makeTinyXfs(64, ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=0'])
    await withSpace(image, async bench => {
      const { space, volume } = bench
      const before = await spare(bench)
      const life = new Life(bench)
      await fill(bench, life, true)
      for (const state of await allGroups(volume)) expect(state.free.includes(1)).toBe(false)
      const [largest] = life.held.sort((a, b) => b.extent.count - a.extent.count)
      if (largest === undefined) throw new Error('nothing was allocated')
      const { extent, owner } = largest
      life.held.shift()
      const kept = new RangeSet()
      kept.add(0, extent.count)
      // Each takes a record of the reverse mapping apart, in a place that is not near the last one.
      for (let step = 0; step < 700; step++) {
        const index = (step * 1009) % extent.count
        kept.delete(index, index + 1)
        const single = { start: extent.start + index, count: 1 }
        await inTransaction(bench, () => space.free(single, { ...owner, offset: owner.offset + index }))
      }
      for (const { start, end } of kept.ranges())
        life.held.push({
          extent: { start: extent.start + start, count: end - start },
          owner: { ...owner, offset: owner.offset + start },
        })
      await expectAsHeld(bench, before, life)
      expect((await volume.readAgf(volume.geometry.agOf(extent.start))).rmapLevel).toBeGreaterThan(1)
      for (const held of life.held) await inTransaction(bench, () => space.free(held.extent, held.owner))
      life.held.length = 0
      await expectAsHeld(bench, before, life)
    })
  })

  test('what is free already is not freed, and what is metadata is not either', async () => {
    const image = await makeTinyXfs(64, ['-m', 'rmapbt=0'])
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
    const image = await makeTinyXfs(64, ['-m', 'rmapbt=1'])
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
    const image = await makeTinyXfs(64, [])
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
    const image = await makeTinyXfs(64, ['-m', 'rmapbt=1,reflink=1'])
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
        const image = await makeTinyXfs(128, args)
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
