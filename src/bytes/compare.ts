/** Whether every byte is 0. Four bytes a step where the memory is aligned: bulk data costs no loop per byte. */
export function isZero(bytes: Uint8Array): boolean {
  const { length } = bytes
  let at = 0
  const aligned = Math.min(length, (4 - (bytes.byteOffset & 3)) & 3)
  for (; at < aligned; at++) if (bytes[at] !== 0) return false
  const words = (length - at) >>> 2
  if (words > 0) {
    const wide = new Int32Array(bytes.buffer, bytes.byteOffset + at, words)
    let index = 0
    for (const end = words - 7; index < end; index += 8)
      if (
        ((wide[index] as number) |
          (wide[index + 1] as number) |
          (wide[index + 2] as number) |
          (wide[index + 3] as number) |
          (wide[index + 4] as number) |
          (wide[index + 5] as number) |
          (wide[index + 6] as number) |
          (wide[index + 7] as number)) !==
        0
      )
        return false
    for (; index < words; index++) if (wide[index] !== 0) return false
    at += words * 4
  }
  for (; at < length; at++) if (bytes[at] !== 0) return false
  return true
}

type Compare = (a: Uint8Array, b: Uint8Array) => number

/** memcmp where there is one: ten times as fast as a loop. */
export const compareNatively: Compare | undefined = (globalThis as { Buffer?: { compare: Compare } }).Buffer
  ?.compare

/** A call of native code costs more than to look at so many bytes. */
const FEW = 64

/** Whether two byte strings are the same. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  if (compareNatively !== undefined && a.length > FEW) return compareNatively(a, b) === 0
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false
  return true
}
