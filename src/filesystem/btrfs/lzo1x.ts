import { corrupt } from './errors.ts'

/** Distances of the four kinds of matches (Documentation/staging/lzo.rst of Linux). */
const M3_BASE = 0x4000
const NEAR = 1
const AFTER_LITERALS = 2049

/**
 * Decompresses one LZO1X stream up to its end mark (Documentation/staging/lzo.rst of Linux describes it). A stream that reads or
 * writes outside its buffers, or refers to before its output, is `ERR_CORRUPT`.
 * @returns bytes written to `into`.
 */
export function decompressLzo1x(from: Uint8Array, into: Uint8Array): number {
  let at = 0
  let out = 0
  const wrong = (what: string) => corrupt('lzo', `LZO data ${what} at ${at} of ${from.length} bytes`)

  const next = (): number => {
    const byte = from[at]
    if (byte === undefined) throw wrong('ends too early')
    at++
    return byte
  }
  /** A count that its instruction had no room for: each zero byte stands for 255. */
  const longCount = (base: number): number => {
    let count = base
    for (;;) {
      const byte = next()
      if (byte !== 0) return count + byte
      count += 255
    }
  }
  const literals = (count: number): void => {
    if (at + count > from.length) throw wrong('ends within a run')
    if (out + count > into.length) throw wrong('holds more than its segment')
    into.set(from.subarray(at, at + count), out)
    at += count
    out += count
  }
  const match = (distance: number, length: number): void => {
    if (distance > out) throw wrong('refers to before its beginning')
    if (out + length > into.length) throw wrong('holds more than its segment')
    // Byte by byte: a match may overlap what it writes.
    for (let index = 0; index < length; index++, out++) into[out] = into[out - distance] as number
  }

  /** Literals since the last match: 0 to 3, or 4 for a long run; an instruction below 16 means something else after each. */
  let state = 0
  const first = from[0] ?? 0
  if (first > 17) {
    at = 1
    literals(first - 17)
    state = Math.min(first - 17, 4)
  }
  for (;;) {
    const code = next()
    let low = code
    if (code >= 64) {
      const length = code >= 128 ? 5 + ((code >> 5) & 3) : 3 + ((code >> 5) & 1)
      match((next() << 3) + ((code >> 2) & 7) + NEAR, length)
    } else if (code >= 32) {
      const length = (code & 31) === 0 ? longCount(31) : code & 31
      low = next()
      match((next() << 6) + (low >> 2) + NEAR, length + 2)
    } else if (code >= 16) {
      const length = (code & 7) === 0 ? longCount(7) : code & 7
      low = next()
      const distance = M3_BASE + ((code & 8) << 11) + (next() << 6) + (low >> 2)
      if (distance === M3_BASE) return out
      match(distance, length + 2)
    } else if (state === 0) {
      literals((code === 0 ? longCount(15) : code) + 3)
      state = 4
      continue
    } else {
      const base = state === 4 ? AFTER_LITERALS : NEAR
      match((next() << 2) + (code >> 2) + base, state === 4 ? 3 : 2)
    }
    state = low & 3
    literals(state)
  }
}
