import { TWO_32 } from './geometry.ts'

/** The refcount at `index` of a block (qcow2 specification, "Refcount table and refcount blocks"). */
export function readRefcount(block: Uint8Array, index: number, bits: number): number {
  if (bits < 8) {
    const bit = index * bits
    return ((block[bit >>> 3] ?? 0) >>> (bit & 7)) & ((1 << bits) - 1)
  }
  const width = bits / 8
  let value = 0
  for (let at = index * width; at < (index + 1) * width; at++) value = value * 256 + (block[at] ?? 0)
  return value
}

/** Sets the refcount at `index`. The value must fit the width. */
export function writeRefcount(block: Uint8Array, index: number, bits: number, value: number): void {
  if (bits < 8) {
    const bit = index * bits
    const mask = ((1 << bits) - 1) << (bit & 7)
    block[bit >>> 3] = ((block[bit >>> 3] ?? 0) & ~mask) | (value << (bit & 7))
  } else if (bits === 8) block[index] = value
  else if (bits === 16) {
    block[index * 2] = value >>> 8
    block[index * 2 + 1] = value
  } else {
    const end = (index + 1) * (bits / 8)
    const low = value >>> 0
    block[end - 4] = low >>> 24
    block[end - 3] = low >>> 16
    block[end - 2] = low >>> 8
    block[end - 1] = low
    if (bits === 64) {
      const high = Math.floor(value / TWO_32)
      block[end - 8] = high >>> 24
      block[end - 7] = high >>> 16
      block[end - 6] = high >>> 8
      block[end - 5] = high
    }
  }
}
