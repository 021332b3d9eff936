import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { unpackXz } from '../../src/bytes/compression/xz.ts'
import { Crc64 } from '../../src/bytes/crc64.ts'
import { DrydiskError } from '../../src/errors.ts'
import { haveTool, propertySettings } from '../support/native.ts'

const all = (packed: Uint8Array) => Buffer.concat([...unpackXz(packed)])
const pack = (content: Uint8Array, ...options: string[]) =>
  Uint8Array.from(
    execFileSync('xz', ['-c', ...options], { input: content, maxBuffer: 1 << 28, stdio: 'pipe' }),
  )

/** Text, runs and noise, so that every kind of symbol comes. */
function mixed(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let random = seed
  for (let at = 0; at < length; ) {
    random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0
    const run = 1 + ((random >>> 8) % 300)
    const kind = (random >>> 20) & 3
    const from = kind === 3 && at > 0 ? (random >>> 4) % at : 0
    for (let i = 0; i < run && at < length; i++, at++) {
      if (kind === 0) random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0
      bytes[at] = kind === 0 ? random >>> 24 : kind === 3 ? (bytes[from + i] ?? 0) : 97 + ((i * kind) % 23)
    }
  }
  return bytes
}

it('CRC-64 of xz', () => {
  const crc = new Crc64()
  crc.update(new TextEncoder().encode('1234'))
  crc.update(new TextEncoder().encode('56789'))
  expect(crc.value).toBe(0x995dc9bbdf1939fan)
})

describe.skipIf(!haveTool('xz'))('unpacks what xz packs', () => {
  const content = mixed(300_000, 7)
  it.each([
    ['by default', []],
    ['as fast as it can', ['-0']],
    ['for an initramfs', ['--check=crc32', '--lzma2=dict=1MiB']],
    ['with no checksum', ['--check=none']],
    ['with other properties', ['--lzma2=preset=6,lc=0,lp=3,pb=0']],
    ['with the smallest dictionary', ['--lzma2=dict=4KiB,lc=4,pb=4']],
    ['in many blocks', ['--block-size=40000', '-T1']],
    ['in blocks whose headers have sizes', ['--block-size=40000', '-T2']],
  ])('%s', (_, options) => {
    expect(Buffer.compare(all(pack(content, ...options)), content)).toBe(0)
  })

  it('what does not compress, nothing, several streams and padding', () => {
    const noise = Uint8Array.from({ length: 200_000 }, (_, i) => Math.imul(i + 1, 2_654_435_761) >>> (i % 24))
    const packed = Buffer.concat([
      pack(noise),
      new Uint8Array(8),
      pack(new Uint8Array()),
      pack(content, '-0'),
    ])
    expect(Buffer.compare(all(packed), Buffer.concat([noise, content]))).toBe(0)
    expect(all(new Uint8Array()).length).toBe(0)
  })

  it('more than its window', () => {
    const large = mixed(9 << 20, 3)
    const packed = pack(large, '-0', '--lzma2=preset=0,dict=64KiB')
    expect(Buffer.compare(all(packed), large)).toBe(0)
  }, 30_000)

  it('any content (property)', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(4), fc.nat(4), (bytes, lc, pb) => {
        const repeated = Buffer.concat([bytes, bytes, bytes.subarray(3)])
        const packed = pack(repeated, `--lzma2=lc=${lc},lp=${4 - lc},pb=${pb}`)
        expect(Buffer.compare(all(packed), repeated)).toBe(0)
      }),
      propertySettings(15),
    )
  })

  it('says what it does not read', () => {
    const bytes = mixed(1000, 1)
    expect(() => all(pack(bytes, '--x86', '--lzma2'))).toThrow(/the filter x86 is not read/)
    expect(() => all(pack(bytes, '--check=sha256'))).toThrow(/SHA-256/)
    expect(() => all(pack(bytes, '--lzma2=dict=512MiB'))).toThrow(/dictionary of 536870912 bytes/)
  })

  it('refuses what was cut short, at any byte', () => {
    const packed = pack(mixed(500, 9))
    for (let length = 1; length < packed.length; length++)
      expect(() => all(packed.subarray(0, length)), `${length}`).toThrow(DrydiskError)
  })

  it('of any damage gives an error, never other bytes (property)', () => {
    const bytes = mixed(3000, 5)
    const packed = [pack(bytes), pack(bytes, '--check=crc32', '-0')]
    const change = fc.tuple(fc.nat(10_000), fc.nat(255))
    fc.assert(
      fc.property(fc.nat(1), fc.array(change, { minLength: 1, maxLength: 5 }), (which, changes) => {
        const damaged = (packed[which] ?? new Uint8Array()).slice()
        for (const [at, value] of changes) damaged[at % damaged.length] = value
        try {
          expect(Buffer.compare(all(damaged), bytes)).toBe(0)
        } catch (error) {
          if (!(error instanceof DrydiskError)) throw error
        }
      }),
      propertySettings(300),
    )
  })

  it('of damage without a checksum is bounded (property)', () => {
    const packed = pack(mixed(3000, 5), '--check=none')
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(10_000), fc.nat(255)), { minLength: 1 }), changes => {
        const damaged = packed.slice()
        // Behind the headers, so that the decoder sees it.
        for (const [at, value] of changes) damaged[24 + (at % (damaged.length - 60))] = value
        try {
          expect(all(damaged).length).toBeLessThan(damaged.length * (2 << 20))
        } catch (error) {
          if (!(error instanceof DrydiskError)) throw error
        }
      }),
      propertySettings(200),
    )
  })
})
