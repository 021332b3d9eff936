import { isDrydiskError } from '../../errors.ts'
import { type Decompress, loadDecompressor } from '../../image/compression/codec.ts'
import { corrupt } from './errors.ts'
import type { Compression } from './file-extent.ts'
import { decompressLzo } from './lzo.ts'

/** CMF and FLG before the deflate stream (RFC 1950). */
const ZLIB_HEADER = 2

const loaded = new Map<Compression, Promise<Decompress>>()

function decompressor(type: 'zlib' | 'zstd'): Promise<Decompress> {
  let codec = loaded.get(type)
  codec ??= loadDecompressor(type, false, 'part')
  loaded.set(type, codec)
  return codec
}

/**
 * Decompresses an extent, or the content of an inline one. Streams may end before `ramBytes`: the rest of the last block, behind the
 * file's end, is not compressed with it, and reads as zeros.
 */
export async function decompressExtent(
  compression: Compression,
  from: Uint8Array,
  ramBytes: number,
  sectorsize: number,
): Promise<Uint8Array> {
  const into = new Uint8Array(ramBytes)
  if (compression === 'lzo') {
    decompressLzo(from, into, sectorsize)
    return into
  }
  const codec = await decompressor(compression)
  const stream = compression === 'zlib' ? deflateStream(from) : from
  try {
    into.set(codec(stream, ramBytes))
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    throw corrupt(
      'compressed extent',
      `a compressed extent is no ${compression} stream of ${ramBytes} bytes or less`,
    )
  }
  return into
}

/** What is in a zlib stream. Its Adler-32 is not looked at, nor does Linux: the checksums of the data say more. */
function deflateStream(from: Uint8Array): Uint8Array {
  const [cmf = 0, flg = 0] = from
  if ((cmf & 0x0f) !== 8 || (cmf * 256 + flg) % 31 !== 0 || (flg & 0x20) !== 0)
    throw corrupt('zlib', 'a compressed extent does not begin as a zlib stream')
  return from.subarray(ZLIB_HEADER)
}
