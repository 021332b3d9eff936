import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import type { Storage } from '../../src/device/storage.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { amendImage } from '../../src/image/amend.ts'
import { amendQcow2 } from '../../src/image/qcow2/amend.ts'
import { resizeQcow2 } from '../../src/image/qcow2/resize.ts'
import * as qcow2 from '../../src/image/qcow2/snapshots.ts'
import { resizeImage } from '../../src/image/resize.ts'
import { applySnapshot, createSnapshot, deleteSnapshot, listSnapshots } from '../../src/image/snapshots.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { everyPowerLoss, factsOf, fileOf, openOn } from '../support/power-loss.ts'
import { qemuCheck, qemuRaw } from '../support/qcow2.ts'

checkWrittenImages()

const CLEAN = { corruptions: 0, leaks: 0, errors: 0 }
const noneBeside = {
  openBacking: () => Promise.reject(new Error('not needed')),
  openDataFile: () => Promise.reject(new Error('none')),
}

async function io(path: string, ...commands: string[]): Promise<void> {
  await runOk('qemu-io', [...commands.flatMap(command => ['-c', command]), path])
}

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('changes of structure at the edges', () => {
  it('machine state is kept, restored and freed with its snapshot, and never becomes the disk', async () => {
    const path = writes(join(temporaryFolder(), 't.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', path, '100k'])
    // -b writes where a running machine's state goes: behind the disk.
    await io(path, 'write -P 1 0 100k', 'write -b -P 0x55 0 90k')
    await createSnapshot(path, { name: 'running' })
    // As a machine that was saved says it: 90 KiB of state after an hour, with extra data of a version to come.
    const bytes = readFileSync(path)
    const table = Number(bytes.readBigUInt64BE(64))
    bytes.writeBigUInt64BE(90n << 10n, table + 40)
    bytes.writeUInt32BE(90 << 10, table + 32)
    bytes.writeBigUInt64BE(3_600_000_000_000n, table + 24)
    const name = bytes.subarray(table + 64, table + 64 + 8).toString('latin1')
    bytes.writeUInt32BE(32, table + 36)
    bytes.write(`FUTURE!!${name}`, table + 64, 'latin1')
    writeFileSync(path, bytes)
    expect(await listSnapshots(path)).toMatchObject([
      { id: '1', name: 'running', vmStateSize: 90 << 10, vmClock: 3_600_000_000_000n },
    ])
    await createSnapshot(path, { name: 'later' })
    await io(path, 'write -b -P 0x66 0 90k', 'write -P 2 0 50k')
    await applySnapshot(path, 'running')
    await io(path, 'read -b -P 0x55 0 90k', 'read -P 1 0 100k')
    // Without the machine that it belongs to, it must not come to light when the disk grows over its place.
    await resizeImage(path, 1 << 20)
    await io(path, 'read -P 1 0 100k', 'read -P 0 100k 924k')
    expect(await qemuCheck(path)).toEqual(CLEAN)
    await deleteSnapshot(path, 'later')
    const after = readFileSync(path)
    const moved = Number(after.readBigUInt64BE(64))
    expect(after.subarray(moved + 64, moved + 72).toString('latin1')).toBe('FUTURE!!')
    await resizeImage(path, 64 << 10, { shrink: true })
    await runOk('qemu-img', ['snapshot', '-a', 'running', path])
    await io(path, 'read -b -P 0x55 0 90k', 'read -P 1 0 100k')
    await deleteSnapshot(path, 'running')
    expect(await qemuCheck(path)).toEqual(CLEAN)
  })

  it('a long backing name goes behind the first sector before the header names it', {
    timeout: 60_000,
  }, async () => {
    const folder = temporaryFolder()
    const path = writes(join(folder, 't.qcow2'), 'qcow2')
    const base = new Uint8Array(100 << 10).fill(9)
    writeFileSync(join(folder, 'base'), base)
    const long = `${'./'.repeat(300)}base`
    const make = (clusterSize: number): Promise<string> =>
      runOk('qemu-img', [
        ...['create', '-q', '-f', 'qcow2', '-o', `compat=0.10,cluster_size=${clusterSize}`],
        ...['-b', long, '-F', 'raw', path, '200k'],
      ])
    await make(4096)
    await io(path, 'write -P 1 0 30k')
    const files = { 't.qcow2': new Uint8Array(readFileSync(path)), base }
    const upgrade = async (medium: FaultMedium): Promise<void> =>
      amendQcow2(await fileOf(medium, 't.qcow2', 'write'), { version: 3 }, noneBeside)
    await everyPowerLoss(files, upgrade)
    await amendImage(path, { version: 3 })
    await io(path, 'read -P 1 0 30k', 'read -P 9 30k 70k')
    await amendImage(path, { version: 2 })
    await io(path, 'read -P 1 0 30k', 'read -P 9 30k 70k')
    expect(JSON.parse(await runOk('qemu-img', ['info', '--output=json', path]))).toMatchObject({
      'backing-filename': long,
      'backing-filename-format': 'raw',
      'format-specific': { data: { compat: '0.10' } },
    })
    await make(1024)
    const before = readFileSync(path)
    await expect(amendImage(path, { version: 3 })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('no room'),
    })
    expect(Buffer.compare(readFileSync(path), before)).toBe(0)
  })

  it('keeps header extensions that nobody knows', async () => {
    const path = writes(join(temporaryFolder(), 't.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', path, '1M'])
    const bytes = readFileSync(path)
    bytes.writeUInt32BE(0x1234_5678, 72)
    bytes.writeUInt32BE(5, 76)
    bytes.write('hello', 80, 'latin1')
    writeFileSync(path, bytes)
    await amendImage(path, { version: 3, refcountBits: 32 })
    expect(readFileSync(path).subarray(112, 125).toString('latin1')).toBe('\x12\x34\x56\x78\0\0\0\x05hello')
    await amendImage(path, { version: 2, refcountBits: 16 })
    expect(readFileSync(path).subarray(72, 85).toString('latin1')).toBe('\x12\x34\x56\x78\0\0\0\x05hello')
  })

  it('an image whose refcounts were never written out is counted anew', async () => {
    const path = writes(join(temporaryFolder(), 't.qcow2'), 'qcow2')
    await runOk('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      'lazy_refcounts=on,cluster_size=4k',
      path,
      '1M',
    ])
    await runOk('qemu-img', ['snapshot', '-c', 'empty', path])
    await io(path, 'write -P 1 0 300k', 'write -P 2 500k 20k')
    const bytes = readFileSync(path)
    bytes.writeBigUInt64BE(bytes.readBigUInt64BE(72) | 1n, 72)
    const blocks = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))))
    bytes.fill(0, blocks + 40, blocks + 4096)
    for (const act of [
      () => createSnapshot(path, { name: 'full' }),
      () => applySnapshot(path, 'empty'),
      () => deleteSnapshot(path, 'empty'),
      () => resizeImage(path, 4 << 20),
      () => amendImage(path, { lazyRefcounts: false }),
    ]) {
      writeFileSync(path, bytes)
      await act()
      expect(await qemuCheck(path)).toEqual(CLEAN)
    }
  })

  it('apply is refused where bitmaps would lie, and resizing too', async () => {
    const path = writes(join(temporaryFolder(), 't.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1M'])
    await runOk('qemu-img', ['bitmap', '--add', path, 'changes'])
    await createSnapshot(path, { name: 'kept' })
    for (const act of [() => applySnapshot(path, 'kept'), () => resizeImage(path, 2 << 20)])
      await expect(act()).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringContaining('"changes"'),
      })
    await deleteSnapshot(path, 'kept')
    expect(JSON.parse(await runOk('qemu-img', ['info', '--output=json', path]))).toMatchObject({
      'format-specific': { data: { bitmaps: [{ name: 'changes', flags: ['auto'] }] } },
    })
  })

  it('leaves the file as it was when somebody came to use it meanwhile', async () => {
    const path = join(temporaryFolder(), 't.qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', path, '100k'])
    await io(path, 'write -P 1 0 100k')
    await createSnapshot(path, { name: 'one' })
    const bytes = new Uint8Array(readFileSync(path))
    const opened = await openOn(new FaultMedium({ 't.qcow2': bytes }), false)
    const facts = await factsOf(opened)
    const beforeSwitch = (): Promise<never> => Promise.reject(new Error('in use'))
    for (const act of [
      (file: Storage) => qcow2.createSnapshot(file, { name: 'x' }, { beforeSwitch }),
      (file: Storage) => qcow2.applySnapshot(file, 'one', { beforeSwitch }),
      (file: Storage) => qcow2.deleteSnapshot(file, 'one', { beforeSwitch }),
      (file: Storage) => resizeQcow2(file, 2 << 20, { ...noneBeside, beforeSwitch }),
      (file: Storage) => amendQcow2(file, { refcountBits: 64 }, noneBeside, { beforeSwitch }),
    ]) {
      const medium = new FaultMedium({ 't.qcow2': bytes })
      await expect(act(await fileOf(medium, 't.qcow2', 'write'))).rejects.toThrow('in use')
      // Clusters that nothing refers to may differ.
      const after = await openOn(medium, true)
      expect(await after.check()).toMatchObject({ corruptions: 0, leaks: 0 })
      expect(await factsOf(after)).toBe(facts)
      await after.close()
      expect(medium.content('t.qcow2')?.length).toBe(bytes.length)
    }
  })

  it('an image with an external data file has no snapshots', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 't.qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', `data_file=${folder}/t.data`, path, '1M'])
    await expect(createSnapshot(path, { name: 'x' })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('external data file'),
    })
  })

  it('damaged images give a typed error or a valid image', { timeout: 60_000 }, async () => {
    const folder = temporaryFolder()
    const path = join(folder, 't.qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', path, '64k'])
    await io(path, 'write -P 1 0 20k')
    await runOk('qemu-img', ['snapshot', '-c', 'one', path])
    await io(path, 'write -P 2 5k 3k', 'write -z 10k 2k')
    await runOk('qemu-img', ['snapshot', '-c', 'two', path])
    const good = new Uint8Array(readFileSync(path))
    const table = new DataView(good.buffer).getUint32(68)
    const acts: ((medium: FaultMedium) => Promise<unknown>)[] = [
      async medium => qcow2.createSnapshot(await fileOf(medium, 't.qcow2', 'write'), { name: 'x' }),
      async medium => qcow2.applySnapshot(await fileOf(medium, 't.qcow2', 'write'), '1'),
      async medium => qcow2.deleteSnapshot(await fileOf(medium, 't.qcow2', 'write'), '2'),
      async medium => resizeQcow2(await fileOf(medium, 't.qcow2', 'write'), 90 << 10, noneBeside),
      async medium =>
        resizeQcow2(await fileOf(medium, 't.qcow2', 'write'), 30 << 10, { ...noneBeside, shrink: true }),
      async medium => amendQcow2(await fileOf(medium, 't.qcow2', 'write'), { version: 2 }, noneBeside),
    ]
    let done = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            at: fc.oneof(
              fc.nat(111),
              fc.nat(good.length - 1),
              fc.nat(150).map(within => table + within),
            ),
            value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x40, 0x80, 0xff)),
          }),
          { minLength: 1, maxLength: 4 },
        ),
        fc.nat(acts.length - 1),
        async (damage, which) => {
          const bytes = good.slice()
          for (const { at, value } of damage) bytes[at] = value
          const medium = new FaultMedium({ 't.qcow2': bytes })
          try {
            await acts[which]?.(medium)
          } catch (error) {
            if (!isDrydiskError(error)) throw error
            return
          }
          done++
          const after = await openOn(medium, true)
          expect(await after.check()).toMatchObject({ corruptions: 0 })
          await after.close()
        },
      ),
      propertySettings(300),
    )
    expect(done).toBeGreaterThan(20)
  })

  it('gives what qemu-img gives where the content of a snapshot is larger than the disk', async () => {
    const path = writes(join(temporaryFolder(), 't.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', path, '400k'])
    await io(path, 'write -P 1 0 400k')
    await createSnapshot(path, { name: 'large' })
    await resizeImage(path, 40 << 10, { shrink: true })
    await applySnapshot(path, 'large')
    await qemuRaw(path, `${path}.raw`)
    expect(Buffer.compare(readFileSync(`${path}.raw`), Buffer.alloc(400 << 10, 1))).toBe(0)
  })
})
