import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BlobStorage } from '../../src/device/blob-storage.ts'
import { MemoryStorage } from '../../src/device/memory-storage.ts'
import { PatchedStorage } from '../../src/device/patched-storage.ts'
import type { Storage } from '../../src/device/storage.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { propertySettings } from '../support/native.ts'

const SIZE = 300_000

async function whole(storage: Storage): Promise<Uint8Array> {
  const bytes = new Uint8Array(storage.size)
  await storage.read(0, bytes)
  return bytes
}

describe('a storage whose changes stay in memory', () => {
  const change = fc.oneof(
    fc.record({ at: fc.nat(SIZE + 50_000), length: fc.integer({ min: 1, max: 90_000 }), seed: fc.nat(99) }),
    fc.record({ size: fc.nat(SIZE + 60_000) }),
  )

  test('reads as a storage that was written, and its pieces put that together', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 12 }), async changes => {
        const original = pattern(SIZE, 3)
        const below = new BlobStorage(new Blob([original.slice()]), 'original')
        const [patched, model] = [new PatchedStorage(below), new MemoryStorage(original)]
        for (const one of changes)
          for (const storage of [patched, model])
            await ('size' in one
              ? storage.truncate(one.size)
              : storage.write(one.at, pattern(one.length, one.seed)))
        const expected = await whole(model)
        expect(Buffer.compare(await whole(patched), expected)).toBe(0)
        const parts: Uint8Array[] = []
        for (const piece of patched.pieces()) {
          expect(piece.offset).toBe(parts.reduce((sum, { length }) => sum + length, 0))
          parts.push(
            piece.from === 'memory'
              ? piece.bytes
              : original.subarray(piece.offset, piece.offset + piece.length),
          )
        }
        expect(Buffer.compare(Buffer.concat(parts), expected)).toBe(0)
        expect(Buffer.compare(await whole(below), original)).toBe(0)
      }),
      propertySettings(60),
    )
  })

  test('a blob itself is only read', async () => {
    const blob = new BlobStorage(new Blob(['abc']))
    await expect(blob.write()).rejects.toMatchObject({ code: 'EROFS' })
    await expect(blob.read(2, new Uint8Array(2))).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
  })
})
