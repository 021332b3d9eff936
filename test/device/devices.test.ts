import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ConcatDevice } from '../../src/device/concat-device.ts'
import { FileFolder } from '../../src/device/file-folder.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { MemoryFolder } from '../../src/device/memory-folder.ts'
import { MemoryStorage } from '../../src/device/memory-storage.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { SliceDevice } from '../../src/device/slice-device.ts'
import type { StorageFolder } from '../../src/device/storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { blockDeviceContract } from '../support/block-device-contract.ts'
import { temporaryFolder } from '../support/native.ts'

function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >> 8)) & 0xff
  bytes.fill(0, 100_000, Math.min(length, 250_000))
  return bytes
}

blockDeviceContract('MemoryDevice', async () => {
  const content = pattern(400_001)
  return { device: new MemoryDevice(content), content }
})

blockDeviceContract('a read-only MemoryDevice', async () => {
  const content = pattern(100_001)
  return { device: new MemoryDevice(content, { writable: false }), content }
})

blockDeviceContract('SliceDevice', async () => {
  const content = pattern(900_000)
  return {
    device: new SliceDevice(new MemoryDevice(content), 1234, 500_001),
    content: content.slice(1234, 501_235),
  }
})

blockDeviceContract('ConcatDevice', async () => {
  const content = pattern(300_000)
  const parts = [content.subarray(0, 100_001), content.subarray(100_001, 150_000), content.subarray(150_000)]
  const joined = new Uint8Array(100_352 + 50_176 + 150_000)
  for (const [index, start] of [0, 100_352, 150_528].entries()) joined.set(parts[index] ?? [], start)
  return {
    device: new ConcatDevice(parts.map(part => new MemoryDevice(part.slice(), { writable: false }))),
    content: joined,
  }
})

blockDeviceContract('StorageDevice over memory', async () => {
  const content = pattern(400_001)
  return { device: new StorageDevice(new MemoryStorage(content)), content }
})

blockDeviceContract('StorageDevice longer than its storage', async () => {
  const content = new Uint8Array(400_001)
  content.set(pattern(200_000))
  return { device: new StorageDevice(new MemoryStorage(pattern(200_000)), content.length), content }
})

blockDeviceContract(
  'StorageDevice over a file',
  async () => {
    const path = join(temporaryFolder(), 'disk')
    const content = pattern(400_001)
    writeFileSync(path, content)
    return { device: new StorageDevice(await FileStorage.open(path, 'write')), content }
  },
  8,
)

blockDeviceContract('OverlayDevice in memory', async () => {
  const content = pattern(700_001)
  return { device: new OverlayDevice(new MemoryDevice(content, { writable: false })), content }
})

blockDeviceContract('OverlayDevice that spills every page', async () => {
  const content = pattern(700_001)
  return {
    device: new OverlayDevice(new MemoryDevice(content, { writable: false }), {
      budget: 1,
      spill: async () => new MemoryStorage(),
    }),
    content,
  }
})

test('an OverlayDevice never writes to its base, and rollback shows the base again', async () => {
  const content = pattern(300_000)
  const base = new MemoryDevice(content, { writable: false })
  const overlay = new OverlayDevice(base, { budget: 1, spill: async () => new MemoryStorage() })
  expect(overlay.dirty).toBe(false)
  await overlay.write(5, new Uint8Array(200_000).fill(1))
  await overlay.erase(210_000, 80_000)
  expect(overlay.dirty).toBe(true)
  await overlay.rollback()
  expect(overlay.dirty).toBe(false)
  const bytes = new Uint8Array(300_000)
  await overlay.read(0, bytes)
  expect(bytes).toEqual(content)
  await overlay.write(0, new Uint8Array([1, 2]))
  await overlay.close()
})

test('an OverlayDevice writes what is staged to its base, and nothing else', async () => {
  const content = pattern(300_000)
  const places: string[] = []
  class Watched extends MemoryDevice {
    override async write(offset: number, from: Uint8Array): Promise<void> {
      places.push(`${offset}+${from.length}`)
      await super.write(offset, from)
    }
    override async erase(offset: number, length: number): Promise<void> {
      places.push(`${offset}+${length}`)
      await super.erase(offset, length)
    }
  }
  const base = new Watched(content.slice())
  const overlay = new OverlayDevice(base, { budget: 1, spill: async () => new MemoryStorage() })
  await overlay.write(4096, new Uint8Array(4096).fill(7))
  await overlay.write(200_000, new Uint8Array(100).fill(8))
  await overlay.erase(65_536, 8192)
  await overlay.writeBack()
  const expected = content.slice()
  expected.fill(7, 4096, 8192).fill(8, 200_000, 200_100).fill(0, 65_536, 73_728)
  const [below, above] = [new Uint8Array(base.size), new Uint8Array(base.size)]
  await base.read(0, below)
  await overlay.read(0, above)
  expect(Buffer.compare(below, expected)).toBe(0)
  expect(Buffer.compare(above, expected)).toBe(0)
  expect(places).toEqual(['4096+4096', '65536+8192', '196608+4096'])
})

test('an OverlayDevice keeps memory bounded by its budget', async () => {
  const spill = new MemoryStorage()
  const overlay = new OverlayDevice(new MemoryDevice(64 << 20), { budget: 1 << 20, spill: async () => spill })
  await overlay.write(0, new Uint8Array(16 << 20).fill(3))
  expect(spill.size).toBeGreaterThan(12 << 20)
  // An erased range costs nothing, however long.
  await overlay.erase(0, 64 << 20)
  expect(spill.size).toBeLessThan(18 << 20)
})

const folders: readonly (readonly [string, () => StorageFolder])[] = [
  ['MemoryFolder', () => new MemoryFolder()],
  ['FileFolder', () => new FileFolder(temporaryFolder())],
]

test.each(folders)('%s: create, open, remove', async (_name, make) => {
  const folder = make()
  expect(await folder.open('a', 'read')).toBeUndefined()
  const a = await folder.create('a')
  await a.write(3, new Uint8Array([7]))
  expect(a.size).toBe(4)
  await a.flush()
  await a.close()
  await expect(folder.create('a')).rejects.toSatisfy(e => isDrydiskError(e, 'EEXIST'))
  const again = await folder.open('a', 'read')
  const bytes = new Uint8Array(4)
  await again?.read(0, bytes)
  expect([...bytes]).toEqual([0, 0, 0, 7])
  await expect(again?.read(3, new Uint8Array(2))).rejects.toSatisfy(e => isDrydiskError(e, 'ERR_CORRUPT'))
  await expect(again?.write(0, bytes)).rejects.toSatisfy(e => isDrydiskError(e, 'EROFS'))
  await expect(again?.truncate(0)).rejects.toSatisfy(e => isDrydiskError(e, 'EROFS'))
  await again?.close()
  const writer = await folder.open('a', 'write')
  await writer?.truncate(1)
  await writer?.truncate(5)
  const grown = new Uint8Array(5).fill(1)
  await writer?.read(0, grown)
  expect([...grown]).toEqual([0, 0, 0, 0, 0])
  await writer?.close()
  await folder.remove('a')
  await folder.remove('a')
  await folder.flush()
  expect(await folder.open('a', 'read')).toBeUndefined()
  for (const name of ['', '.', '..', 'a/b', '../a', 'a\0'])
    await expect(folder.open(name, 'read')).rejects.toSatisfy(e => isDrydiskError(e, 'ERR_INVALID_ARGUMENT'))
})
