import { littleEndian } from '../../bytes/byte-view.ts'
import { corrupt } from './errors.ts'
import { decompressLzo1x } from './lzo1x.ts'

/** The total length, and the length before each segment. */
const LENGTH = 4

/**
 * Decompresses an extent of btrfs's own LZO layout: the total length with itself, then segments of one sector each, a length before
 * each. A length never crosses the end of a sector: zeros fill up to it (fs/btrfs/lzo.c of Linux describes it).
 * @returns bytes written to `into`; a whole sector by each segment but the last.
 */
export function decompressLzo(from: Uint8Array, into: Uint8Array, sectorsize: number): number {
  const view = littleEndian(from, 'btrfs LZO data')
  const total = view.u32(0)
  if (total < LENGTH || total > from.length)
    throw corrupt('lzo', `LZO data says it has ${total} bytes, and there are ${from.length}`)
  let out = 0
  for (let at = LENGTH; at < total && out < into.length; ) {
    const left = sectorsize - (at % sectorsize)
    if (left < LENGTH) at += left
    if (at + LENGTH > total) break
    const length = view.u32(at)
    at += LENGTH
    if (length === 0 || at + length > total)
      throw corrupt('lzo', `an LZO segment of ${length} bytes at ${at} of ${total}`)
    const segment = into.subarray(out, Math.min(out + sectorsize, into.length))
    out += decompressLzo1x(from.subarray(at, at + length), segment)
    at += length
  }
  return out
}
