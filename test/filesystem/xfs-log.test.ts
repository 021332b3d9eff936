import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  DIRTY_XFS_VARIANTS,
  haveXfsMounts,
  makeDirtyXfs,
  makeXfs,
  mountedXfs,
  quickFolder,
  replayedByKernel,
} from '../../native-fixtures/xfs-logs.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { findActiveLog } from '../../src/filesystem/xfs/log/find-tail.ts'
import { LogArea } from '../../src/filesystem/xfs/log/log-area.ts'
import { recoverLog } from '../../src/filesystem/xfs/log/recover.ts'
import { readSuperblock } from '../../src/filesystem/xfs/open.ts'
import type { Superblock } from '../../src/filesystem/xfs/superblock.ts'
import { haveTool, propertySettings, runOk, temporaryFolder } from '../support/native.ts'
import { appendTransaction, ChangedDevice, region, signRecord } from '../support/xfs-log.ts'

async function opened(path: string): Promise<BlockDevice> {
  return new StorageDevice(await FileStorage.open(path, 'read'))
}

function logBytes(sb: Superblock): { start: number; end: number } {
  const unit = 2 ** sb.sb_agblklog
  const block = Math.floor(sb.sb_logstart / unit) * sb.sb_agblocks + (sb.sb_logstart % unit)
  const start = block * sb.sb_blocksize
  return { start, end: start + sb.sb_logblocks * sb.sb_blocksize }
}

/**
 * Byte offsets of the sectors that differ between a recovered volume and what the kernel made of it. Not compared: the log,
 * which the kernel goes on with, and of the superblock its sequence number and checksum: the kernel writes it at unmount.
 */
async function differences(image: string, kernel: string): Promise<{ differ: number[]; changed: number }> {
  const device = await opened(image)
  const sb = await readSuperblock(device)
  const log = logBytes(sb)
  const recovered = (await recoverLog(device, sb)).device
  const [ours, before, theirs] = [new Uint8Array(1 << 20), new Uint8Array(1 << 20), new Uint8Array(1 << 20)]
  const fds = [openSync(image, 'r'), openSync(kernel, 'r')] as const
  const differ: number[] = []
  let changed = 0
  try {
    for (let at = 0; at < device.size; at += ours.length) {
      await recovered.read(at, ours)
      readSync(fds[0], before, 0, before.length, at)
      readSync(fds[1], theirs, 0, theirs.length, at)
      if (at === 0)
        for (const bytes of [ours, theirs]) {
          bytes.fill(0, 224, 228)
          bytes.fill(0, 240, 248)
        }
      if (Buffer.compare(ours, theirs) === 0 && Buffer.compare(ours, before) === 0) continue
      for (let i = 0; i < ours.length; i += 512) {
        const where = at + i
        if (where >= log.start && where < log.end) continue
        const sector = ours.subarray(i, i + 512)
        if (Buffer.compare(sector, before.subarray(i, i + 512)) !== 0) changed++
        if (Buffer.compare(sector, theirs.subarray(i, i + 512)) !== 0) differ.push(where)
      }
    }
  } finally {
    for (const fd of fds) closeSync(fd)
    await recovered.close()
  }
  return { differ, changed }
}

/** Changes the log of an image at a distance in front of its head. */
async function damage(image: string, sectors: number, change: (sector: Uint8Array) => void): Promise<void> {
  const device = await opened(image)
  const sb = await readSuperblock(device)
  const log = new LogArea(device, sb)
  const { head } = await findActiveLog(log)
  await device.close()
  const fd = openSync(image, 'r+')
  for (let i = 1; i <= sectors; i++) {
    const at = logBytes(sb).start + ((head - i + log.blocks) % log.blocks) * 512
    const sector = new Uint8Array(512)
    readSync(fd, sector, 0, 512, at)
    change(sector)
    writeSync(fd, sector, 0, 512, at)
  }
  closeSync(fd)
}

