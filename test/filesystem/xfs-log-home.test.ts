import { appendFileSync, copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  DIRTY_XFS_VARIANTS,
  type DirtyXfsVariant,
  haveXfsMounts,
  makeDirtyXfs,
  makeXfs,
  mountedXfs,
  quickFolder,
} from '../../native-fixtures/xfs-logs.ts'
import { bigEndian } from '../../src/bytes/byte-view.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { storeChecksum } from '../../src/filesystem/xfs/checksum.ts'
import { bringLogHome } from '../../src/filesystem/xfs/log/bring-home.ts'
import { findActiveLog } from '../../src/filesystem/xfs/log/find-tail.ts'
import { LogArea } from '../../src/filesystem/xfs/log/log-area.ts'
import { recordChecksum } from '../../src/filesystem/xfs/log/record-header.ts'
import { recoverLog } from '../../src/filesystem/xfs/log/recover.ts'
import { fillHeader, lsn, unmountRecord } from '../../src/filesystem/xfs/log/unmount-record.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { haveTool, propertySettings } from '../support/native.ts'
import { digest, expectRepaired, kernelFindsClean, logState } from '../support/xfs-oracles.ts'

async function withImage<T>(
  path: string,
  mode: 'read' | 'write',
  use: (device: BlockDevice) => Promise<T>,
): Promise<T> {
  const device = new StorageDevice(await FileStorage.open(path, mode))
  try {
    return await use(device)
  } finally {
    await device.close()
  }
}

const bring = (image: string) =>
  withImage(image, 'write', async device => bringLogHome(device, await readSuperblock(device)))

/** Where two devices differ, by MiB, the log left out. */
async function differences(a: BlockDevice, b: BlockDevice): Promise<number[]> {
  const sb = await readSuperblock(a)
  const unit = 2 ** sb.sb_agblklog
  const logBlock = Math.floor(sb.sb_logstart / unit) * sb.sb_agblocks + (sb.sb_logstart % unit)
  const [start, end] = [logBlock * sb.sb_blocksize, (logBlock + sb.sb_logblocks) * sb.sb_blocksize]
  const [x, y] = [Buffer.alloc(1 << 16), Buffer.alloc(1 << 16)]
  const differ: number[] = []
  for (let at = 0; at < a.size; at += x.length) {
    await a.read(at, x)
    await b.read(at, y)
    if (at + x.length > start && at < end) continue
    if (!x.equals(y)) differ.push(at)
  }
  return differ
}

/** All that a log brought home has to be, by everyone's word. */
async function expectClean(image: string): Promise<void> {
  const { state, head, tail } = await logState(image)
  expect(state).toBe('CLEAN')
  expect(tail).toBe(head)
  await withImage(image, 'read', async device => {
    const sb = await readSuperblock(device)
    const active = await findActiveLog(new LogArea(device, sb))
    expect(active).toMatchObject({ clean: true, torn: 0, head })
    expect((await recoverLog(device, sb)).dirty).toBe(false)
  })
  const before = digest(image)
  expect(await bring(image)).toMatchObject({ dirty: false, warnings: [] })
  expect(digest(image)).toBe(before)
}

/** What the kernel does with it: no recovery, no complaint of sequence numbers, and its own next log reads well too. */
async function expectKernelGoesOn(image: string, repaired = true): Promise<void> {
  expect(await kernelFindsClean(image)).toBe(true)
  await mountedXfs(image, async folder => {
    for (let i = 0; i < 40; i++) writeFileSync(join(folder, `later-${i}`), 'x'.repeat(i * 100))
  })
  expect((await logState(image)).state).toBe('CLEAN')
  if (repaired) await expectRepaired(image)
}

/** What recovery makes of the others is held against the kernel in the tests of the log itself. */
const MORE_VARIANTS: readonly DirtyXfsVariant[] = [
  {
    name: 'a log that has wrapped, stripe unit of 32 KiB',
    mkfs: ['-l', 'size=12m,su=32k'],
    operations: 3500,
    kind: 'clone',
  },
  {
    name: 'stripe unit of 256 KiB, stopped at once',
    mkfs: ['-l', 'size=32m,su=256k'],
    operations: 300,
    kind: 'unlink',
    shutdown: 'at once',
  },
]

