import { DrydiskError } from '../../errors.ts'

/**
 * One block of LZ4 (lz4_Block_format.md): sequences of a token (lengths of literals and of a match, 15 goes on in more bytes), literals, and
 * an offset back with a match of 4 bytes or more. The last has literals alone.
 */
export function decompressLz4(from: Uint8Array, size: number): Uint8Array {
  const into = new Uint8Array(size)
  let at = 0
  let out = 0
  const byte = (): number => {
    const value = from[at++]
    if (value === undefined) throw damaged()
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
    if (at + literals > from.length || out + literals > size) throw damaged()
    into.set(from.subarray(at, at + literals), out)
    at += literals
    out += literals
    if (at >= from.length) break
    const back = byte() | (byte() << 8)
    const match = length(token & 15) + 4
    if (back === 0 || back > out || out + match > size) throw damaged()
    for (let i = 0; i < match; i++, out++) into[out] = into[out - back] ?? 0
  }
  if (out !== size) throw damaged()
  return into
}

function damaged(): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', 'LZ4 data is damaged')
}
