import { randomBytes } from 'node:crypto'
import { deflateRawSync } from 'node:zlib'
import { describe, expect, it, onTestFinished, test, vi } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import { loadCompressor, loadDecompressor } from '../../src/image/compression/codec.ts'
import { loadClustersCompressor } from '../../src/image/compression/compress-clusters.ts'
import { zstdFrame } from '../../src/image/compression/zstd-frame.ts'

const SIZE = 65_536

function sample(): Buffer {
  return Buffer.concat([Buffer.alloc(SIZE / 2, 'drydisk '), randomBytes(SIZE / 4), Buffer.alloc(SIZE / 4)])
}

function failure(work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    return error
  }
  return undefined
}

/** A frame of stored blocks, as RFC 8878 lays it out, with a window of 1 KiB times 64 and no content size. */
function storedFrame(content: Uint8Array, rle = false): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x30)]
  const length = content.length
  const header = 1 | ((rle ? 1 : 0) << 1) | (length << 3)
  parts.push(Uint8Array.of(header & 0xff, (header >>> 8) & 0xff, header >>> 16))
  parts.push(rle ? content.subarray(0, 1) : content)
  return Buffer.concat(parts)
}

describe.each([false, true])('deflate streams of compressed clusters (portable: %s)', portable => {
  it('with a window of 12 bits and padding after them come back whole', async () => {
    const inflate = await loadDecompressor('zlib', portable)
    const content = sample()
    const stream = deflateRawSync(content, { windowBits: 12 })
    const padded = Buffer.concat([stream, Buffer.alloc(512 - (stream.length % 512), 0xa5)])
    expect(Buffer.compare(inflate(padded, SIZE), content)).toBe(0)
  })

  it('that are cut, too short, too long or noise are ERR_CORRUPT', async () => {
    const inflate = await loadDecompressor('zlib', portable)
    const stream = deflateRawSync(sample(), { windowBits: 12 })
    const bombs = deflateRawSync(Buffer.alloc(8 << 20))
    for (const bytes of [
      stream.subarray(0, 2000),
      deflateRawSync(Buffer.alloc(100)),
      bombs,
      randomBytes(5000),
      new Uint8Array(),
    ])
      expect(
        isDrydiskError(
          failure(() => inflate(bytes, SIZE)),
          'ERR_CORRUPT',
        ),
      ).toBe(true)
  })
})

describe.each([false, true])('zstd frames of compressed clusters (portable: %s)', portable => {
  it('come in several, with skippable ones between and padding after them', async () => {
    const decode = await loadDecompressor('zstd', portable)
    const skippable = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3)
    const first = randomBytes(3000)
    const second = Buffer.alloc(1096, 7)
    const bytes = Buffer.concat([
      storedFrame(first),
      skippable,
      storedFrame(second, true),
      Buffer.alloc(77, 0xee),
    ])
    expect(Buffer.compare(decode(bytes, 4096), Buffer.concat([first, second]))).toBe(0)
  })

  it('that yield more or less than a cluster, or are damaged, are ERR_CORRUPT', async () => {
    const decode = await loadDecompressor('zstd', portable)
    const good = storedFrame(randomBytes(4096))
    const window = Uint8Array.from(good)
    window[5] = 0xf8
    for (const bytes of [
      storedFrame(randomBytes(4095)),
      storedFrame(randomBytes(4097)),
      good.subarray(0, 900),
      randomBytes(600),
      new Uint8Array(),
      window,
    ])
      expect(
        isDrydiskError(
          failure(() => decode(bytes, 4096)),
          'ERR_CORRUPT',
        ),
      ).toBe(true)
  })

  it('are measured without decoding them', () => {
    const frame = storedFrame(randomBytes(500))
    expect(zstdFrame(Buffer.concat([frame, Buffer.alloc(100)]), 0)).toEqual({
      start: 0,
      end: frame.length,
      skippable: false,
    })
    expect(zstdFrame(new Uint8Array(20), 0)).toBeUndefined()
  })
})

describe.each(['zlib', 'zstd'] as const)('clusters compressed by %s', type => {
  it.each([
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ])('come back whole (portable compressor: %s, portable decompressor: %s)', async (portable, back) => {
    const compress = await loadCompressor(type, portable)
    const decompress = await loadDecompressor(type, back)
    for (const size of [512, 4096, SIZE, 2 << 20])
      for (const content of [new Uint8Array(size), Buffer.alloc(size, 'some words and '), halfNoise(size)]) {
        const bytes = compress(content)
        if (bytes === undefined) throw new Error('this should have become smaller')
        expect(bytes.length).toBeLessThan(size)
        const padded = Buffer.concat([bytes, Buffer.alloc(-bytes.length & 511, 0x5a)])
        expect(Buffer.compare(decompress(padded, size), content)).toBe(0)
      }
    for (const size of [512, SIZE]) expect(compress(randomBytes(size))).toBeUndefined()
  })
})

function halfNoise(size: number): Uint8Array {
  return Buffer.concat([randomBytes(size / 2), Buffer.alloc(size / 2)])
}

describe.each([false, true])('a zstd frame that claims more than a cluster (portable: %s)', portable => {
  it('is refused before memory is taken for it', async () => {
    const decode = await loadDecompressor('zstd', portable)
    // A window of its own and eight bytes of content size: 2^31, 2^40.
    for (const high of [0, 256]) {
      const frame = new Uint8Array(40)
      frame.set([0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x30])
      new DataView(frame.buffer).setUint32(6, 0x8000_0000, true)
      new DataView(frame.buffer).setUint32(10, high, true)
      frame.set([1, 0, 0], 14)
      expect(
        isDrydiskError(
          failure(() => decode(frame, SIZE)),
          'ERR_CORRUPT',
        ),
      ).toBe(true)
    }
  })
})

test('clusters are compressed in slices where there are no threads, and a page goes on in between', async () => {
  vi.spyOn(process, 'getBuiltinModule').mockReturnValue(undefined as never)
  onTestFinished(() => {
    vi.restoreAllMocks()
  })
  const clusters = Array.from({ length: 40 }, sample)
  const compress = await loadClustersCompressor('zlib')
  let turns = 0
  const others = setInterval(() => turns++)
  const streams = await compress(clusters)
  clearInterval(others)
  const one = await loadCompressor('zlib', true)
  for (const [index, cluster] of clusters.entries())
    expect(Buffer.compare(streams[index] ?? Buffer.alloc(0), one(cluster) ?? Buffer.alloc(0))).toBe(0)
  expect(turns).toBeGreaterThan(1)
})
