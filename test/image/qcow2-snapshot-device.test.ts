import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { snapshotDevice } from '../../src/image/qcow2/snapshot-device.ts'
import { haveTool, propertySettings, runOk, temporaryFolder } from '../support/native.ts'
import { openFile, qemuRaw, readAll } from '../support/qcow2.ts'

describe.skipIf(!haveTool('qemu-img'))('a snapshot as a device', () => {
  it('reads what qemu-img converts with -l, whatever was written since', { timeout: 60_000 }, async () => {
    const operation = fc.record({
      snapshot: fc.boolean(),
      fill: fc.integer({ min: 1, max: 255 }),
      at: fc.integer({ min: 0, max: 31 }),
      length: fc.integer({ min: 1, max: 8 }),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(operation, { minLength: 3, maxLength: 8 }),
        fc.constantFrom(
          'cluster_size=64k',
          'cluster_size=4k',
          'extended_l2=on',
          'compat=0.10',
          'refcount_bits=64',
        ),
        async (operations, option) => {
          const folder = temporaryFolder()
          const path = join(folder, 'disk.qcow2')
          await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', option, path, '1M'])
          let count = 0
          for (const { snapshot, fill, at, length } of operations) {
            const bytes = Math.min(length, 32 - at) * 32768
            await runOk('qemu-io', ['-f', 'qcow2', '-c', `write -P ${fill} ${at * 32768} ${bytes}`, path])
            if (snapshot) await runOk('qemu-img', ['snapshot', '-c', `state ${++count}`, path])
          }
          const image = await openFile(path, false)
          for (const { id, name } of image.snapshots) {
            const raw = join(folder, 'expected.raw')
            await qemuRaw(path, raw, name)
            const device = await snapshotDevice(image, id)
            expect(Buffer.compare(await readAll(device), readFileSync(raw))).toBe(0)
            await device.close()
            expect((await snapshotDevice(image, name)).writable).toBe(false)
          }
          await image.close()
        },
      ),
      propertySettings(6),
    )
  })

  it('has the size of the disk at that time, and the content of the backing file', async () => {
    const folder = temporaryFolder()
    const [base, path] = [join(folder, 'base.raw'), join(folder, 'disk.qcow2')]
    await runOk('qemu-img', ['create', '-q', '-f', 'raw', base, '1M'])
    await runOk('qemu-io', ['-f', 'raw', '-c', 'write -P 7 0 1M', base])
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', path])
    await runOk('qemu-io', ['-f', 'qcow2', '-c', 'write -P 9 64k 64k', path])
    await runOk('qemu-img', ['snapshot', '-c', 'small', path])
    await runOk('qemu-img', ['resize', '-q', '-f', 'qcow2', path, '3M'])
    await runOk('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 3M', path])
    const image = await openFile(path, false)
    const device = await snapshotDevice(image, 'small')
    expect(device.size).toBe(1 << 20)
    const bytes = await readAll(device)
    expect([bytes[0], bytes[65536], bytes[131072], bytes[(1 << 20) - 1]]).toEqual([7, 9, 7, 7])
    await device.close()
    expect((await readAll(image))[0]).toBe(1)
    await image.close()
  })

  it('is found by identifier first, then by name, or by both', async () => {
    const path = join(temporaryFolder(), 'disk.qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1M'])
    // The second snapshot is called as the first is numbered.
    for (const [fill, name] of [
      [1, 'first'],
      [2, '1'],
    ] as const) {
      await runOk('qemu-io', ['-f', 'qcow2', '-c', `write -P ${fill} 0 64k`, path])
      await runOk('qemu-img', ['snapshot', '-c', name, path])
    }
    const image = await openFile(path, false)
    const fill = async (choice: Parameters<typeof snapshotDevice>[1]) =>
      (await readAll(await snapshotDevice(image, choice)))[0]
    expect(await fill('1')).toBe(1)
    expect(await fill('first')).toBe(1)
    expect(await fill({ name: '1' })).toBe(2)
    expect(await fill({ id: '2', name: '1' })).toBe(2)
    await expect(fill({ id: '1', name: '1' })).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(fill('third')).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining('1 ("first"), 2 ("1")'),
    })
    await image.close()
  })
})