describe.skipIf(!haveXfsMounts())('a log is brought home', () => {
  test.each([...DIRTY_XFS_VARIANTS.slice(2), ...MORE_VARIANTS])(
    '$name',
    async variant => {
      const image = join(quickFolder(), 'image')
      await makeDirtyXfs(image, variant, 7)
      const original = `${image}.dirty`
      copyFileSync(image, original)
      expect((await logState(image)).state).toBe('DIRTY')
      const result = await bring(image)
      expect(result).toMatchObject({ dirty: true, warnings: [] })
      await withImage(original, 'read', async device => {
        const overlay = (await recoverLog(device, await readSuperblock(device))).device
        await withImage(image, 'read', async home => expect(await differences(home, overlay)).toEqual([]))
      })
      await expectClean(image)
      // What was set aside for copy-on-write is there until what follows a replay.
      if (variant.kind !== 'clone') await expectRepaired(image)
      await expectKernelGoesOn(image, variant.kind !== 'clone')
    },
    60_000,
  )

  test('a log torn at its head', async () => {
    const original = join(quickFolder(), 'image')
    const variant = { name: 'torn', mkfs: ['-l', 'size=12m'], operations: 700, kind: 'keep' } as const
    await makeDirtyXfs(original, variant, 11)
    for (const torn of [1, 9]) {
      const image = `${original}.torn`
      copyFileSync(original, image)
      await withImage(image, 'write', async device => {
        const log = new LogArea(device, await readSuperblock(device))
        const { head } = await findActiveLog(log)
        const sector = (await log.read(head - torn, 1)).fill(0x5a, 100, 101)
        await log.write(head - torn, sector)
      })
      const { warnings } = await bring(image)
      expect(warnings).toEqual([expect.stringContaining('were being written')])
      await expectClean(image)
      expect(await kernelFindsClean(image)).toBe(true)
    }
  }, 60_000)
})

