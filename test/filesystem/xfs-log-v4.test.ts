import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { findActiveLog } from '../../src/filesystem/xfs/log/find-tail.ts'
import { LogArea } from '../../src/filesystem/xfs/log/log-area.ts'
import { recoverLog } from '../../src/filesystem/xfs/log/recover.ts'
import { openXfs, readSuperblock } from '../../src/filesystem/xfs/open.ts'
import { haveTool, propertySettings, temporaryFolder } from '../support/native.ts'
import { ChangedDevice } from '../support/xfs-log.ts'
import { expectRepaired, logState } from '../support/xfs-oracles.ts'

const SECTOR = 512
const PIECE = 64 * 1024

/** What the kernel changed when it replayed the log, by byte offset; the log itself is left out. */
type Replayed = ReadonlyMap<number, Uint8Array>

/**
 * Filesystems of version 4 as Linux 6.1 left them when the machine was switched off, and as it replayed them: today's kernels
 * are mostly built without version 4. A fixture is gzip of: bytes of the volume (u64), numbers of sectors of both lists (u32
 * each), then both lists, a sector number (u32) and 512 bytes each; all big-endian. Sectors that are not in the first are zeros.
 */
function fixture(name: string): { volume: Uint8Array; replayed: Replayed } {
  const url = new URL(`../../native-fixtures/xfs/${name}.gz`, import.meta.url)
  const bytes = gunzipSync(readFileSync(url))
  const volume = new Uint8Array(Number(bytes.readBigUInt64BE(0)))
  const replayed = new Map<number, Uint8Array>()
  const [first, second] = [bytes.readUInt32BE(8), bytes.readUInt32BE(12)]
  for (let i = 0; i < first + second; i++) {
    const at = 16 + i * (4 + SECTOR)
    const offset = bytes.readUInt32BE(at) * SECTOR
    const content = bytes.subarray(at + 4, at + 4 + SECTOR)
    if (i < first) volume.set(content, offset)
    else replayed.set(offset, content)
  }
  return { volume, replayed }
}

async function piece(device: BlockDevice, offset: number): Promise<Buffer> {
  const bytes = Buffer.alloc(Math.min(PIECE, device.size - offset))
  await device.read(offset, bytes)
  // Quota inodes: Linux writes "none" as 0 when it first writes the superblock, mkfs.xfs as -1.
  if (offset === 0) bytes.fill(0, 160, 176)
  return bytes
}

describe.each(['v4-log-v1', 'v4-log-v2'])('%s', name => {
  const { volume, replayed } = fixture(name)
  const device = new MemoryDevice(volume)

  test('is replayed as Linux does', async () => {
    const recovery = await recoverLog(device, await readSuperblock(device))
    expect(recovery.dirty).toBe(true)
    expect(recovery.warnings).toEqual([])
    const theirs = new MemoryDevice(volume.slice())
    for (const [offset, content] of replayed) await theirs.write(offset, content)
    const differ: number[] = []
    for (let at = 0; at < device.size; at += PIECE)
      if (!(await piece(recovery.device, at)).equals(await piece(theirs, at))) differ.push(at)
    expect(differ).toEqual([])
    expect(replayed.size).toBeGreaterThan(30)
  })

  test.skipIf(!haveTool('xfs_repair'))('is brought home', async () => {
    const home = new MemoryDevice(volume.slice())
    const fs = await openXfs(home, { writable: true })
    expect(fs.warnings).toEqual([])
    await fs.sync()
    const image = join(temporaryFolder(), 'image')
    const bytes = new Uint8Array(home.size)
    await home.read(0, bytes)
    writeFileSync(image, bytes)
    expect((await logState(image)).state).toBe('CLEAN')
    await expectRepaired(image)
    const active = await findActiveLog(new LogArea(home, await readSuperblock(home)))
    expect(active).toMatchObject({ clean: true, torn: 0 })
  })

  test('damage gives a replay or a typed error', async () => {
    const sb = await readSuperblock(device)
    const log = new LogArea(device, sb)
    const { head, tail } = await findActiveLog(log)
    const unit = 2 ** sb.sb_agblklog
    const start =
      (Math.floor(sb.sb_logstart / unit) * sb.sb_agblocks + (sb.sb_logstart % unit)) * sb.sb_blocksize
    const place = fc.integer({ min: tail * SECTOR, max: (head + 2) * SECTOR })
    const value = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(place, value), { minLength: 1, maxLength: 6 }), async changes => {
        const changed = new ChangedDevice(device)
        for (const [at, byte] of changes) await changed.set(start + at, byte)
        const begun = performance.now()
        try {
          await recoverLog(changed, sb)
        } catch (error) {
          if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED')) throw error
        }
        expect(performance.now() - begun).toBeLessThan(5000)
      }),
      propertySettings(60),
    )
  }, 60_000)
})