describe.skipIf(!haveXfsMounts())('the log of XFS against the kernel', () => {
  test.each(DIRTY_XFS_VARIANTS)(
    '$name',
    async variant => {
      const image = join(quickFolder(), 'image')
      await makeDirtyXfs(image, variant, 7)
      const kernel = await replayedByKernel(image)
      if (kernel === undefined) throw new Error('the kernel does not mount what it left')
      const { differ, changed } = await differences(image, kernel)
      expect(differ).toEqual([])
      expect(changed).toBeGreaterThan(50)
    },
    60_000,
  )

  test('a clean log leaves the device as it is', async () => {
    const image = join(quickFolder(), 'image')
    await makeXfs(image, 200, ['-l', 'size=12m'])
    for (const mounts of [0, 1]) {
      if (mounts > 0) await mountedXfs(image, async () => {})
      const device = await opened(image)
      const recovery = await recoverLog(device, await readSuperblock(device))
      expect(recovery.dirty).toBe(false)
      expect(recovery.device).toBe(device)
      expect(recovery.warnings).toEqual([])
      await device.close()
    }
  })

  test('records that were being written when the machine stopped', async () => {
    const original = join(quickFolder(), 'image')
    const variant = { name: 'torn', mkfs: ['-l', 'size=12m'], operations: 1200, kind: 'keep' } as const
    await makeDirtyXfs(original, variant, 11)
    const image = `${original}.torn`
    for (const { sectors, change } of [
      { sectors: 3, change: (sector: Uint8Array) => sector.fill(0) },
      { sectors: 150, change: (sector: Uint8Array) => sector.fill(0) },
      { sectors: 1, change: (sector: Uint8Array) => sector.fill(0x5a, 100, 101) },
      { sectors: 20, change: (sector: Uint8Array) => sector.fill(0x5a, 100, 101) },
    ]) {
      await runOk('cp', ['--sparse=always', original, image])
      await damage(image, sectors, change)
      const kernel = await replayedByKernel(image)
      if (kernel === undefined) {
        await expect(differences(image, image)).rejects.toThrow(/XFS log/)
        continue
      }
      expect((await differences(image, kernel)).differ).toEqual([])
      rmSync(kernel)
    }
  }, 60_000)

  describe('damaged logs', () => {
    let device: BlockDevice
    let sb: Superblock
    let records: number[]

    beforeAll(async () => {
      const image = join(temporaryFolder(), 'image')
      const variant = { name: 'damaged', mkfs: ['-l', 'size=12m'], operations: 250, kind: 'unlink' } as const
      await makeDirtyXfs(image, variant, 3)
      device = await opened(image)
      sb = await readSuperblock(device)
      const log = new LogArea(device, sb)
      const { head, tail } = await findActiveLog(log)
      records = []
      for (let at = tail; at !== head; ) {
        records.push(at)
        at = (await log.record(at)).end % log.blocks
      }
    }, 30_000)
    afterAll(() => device.close())

    const CHANGES = fc.array(
      fc.record({
        record: fc.nat(),
        // Headers and the first items more than the rest.
        place: fc.oneof(fc.integer({ min: 0, max: 330 }), fc.integer({ min: 512, max: 900 }), fc.nat()),
        value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
      }),
      { minLength: 1, maxLength: 3 },
    )

    test.each([true, false])(
      'bytes changed, checksums right again: %s',
      async signed => {
        await fc.assert(
          fc.asyncProperty(CHANGES, async changes => {
            const changed = new ChangedDevice(device)
            const start = logBytes(sb).start
            for (const { record, place, value } of changes) {
              const block = records[record % records.length] ?? 0
              const { header } = await new LogArea(device, sb).record(block)
              const length = header.headerBlocks * 512 + header.len
              await changed.set(start + block * 512 + (place % length), value)
              if (signed) await signRecord(changed, start + block * 512, header)
            }
            const begun = performance.now()
            try {
              const recovery = await recoverLog(changed, sb)
              if (recovery.dirty) expect(recovery.device.size).toBe(device.size)
            } catch (error) {
              if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED')) throw error
            }
            expect(performance.now() - begun).toBeLessThan(5000)
          }),
          propertySettings(20),
        )
      },
      60_000,
    )

    /** The log with one more transaction of one item. */
    async function withItem(item: Uint8Array): Promise<ChangedDevice> {
      const changed = new ChangedDevice(device)
      const log = new LogArea(device, sb)
      const { head } = await findActiveLog(log)
      const { header } = await log.record(records.at(-1) ?? 0)
      await appendTransaction(changed, logBytes(sb).start, header, head, 0x77, [item])
      return changed
    }
    const intent = (type: number) =>
      region([
        { size: 2, value: type },
        { size: 2, value: 1 },
        { size: 4, value: 1 },
        { size: 8, value: 0x1234n },
        { size: 8, value: 0x7fff_ffff },
        { size: 8, value: 2 },
      ])

    test('an extent that cannot be freed is told of, and files are read', async () => {
      const before = await recoverLog(device, sb)
      const after = await recoverLog(await withItem(intent(0x1236)), sb)
      expect(before.finished).toBe(0)
      expect(after.transactions).toBe(before.transactions + 1)
      expect(after.warnings).toEqual([
        expect.stringMatching(
          /free space is not exact: transaction 0x77 .*left extents to be freed \(EFI 0x1234\)/,
        ),
      ])
    })

    test.each([
      [
        'a mapping that was to be changed',
        0x1244,
        'ERR_CORRUPT',
        /transaction 0x77 .*left file mappings.*BUI 0x1234/,
      ],
      ['an item that is not known', 0x1333, 'ERR_UNSUPPORTED', /type 0x1333 is not known.*transaction 0x77/],
    ])('%s is refused with its transaction', async (_, type, code, message) => {
      await expect(recoverLog(await withItem(intent(type)), sb)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      })
    })

    test('a change in the middle names the record', async () => {
      const changed = new ChangedDevice(device)
      await changed.set(logBytes(sb).start + (records[1] ?? 0) * 512 + 700, 0xee)
      if (records.length > 12)
        await expect(recoverLog(changed, sb)).rejects.toMatchObject({
          code: 'ERR_CORRUPT',
          message: expect.stringContaining(`basic block ${records[1]}`),
        })
    })
  })
})

describe.skipIf(!haveTool('mkfs.xfs'))('logs that are not replayed', () => {
  test('one on another device', async () => {
    const image = join(quickFolder(), 'image')
    await makeXfs(image, 64, [])
    const device = await opened(image)
    const superblock = { ...(await readSuperblock(device)), sb_logstart: 0 }
    await expect(recoverLog(device, superblock)).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
    await device.close()
  })
})
