import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decompressLz4, unpackLz4Legacy } from '../../src/bytes/compression/lz4.ts'
import { DrydiskError } from '../../src/errors.ts'
import { haveTool, propertySettings } from '../support/native.ts'

const all = (packed: Uint8Array) => Buffer.concat([...unpackLz4Legacy(packed)])
const pack = (content: Uint8Array, level = '-1') =>
  Uint8Array.from(
    execFileSync('lz4', ['-l', level, '-c', '-'], { input: content, maxBuffer: 1 << 28, stdio: 'pipe' }),
  )

describe('LZ4', () => {
  it('refuses a block that is damaged', () => {
    for (const bytes of [[0xf0], [0x10], [0x10, 0x61, 0x05, 0x00], [0x1f, 0x61, 0x01, 0x00, 0xff]])
      expect(() => decompressLz4(new Uint8Array(bytes), new Uint8Array(100))).toThrow(/LZ4/)
    const into = new Uint8Array(9)
    expect(decompressLz4(new Uint8Array([0x14, 0x61, 0x01, 0x00, 0x00]), into)).toBe(9)
    expect(into).toEqual(new Uint8Array(9).fill(0x61))
  })

  it('refuses a legacy frame that is damaged', () => {
    for (const bytes of [
      [1, 2, 3, 4],
      [2, 0x21, 0x4c, 0x18, 9, 0, 0, 0],
      [2, 0x21, 0x4c, 0x18, 0xff, 0xff, 0xff, 0xff, 0],
    ])
      expect(() => all(new Uint8Array(bytes))).toThrow(/LZ4/)
    expect(all(new Uint8Array([2, 0x21, 0x4c, 0x18])).length).toBe(0)
  })

  it.skipIf(!haveTool('lz4'))('unpacks what lz4 -l packs: several blocks, frames, zeros behind', () => {
    const pattern = Uint8Array.from({ length: 20_000 }, (_, i) => (i * i) >> (i % 7))
    const large = new Uint8Array((17 << 20) + 5)
    for (let at = 0; at + pattern.length < large.length; at += pattern.length + (at % 977))
      large.set(pattern, at)
    const packed = pack(large)
    expect(Buffer.compare(all(packed), large)).toBe(0)
    const two = Buffer.concat([pack(pattern, '-9'), packed, new Uint8Array(64)])
    expect(Buffer.compare(all(two), Buffer.concat([pattern, large]))).toBe(0)
  })

  it.skipIf(!haveTool('lz4'))('of any damage is what it was or a typed error (property)', () => {
    const content = Uint8Array.from({ length: 5000 }, (_, i) => ((i * 7919) >> 5) & 63)
    const packed = pack(content)
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(packed.length - 1), fc.nat(255)), { minLength: 1 }), changes => {
        const damaged = packed.slice()
        for (const [at, value] of changes) damaged[at] = value
        try {
          expect(all(damaged).length).toBeLessThan(9 << 20)
        } catch (error) {
          if (!(error instanceof DrydiskError)) throw error
        }
      }),
      propertySettings(200),
    )
  })
})
