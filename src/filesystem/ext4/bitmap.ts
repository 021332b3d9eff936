/** Bits of an allocation bitmap: bit n is bit n mod 8 of byte n div 8; 1 means used. */

export function testBit(bitmap: Uint8Array, bit: number): boolean {
  return (((bitmap[bit >>> 3] ?? 0) >>> (bit & 7)) & 1) === 1
}

/** Sets or clears `count` bits from `start`. */
export function fillBits(bitmap: Uint8Array, start: number, count: number, used: boolean): void {
  const end = start + count
  let bit = start
  for (; bit < end && (bit & 7) !== 0; bit++) putBit(bitmap, bit, used)
  const bytes = (end - bit) >>> 3
  if (bytes > 0) {
    bitmap.fill(used ? 0xff : 0, bit >>> 3, (bit >>> 3) + bytes)
    bit += bytes * 8
  }
  for (; bit < end; bit++) putBit(bitmap, bit, used)
}

function putBit(bitmap: Uint8Array, bit: number, used: boolean): void {
  const byte = bitmap[bit >>> 3] ?? 0
  bitmap[bit >>> 3] = used ? byte | (1 << (bit & 7)) : byte & ~(1 << (bit & 7))
}

/** The first bit from `from` up to, not including, `end` that is used (or free); `end` when there is none. */
export function nextBit(bitmap: Uint8Array, from: number, end: number, used: boolean): number {
  const skip = used ? 0 : 0xff
  let bit = from
  while (bit < end) {
    if ((bit & 7) === 0 && bitmap[bit >>> 3] === skip) bit += 8
    else if (testBit(bitmap, bit) === used) return bit
    else bit++
  }
  return end
}

const clearBits = Uint8Array.from({ length: 256 }, (_, byte) => {
  let clear = 8
  for (let rest = byte; rest !== 0; rest &= rest - 1) clear--
  return clear
})

/** How many of the first `count` bits are free. */
export function countFree(bitmap: Uint8Array, count: number): number {
  const bytes = count >>> 3
  let free = 0
  for (let index = 0; index < bytes; index++) free += clearBits[bitmap[index] ?? 0xff] ?? 0
  for (let bit = bytes * 8; bit < count; bit++) if (!testBit(bitmap, bit)) free++
  return free
}

/** Calls `found` with each run of free bits among the first `count`, in order. Goes 32 bits a step where they are alike. */
export function forEachFreeRun(
  bitmap: Uint8Array,
  count: number,
  found: (start: number, end: number) => void,
): void {
  const bytes = bitmap.byteOffset % 4 === 0 ? bitmap : bitmap.slice()
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
  let start = -1
  for (let first = 0; first < count; first += 32) {
    // All zeros and all ones are the same in either byte order of the machine.
    const word = words[first >>> 5]
    if (word === 0) {
      if (start < 0) start = first
      continue
    }
    const end = Math.min(first + 32, count)
    for (let bit = first; bit < end; bit++) {
      const used = word === -1 || testBit(bytes, bit)
      if (!used && start < 0) start = bit
      if (used && start >= 0) {
        found(start, bit)
        start = -1
      }
      if (word === -1) break
    }
  }
  if (start >= 0) found(start, count)
}

export interface BitRun {
  readonly start: number
  readonly count: number
}

/** The first run of at least `wanted` free bits in the window, else the longest; `undefined` when all are used. */
export function findFreeRun(
  bitmap: Uint8Array,
  from: number,
  end: number,
  wanted: number,
): BitRun | undefined {
  let best: BitRun | undefined
  let start = nextBit(bitmap, from, end, false)
  while (start < end) {
    const until = nextBit(bitmap, start, Math.min(end, start + wanted), true)
    const count = until - start
    if (count >= wanted) return { start, count }
    if (best === undefined || count > best.count) best = { start, count }
    start = nextBit(bitmap, until, end, false)
  }
  return best
}
