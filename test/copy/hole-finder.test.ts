import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { dataRanges } from '../../src/copy/node-data-ranges.ts'
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

/** What no machine has: the kernel is not asked, and holes are read. */
const NOBODY = '/nonexistent/perl'

async function partsOf(
  path: string,
  host: number,
  length: number,
  asking: { readonly seeker?: string; readonly longest?: number } = {},
): Promise<SourcePiece[] | undefined> {
  const storage = await FileStorage.open(path, 'read')
  // A clock that stands still: on a busy machine it would not pay, and nothing would be looked for.
  const finder = await NodeHoleFinder.open([storage], { ...asking, now: () => 0 })
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
        fc.constantFrom({}, { seeker: NOBODY }),
        async (written, host, asking) => {
          sparseFile(path, size, written)
          const parts = await partsOf(path, host, size - host, asking)
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
    const parts = await partsOf(path, 0, 64 * MIB, { seeker: NOBODY })
    // A filesystem without direct input has no finder.
    if (parts === undefined) return
    const holes = parts.filter(part => part.kind === 'zero').map(({ offset, length }) => [offset, length])
    expect(holes).toEqual([
      [10 * MIB, 37 * MIB],
      [48 * MIB, 23 * MIB],
    ])
  })

  it.skipIf(!existsSync('/usr/bin/perl'))(
    'are where the kernel says, what is not on the disk yet included',
    async () => {
      const path = join(temporaryFolder(), 'sparse')
      sparseFile(path, 64 * MIB, [
        { at: 0, bytes: new Uint8Array(3 * MIB).fill(1) },
        { at: 40 * MIB, bytes: new Uint8Array(MIB).fill(2) },
      ])
      const parts = await partsOf(path, MIB, 62 * MIB)

      expect(parts?.map(({ kind, offset, length }) => [kind, offset, length])).toEqual([
        ['data', 7 * MIB, 2 * MIB],
        ['zero', 9 * MIB, 37 * MIB],
        ['data', 46 * MIB, MIB],
        ['zero', 47 * MIB, 22 * MIB],
      ])
    },
  )

  it.each([
    ['prints nothing', 'exit 0'],
    ['fails after an answer', 'echo 0 4096; echo end; exit 1'],
    ['does not come to the end', 'echo 0 4096'],
    ['prints garbage', 'echo 0 4096 and more; echo end'],
    ['sees data behind the end of the file', 'echo 0 67108865; echo end'],
    ['goes back', 'echo 8192 12288; echo 0 4096; echo end'],
    ['goes nowhere', 'echo 4096 4096; echo end'],
    ['knows no holes', 'echo 0 67108864; echo end'],
    ['is killed', 'echo 0 4096; kill -9 $$'],
    ['never ends', 'echo 0 4096; echo end; exec sleep 60'],
    ['does not stop to talk', 'exec yes'],
  ])('are read where what asks the kernel %s', async (_, script) => {
    const folder = temporaryFolder()
    const path = join(folder, 'sparse')
    const seeker = join(folder, 'seeker')
    writeFileSync(seeker, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    sparseFile(path, 64 * MIB, [
      { at: 0, bytes: new Uint8Array(3 * MIB).fill(1) },
      { at: 40 * MIB, bytes: new Uint8Array(MIB).fill(2) },
    ])
    const read = await partsOf(path, 0, 64 * MIB, { seeker: NOBODY })
    expect(await partsOf(path, 0, 64 * MIB, { seeker, longest: 300 })).toEqual(read)
  })

  it('are asked for by nobody who was told to stop', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'sparse')
    const seeker = join(folder, 'seeker')
    writeFileSync(seeker, '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 })
    sparseFile(path, 64 * MIB, [{ at: 0, bytes: new Uint8Array(MIB).fill(1) }])
    const storage = await FileStorage.open(path, 'read')
    const stop = new AbortController()
    const asked = dataRanges(storage.fd, { seeker, longest: 60_000, signal: stop.signal })
    setTimeout(() => stop.abort(), 50)
    expect(await asked).toBeUndefined()
    expect(await dataRanges(storage.fd, { signal: stop.signal })).toBeUndefined()
    await storage.close()
  })

  it('are not looked for in a file without any', async () => {
    const path = join(temporaryFolder(), 'full')
    sparseFile(path, 4 * MIB, [{ at: 0, bytes: new Uint8Array(4 * MIB).fill(1) }])
    expect(await partsOf(path, 0, 4 * MIB)).toBeUndefined()
  })
})
