import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NodeHoleFinder } from '../../src/copy/node-hole-finder.ts'
import type { SourcePiece } from '../../src/copy/source-pieces.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { propertySettings, temporaryFolder } from '../support/native.ts'

const MIB = 1 << 20

/** Makes a file with holes: what is written where, in bytes. */
function sparseFile(path: string, size: number, written: readonly { at: number; bytes: Uint8Array }[]): void {
  const fd = openSync(path, 'w')
  ftruncateSync(fd, size)
  for (const { at, bytes } of written) writeSync(fd, bytes, 0, bytes.length, at)
  closeSync(fd)
}

async function partsOf(path: string, host: number, length: number): Promise<SourcePiece[] | undefined> {
  const storage = await FileStorage.open(path, 'read')
  // A clock that stands still: on a busy machine it would not pay, and nothing would be looked for.
  const finder = await NodeHoleFinder.open([storage], () => 0)
  try {
    if (finder === undefined) return undefined
    const parts: SourcePiece[] = []
    const piece = { kind: 'data', offset: 7 * MIB, length, depth: 0, leave: false, storage, host } as const
    for await (const part of finder.parts(piece)) parts.push(part)
    return parts
  } finally {
    await finder?.close()
    await storage.close()
  }
}

describe.skipIf(process.platform !== 'linux')('holes of a file', () => {
  it('are zeros and nothing else, and the rest stays data of the same place', async () => {
    const path = join(temporaryFolder(), 'sparse')
    const size = 12 * MIB + 777
    const write = fc.record({
      at: fc.integer({ min: 0, max: size - 300_000 }),
      bytes: fc
        .record({ length: fc.integer({ min: 1, max: 300_000 }), fill: fc.constantFrom(0, 1, 255) })
        .map(({ length, fill }) => new Uint8Array(length).fill(fill)),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(write, { maxLength: 6 }),
        fc.integer({ min: 0, max: 3 * MIB }),
        async (written, host) => {
          sparseFile(path, size, written)
          const parts = await partsOf(path, host, size - host)
          if (parts === undefined) return
          const content = readFileSync(path)
          let at = 7 * MIB
          for (const part of parts) {
            expect(part.offset).toBe(at)
            expect(part.length).toBeGreaterThan(0)
            const place = host + part.offset - 7 * MIB
            if (part.kind === 'data') expect(part.host).toBe(place)
            else
              expect(content.subarray(place, place + part.length).equals(Buffer.alloc(part.length))).toBe(
                true,
              )
            at += part.length
          }
          expect(at).toBe(7 * MIB + size - host)
          rmSync(path)
        },
      ),
      propertySettings(40),
    )
  })

  it('are found where they are long', async () => {
    const path = join(temporaryFolder(), 'sparse')
    sparseFile(path, 64 * MIB, [
      { at: 0, bytes: new Uint8Array(3 * MIB).fill(1) },
      { at: 40 * MIB, bytes: new Uint8Array(MIB).fill(2) },
    ])
    const parts = await partsOf(path, 0, 64 * MIB)
    // A filesystem without direct input has no finder.
    if (parts === undefined) return
    const holes = parts.filter(part => part.kind === 'zero').map(({ offset, length }) => [offset, length])
    expect(holes).toEqual([
      [10 * MIB, 37 * MIB],
      [48 * MIB, 23 * MIB],
    ])
  })

  it('are not looked for in a file without any', async () => {
    const path = join(temporaryFolder(), 'full')
    sparseFile(path, 4 * MIB, [{ at: 0, bytes: new Uint8Array(4 * MIB).fill(1) }])
    expect(await partsOf(path, 0, 4 * MIB)).toBeUndefined()
  })
})
