import { readdirSync } from 'node:fs'
import { expect, test, vi } from 'vitest'
import { TemporaryFolder } from '../../src/device/file-temporary.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { MemoryStorage } from '../../src/device/memory-storage.ts'
import { DrydiskError } from '../../src/errors.ts'
import { RawImage } from '../../src/image/raw.ts'
import { temporaryFolder } from '../support/native.ts'

test('a redo log in a temporary folder holds what is staged, and leaves nothing there', async () => {
  const folder = temporaryFolder()
  vi.stubEnv('TMPDIR', folder)
  try {
    const storage = new MemoryStorage(new Uint8Array(4 << 20))
    const image = await RawImage.open(storage, new TemporaryFolder(), 'image', 256 << 10)
    const model = new MemoryDevice(4 << 20)
    for (let at = 0; at < 4 << 20; at += 100_003) {
      const piece = new Uint8Array(Math.min(90_001, (4 << 20) - at)).fill(at % 251)
      await image.write(at, piece)
      await model.write(at, piece)
    }
    expect(readdirSync(folder)).toEqual([])
    await image.commit()
    const all = new Uint8Array(4 << 20)
    await storage.read(0, all)
    expect(Buffer.compare(all, model.toBytes())).toBe(0)
    await image.write(5, Uint8Array.of(1))
    await image.rollback()
    await image.close()
    expect(readdirSync(folder)).toEqual([])
  } finally {
    vi.unstubAllEnvs()
  }
})

test('a commit that fails midway says that nothing but this process has the rest', async () => {
  const storage = new MemoryStorage(new Uint8Array(1 << 20))
  const image = await RawImage.open(storage, new TemporaryFolder(), 'image')
  await image.write(0, new Uint8Array(300_000).fill(7))
  const write = storage.write.bind(storage)
  storage.write = () => Promise.reject(new DrydiskError('EIO', 'the line is cut'))
  await expect(image.commit()).rejects.toThrow(/a part of the commit.*Commit again/)
  storage.write = write
  await image.commit()
  const all = new Uint8Array(300_000)
  await storage.read(0, all)
  expect(all.every(byte => byte === 7)).toBe(true)
  await image.close()
})
