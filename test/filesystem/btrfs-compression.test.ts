import { deflateSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import { decompressExtent } from '../../src/filesystem/btrfs/decompress.ts'
import { decompressLzo } from '../../src/filesystem/btrfs/lzo.ts'
import { decompressLzo1x } from '../../src/filesystem/btrfs/lzo1x.ts'
import { loadCompressor, loadDecompressor } from '../../src/image/compression/codec.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { propertySettings } from '../support/native.ts'

const b = (text: string) => new TextEncoder().encode(text)
/** A match at a distance of 16384 ends a stream. */
const END = [17, 0, 0]

function lzo(...stream: number[]): string {
  const into = new Uint8Array(100_000)
  return Buffer.from(into.subarray(0, decompressLzo1x(Uint8Array.from(stream), into))).toString('latin1')
}

describe('LZO1X, instruction by instruction (Documentation/staging/lzo.rst)', () => {
  test('literals', () => {
    expect(lzo(...END)).toBe('')
    expect(lzo(17 + 5, ...b('hello'), ...END)).toBe('hello')
    expect(lzo(2, ...b('abcde'), ...END)).toBe('abcde')
    const long = Array.from(pattern(700))
    // 3 + 15 + 2 * 255 + 172
    expect(lzo(0, 0, 0, 172, ...long, ...END)).toBe(Buffer.from(long).toString('latin1'))
  })

  test('matches near and far, overlapping, with literals after them', () => {
    // 64 and more: 3 + bit, distance 1 + 3 bits + byte * 8; the last two bits say how many literals follow.
    expect(lzo(17 + 4, ...b('abcd'), 64 | (3 << 2) | 2, 0, ...b('xy'), ...END)).toBe('abcdabcxy')
    expect(lzo(17 + 4, ...b('abcd'), 64 | (1 << 5), 0, ...END)).toBe('abcddddd')
    expect(lzo(17 + 4, ...b('abcd'), 128 | (2 << 5) | (3 << 2), 0, ...END)).toBe('abcdabcdabc')
    // 32 to 63: a length of 2 + 5 bits, or 33 + bytes; distance 1 + 14 bits.
    expect(lzo(17 + 4, ...b('abcd'), 32 | 4, 3 << 2, 0, ...END)).toBe('abcdabcdab')
    expect(lzo(17 + 4, ...b('abcd'), 32, 0, 1, 0, 0, ...END)).toBe(`abcd${'d'.repeat(2 + 31 + 255 + 1)}`)
    // Below 16 after one to three literals: two bytes; after a run: three from 2049 on.
    expect(lzo(17 + 2, ...b('ab'), 1 << 2, 0, ...END)).toBe('abab')
    const run = Array.from(pattern(2100))
    const head = run.slice(0, 2100)
    const code = [0, ...new Array(8).fill(0), 2100 - 18 - 8 * 255]
    expect(lzo(...code, ...head, 0, 0, ...END).slice(2100)).toBe(
      Buffer.from(run.slice(2100 - 2049, 2100 - 2049 + 3)).toString('latin1'),
    )
    // 16 to 31: from 16384 on.
    const far = Array.from(pattern(17_000))
    const count = 17_000 - 18
    const zeros = Math.floor((count - 1) / 255)
    expect(
      lzo(0, ...new Array(zeros).fill(0), count - zeros * 255, ...far, 16 | 2, 4 << 2, 0, ...END).slice(
        17_000,
      ),
    ).toBe(Buffer.from(far.slice(17_000 - 16_388, 17_000 - 16_388 + 4)).toString('latin1'))
  })

  test('anything at all: bytes or ERR_CORRUPT', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(5000), fc.boolean(), (from, size, raw) => {
        const into = new Uint8Array(size)
        try {
          const count = raw ? decompressLzo1x(from, into) : decompressLzo(from, into, 4096)
          expect(count).toBeLessThanOrEqual(size)
        } catch (error) {
          if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
        }
      }),
      propertySettings(3000),
    )
  })
})

describe('streams that end before their extent does', () => {
  test('zlib and zstd, by Node or without', async () => {
    const content = pattern(5000)
    const padded = (bytes: Uint8Array) => Buffer.concat([bytes, new Uint8Array(700)])
    const zstd = (await loadCompressor('zstd'))(new Uint8Array(5000).fill(7))
    if (zstd === undefined) throw new Error('not compressed')
    for (const portable of [false, true]) {
      const inflate = await loadDecompressor('zlib', portable, 'part')
      expect(Buffer.compare(inflate(padded(deflateSync(content).subarray(2)), 8192), content)).toBe(0)
      expect(() => inflate(padded(deflateSync(content).subarray(2)), 4096)).toThrow(/cluster/)
      expect(() => inflate(pattern(100), 4096)).toThrow(/cluster/)
      const unpack = await loadDecompressor('zstd', portable, 'part')
      expect(unpack(padded(zstd), 8192)).toEqual(new Uint8Array(5000).fill(7))
      expect(() => unpack(padded(zstd), 4096)).toThrow(/cluster/)
      expect(() => unpack(pattern(100), 4096)).toThrow(/cluster/)
    }
    const whole = await decompressExtent('zlib', padded(deflateSync(content)), 8192, 4096)
    expect(Buffer.compare(whole.subarray(0, 5000), content)).toBe(0)
    expect(whole.subarray(5000)).toEqual(new Uint8Array(3192))
    for (const compression of ['zlib', 'lzo', 'zstd'] as const)
      await expect(decompressExtent(compression, pattern(300, 3), 8192, 4096)).rejects.toMatchObject({
        code: 'ERR_CORRUPT',
        message: expect.stringContaining('btrfs'),
      })
  })
})