describe.skipIf(!haveTool('mkfs.xfs') || !haveTool('xfs_logprint'))('the log of a new filesystem', () => {
  /** As if records had filled the log up to `head` in its second cycle, the last of them lost by whoever wrote it. */
  async function forge(device: BlockDevice, head: number, stale: readonly number[]): Promise<void> {
    const sb = await readSuperblock(device)
    const log = new LogArea(device, sb)
    const blocks = new Uint8Array(log.blocks * 512)
    const unit = Math.max(1, sb.sb_logsunit / 512)
    const length = Math.max(2, unit)
    const start = (head - length + log.blocks) % log.blocks
    const cycle = head >= length ? 2 : 1
    for (let block = 0; block < log.blocks; block++)
      fillHeader(blocks.subarray(block * 512, block * 512 + 512), sb, {
        cycle: block < head || stale.includes(block - head) ? 2 : 1,
        block,
        tailLsn: lsn(1, 0),
      })
    await log.write(0, blocks)
    const record = unmountRecord(sb, { cycle, block: start, logBlocks: log.blocks, previous: 0 })
    const view = bigEndian(record, 'record')
    // A commit of a transaction that began before the tail.
    const headerBlocks = Math.max(1, Math.ceil(view.u32(320) / 32_768))
    record[headerBlocks * 512 + 9] = 2
    const len = view.u32(12)
    const [header, data] = [record.subarray(0, headerBlocks * 512), record.subarray(headerBlocks * 512)]
    const crc = recordChecksum({ version: view.u32(8), len }, header, data)
    new DataView(record.buffer).setUint32(32, crc, true)
    await log.write(start, record)
  }

  const UNITS = ['', ',su=32k', ',su=256k', ',version=1']

  test.each(UNITS)(
    'heads everywhere round its end%s',
    async unit => {
      const image = join(quickFolder(), 'image')
      const v4 = unit.includes('version') ? ['-m', 'crc=0'] : ['-m', 'reflink=0']
      await makeXfs(image, 64, [...v4, '-l', `size=${unit.includes('256k') ? 8 : 4}m${unit}`])
      const kernel = haveXfsMounts() && v4.length === 0
      const sb = await withImage(image, 'read', readSuperblock)
      const blocks = (sb.sb_logblocks * sb.sb_blocksize) / 512
      const step = Math.max(1, sb.sb_logsunit / 512)
      let tried = 0
      for (const offset of [0, 1, -1]) {
        const head = (offset * step + blocks) % blocks
        for (const stale of [[], [1, 100, 101, 4000]]) {
          await withImage(image, 'write', device =>
            forge(
              device,
              head,
              stale.map(block => block * step),
            ),
          )
          const { dirty } = await bring(image)
          expect({ offset, dirty }).toEqual({ offset, dirty: true })
          await expectClean(image)
          if (kernel) expect(await kernelFindsClean(image)).toBe(true)
          tried++
        }
        if (kernel && Math.abs(offset) < 4) await expectKernelGoesOn(image)
        else await expectRepaired(image)
      }
      expect(tried).toBe(6)
    },
    60_000,
  )

  test('every head, in memory', async () => {
    const image = join(quickFolder(), 'image')
    await makeXfs(image, 64, ['-m', 'reflink=0', '-l', 'size=4m'])
    const bytes = new Uint8Array(64 << 20)
    await withImage(image, 'read', device => device.read(0, bytes))
    const volume = new MemoryDevice(bytes)
    const sb = await readSuperblock(volume)
    const log = new LogArea(volume, sb)
    const property = fc.asyncProperty(
      fc.nat(log.blocks - 1),
      fc.array(fc.integer({ min: 1, max: 4090 }), { maxLength: 4 }),
      async (head, stale) => {
        await forge(volume, head, stale)
        await bringLogHome(volume, sb)
        const active = await findActiveLog(log)
        expect(active).toMatchObject({ clean: true, torn: 0, head: (head + 2) % log.blocks, newest: head })
        const { header, damaged } = await log.record(head)
        expect({ damaged, lsn: header.lsn }).toEqual({ damaged: false, lsn: lsn(2, head) })
      },
    )
    await fc.assert(property, propertySettings(30))
  })

  test('a record that was torn right behind an unmount', async () => {
    const image = join(quickFolder(), 'image')
    await makeXfs(image, 64, ['-m', 'reflink=0', '-l', 'size=4m'])
    await withImage(image, 'write', async device => {
      const sb = await readSuperblock(device)
      const log = new LogArea(device, sb)
      const { head } = await findActiveLog(log)
      const record = unmountRecord(sb, { cycle: 1, block: head, logBlocks: log.blocks, previous: 0 })
      record[521] = 2
      await log.write(head, record)
    })
    expect(await bring(image)).toMatchObject({
      dirty: false,
      warnings: [expect.stringContaining('were being written')],
    })
    await expectClean(image)
    await expectRepaired(image)
    if (haveXfsMounts()) await expectKernelGoesOn(image)
  })

  test('a clean log stays, and bits that only a log needs go', async () => {
    const image = join(quickFolder(), 'image')
    await makeXfs(image, 32, [])
    const before = digest(image)
    expect(await bring(image)).toMatchObject({ dirty: false, warnings: [], finished: 0 })
    expect(digest(image)).toBe(before)
    await setLogFeatures(image, 1)
    expect(digest(image)).not.toBe(before)
    await bring(image)
    expect(digest(image)).toBe(before)
  })

  test('what the log may hold and nobody knows is refused while the log is dirty', async () => {
    const image = join(quickFolder(), 'image')
    await makeXfs(image, 64, ['-m', 'reflink=0', '-l', 'size=4m'])
    await setLogFeatures(image, 2)
    await bring(image)
    await withImage(image, 'write', device => forge(device, 100, []))
    const before = digest(image)
    await expect(bring(image)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('log_incompat 0x2'),
    })
    expect(digest(image)).toBe(before)
  })

  test('a log on another device is refused', async () => {
    const folder = quickFolder()
    const [image, other] = [join(folder, 'image'), join(folder, 'log')]
    appendFileSync(other, Buffer.alloc(8 << 20))
    await makeXfs(image, 64, ['-m', 'reflink=0', '-l', `logdev=${other},size=4m`])
    const before = digest(image)
    await expect(bring(image)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('another device'),
    })
    expect(digest(image)).toBe(before)
  })

  async function setLogFeatures(image: string, features: number): Promise<void> {
    await withImage(image, 'write', async device => {
      const { sb_sectsize } = await readSuperblock(device)
      const sector = new Uint8Array(sb_sectsize)
      await device.read(0, sector)
      bigEndian(sector, 'superblock').setU32(220, features)
      storeChecksum(sector, 224)
      await device.write(0, sector)
    })
  }
})
