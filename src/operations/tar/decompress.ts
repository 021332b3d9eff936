import { concatBytes } from '../../config/text.ts'
import { DrydiskError } from '../../errors.ts'
import type { ByteSource } from '../source-tree.ts'

/** Of what is unpacked whole. */
const MAX_PACKED = 512 << 20
const MAX_UNPACKED = 2 ** 30

const MAGICS: readonly (readonly [name: string, bytes: readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lz4 -l', [0x02, 0x21, 0x4c, 0x18]],
  ['lz4', [0x04, 0x22, 0x4d, 0x18]],
  ['lzip', [0x4c, 0x5a, 0x49, 0x50]],
  ['compress', [0x1f, 0x9d]],
]

const packer = (first: Uint8Array): string | undefined =>
  MAGICS.find(([, magic]) => magic.every((byte, i) => first[i] === byte))?.[0]

/** Whether a file that begins with these bytes (six are enough) is packed by one of the packers that are known by name here. */
export const isPacked = (first: Uint8Array): boolean => packer(first) !== undefined

/** The bytes of an archive, unpacked where its first bytes say gzip, zstd, xz or LZ4's legacy frame. Other compressions are `ERR_UNSUPPORTED`. */
export async function* unpacked(source: ByteSource): AsyncIterable<Uint8Array> {
  const pieces = source.chunks()[Symbol.asyncIterator]()
  let first: Uint8Array = new Uint8Array(0)
  while (first.length < 6) {
    const { done, value } = await pieces.next()
    if (done) break
    first = first.length === 0 ? value : concatBytes([first, value])
  }
  const kind = packer(first)
  const all = rejoin(first, pieces)
  if (kind === undefined) yield* all
  else if (kind === 'gzip') yield* gunzip(all, source.name)
  else if (kind === 'zstd') yield await unzstd(await gathered(all, source.name), source.name)
  else if (kind === 'lz4 -l') {
    const { unpackLz4Legacy } = await import('../../bytes/compression/lz4.ts')
    yield* unpackLz4Legacy(await gathered(all, source.name))
  } else if (kind === 'xz') {
    const { unpackXz } = await import('../../bytes/compression/xz.ts')
    yield* unpackXz(await gathered(all, source.name))
  } else {
    await pieces.return?.()
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${source.name} is packed by ${kind}: unpack it first; what is plain, or packed by gzip, zstd, xz or lz4 -l, is read`,
    )
  }
}

async function* rejoin(first: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncIterable<Uint8Array> {
  try {
    if (first.length > 0) yield first
    for (;;) {
      const { done, value } = await rest.next()
      if (done) return
      yield value
    }
  } finally {
    await rest.return?.()
  }
}

async function* gunzip(pieces: AsyncIterable<Uint8Array>, name: string): AsyncIterable<Uint8Array> {
  const stream = new DecompressionStream('gzip')
  const writer = stream.writable.getWriter()
  const reader = stream.readable.getReader()
  let failure: unknown
  const feeding = (async () => {
    try {
      for await (const piece of pieces) {
        await writer.ready
        // What was read ahead is used again for the next piece.
        await writer.write(piece.slice())
      }
      await writer.close()
    } catch (error) {
      failure = error
      await writer.abort(error).catch(() => undefined)
    }
  })()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      yield value as Uint8Array
    }
  } catch (error) {
    const source = failure ?? error
    if (source instanceof DrydiskError) throw source
    throw new DrydiskError(
      'ERR_CORRUPT',
      `${name} is not whole or damaged: gzip cannot unpack it`,
      {},
      source,
    )
  } finally {
    await reader.cancel().catch(() => undefined)
    await feeding
  }
}

/** For decoders that take no stream. */
async function gathered(pieces: AsyncIterable<Uint8Array>, name: string): Promise<Uint8Array> {
  const packed: Uint8Array[] = []
  let length = 0
  for await (const piece of pieces) {
    length += piece.length
    if (length > MAX_PACKED)
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `${name} is too large to be unpacked here: unpack it first, or use gzip`,
      )
    packed.push(piece.slice())
  }
  return concatBytes(packed)
}

async function unzstd(from: Uint8Array, name: string): Promise<Uint8Array> {
  const { loadDecompressor } = await import('../../image/compression/codec.ts')
  const decompress = await loadDecompressor('zstd', false, 'part')
  // A frame that was made from a stream does not say how much it holds, and the decoder wants to know.
  for (let room = Math.max(from.length * 8, 1 << 20); ; room *= 4) {
    try {
      return decompress(from, Math.min(room, MAX_UNPACKED))
    } catch (error) {
      if (room < MAX_UNPACKED) continue
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${name} is damaged, or too large to be unpacked here: unpack it with zstd first, or use gzip`,
        {},
        error,
      )
    }
  }
}
