import { DrydiskError } from '../../errors.ts'

/**
 * Decompresses one block of LZ4 (lz4_Block_format.md): sequences of a token (lengths of literals and of a match, 15 goes on in more bytes),
 * literals, and an offset back with a match of 4 bytes or more. The last has literals alone.
 * @returns bytes written to `into`; `ERR_CORRUPT` where there would be more, and for what is no block.
 */
export function decompressLz4(from: Uint8Array, into: Uint8Array): number {
  const size = into.length
  let at = 0
  let out = 0
  const byte = (): number => {
    const value = from[at++]
    if (value === undefined) throw damaged('ends too early')
    return value
  }
  const length = (nibble: number): number => {
    let total = nibble
    if (nibble === 15)
      for (let more = 255; more === 255; ) {
        more = byte()
        total += more
      }
    return total
  }
  while (at < from.length) {
    const token = byte()
    const literals = length(token >>> 4)
    if (at + literals > from.length || out + literals > size) throw damaged('holds more than its block')
    into.set(from.subarray(at, at + literals), out)
    at += literals
    out += literals
    if (at >= from.length) break
    const back = byte() | (byte() << 8)
    const match = length(token & 15) + 4
    if (back === 0 || back > out || out + match > size) throw damaged('refers to outside its block')
    for (let i = 0; i < match; i++, out++) into[out] = into[out - back] ?? 0
  }
  return out
}

const LEGACY_MAGIC = 0x184c2102
const LEGACY_BLOCK = 8 << 20
/** LZ4_COMPRESSBOUND of a block: more would be the magic of what follows. */
const LEGACY_BOUND = LEGACY_BLOCK + Math.floor(LEGACY_BLOCK / 255) + 16

/**
 * Unpacks LZ4 in its legacy frame, which Linux takes for an initramfs (`lz4 -l`; lz4_Frame_format.md, "Legacy frame"): a magic, then blocks,
 * each after the size that it is packed to, and all but the last of 8 MiB. Frames may follow each other, and zeros may end them.
 */
export function* unpackLz4Legacy(from: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(from.buffer, from.byteOffset, from.byteLength)
  const into = new Uint8Array(LEGACY_BLOCK)
  for (let at = 0; at + 4 <= from.length; ) {
    const packed = view.getUint32(at, true)
    at += 4
    if (packed === LEGACY_MAGIC) continue
    if (at === 4) throw damaged('does not begin with the magic of its legacy frame')
    if (packed === 0) return
    if (packed > LEGACY_BOUND || at + packed > from.length)
      throw damaged(`has a block of ${packed} bytes in the ${from.length - at} that are left`)
    yield into.slice(0, decompressLz4(from.subarray(at, at + packed), into))
    at += packed
  }
}

function damaged(how: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `LZ4 data ${how}`)
}
