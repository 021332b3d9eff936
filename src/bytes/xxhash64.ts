/** Primes of XXH64 (xxHash fast digest algorithm, doc/xxhash_spec.md), high and low halves. */
const P1H = 0x9e3779b1
const P1L = 0x85ebca87
const P2H = 0xc2b2ae3d
const P2L = 0x27d4eb4f
const P3H = 0x165667b1
const P3L = 0x9e3779f9
const P4H = 0x85ebca77
const P4L = 0xc2b2ae63
const P5H = 0x27d4eb2f
const P5L = 0x165667c5

/** The high half of a product of two unsigned 32-bit numbers. */
function highProduct(a: number, b: number): number {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16]
  const middle = a1 * b0 + ((a0 * b0) >>> 16)
  return a1 * b1 + Math.floor(middle / 0x1_0000) + Math.floor((a0 * b1 + (middle & 0xffff)) / 0x1_0000)
}

/** A 64-bit register in two halves: BigInt arithmetic takes twenty times as long. */
class Register {
  high: number
  low: number

  constructor(high: number, low: number) {
    this.high = high | 0
    this.low = low | 0
  }

  add(high: number, low: number): this {
    const sum = (this.low >>> 0) + (low >>> 0)
    this.low = sum | 0
    this.high = (this.high + high + (sum > 0xffff_ffff ? 1 : 0)) | 0
    return this
  }

  xor(high: number, low: number): this {
    this.high ^= high
    this.low ^= low
    return this
  }

  multiply(high: number, low: number): this {
    const upper = highProduct(this.low >>> 0, low >>> 0)
    this.high = (upper + Math.imul(this.low, high) + Math.imul(this.high, low)) | 0
    this.low = Math.imul(this.low, low)
    return this
  }

  /** @param bits 1 to 31. */
  rotate(bits: number): this {
    const { high, low } = this
    this.high = (high << bits) | (low >>> (32 - bits))
    this.low = (low << bits) | (high >>> (32 - bits))
    return this
  }

  /** Exclusive or with itself moved right by 29 to 33 bits. */
  fold(bits: number): this {
    const { high, low } = this
    if (bits >= 32) return this.xor(0, bits === 32 ? high : high >>> (bits - 32))
    return this.xor(high >>> bits, (low >>> bits) | (high << (32 - bits)))
  }

  round(high: number, low: number): this {
    const lane = scratch.set(high, low).multiply(P2H, P2L)
    return this.add(lane.high, lane.low).rotate(31).multiply(P1H, P1L)
  }

  set(high: number, low: number): this {
    this.high = high
    this.low = low
    return this
  }

  merge(other: Register): this {
    const lane = scratch.set(other.high, other.low).multiply(P2H, P2L).rotate(31).multiply(P1H, P1L)
    return this.xor(lane.high, lane.low).multiply(P1H, P1L).add(P4H, P4L)
  }
}

const scratch = new Register(0, 0)

/** XXH64 with seed 0: 8 bytes, least significant first, as btrfs stores it. No bytes at all give 0xEF46DB3751D8E999. */
export function xxhash64(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const { length } = bytes
  let at = 0
  let hash: Register
  if (length >= 32) {
    const a = new Register(P1H, P1L).add(P2H, P2L)
    const b = new Register(P2H, P2L)
    const c = new Register(0, 0)
    const d = new Register(~P1H, ~P1L).add(0, 1)
    for (; at + 32 <= length; at += 32) {
      a.round(view.getInt32(at + 4, true), view.getInt32(at, true))
      b.round(view.getInt32(at + 12, true), view.getInt32(at + 8, true))
      c.round(view.getInt32(at + 20, true), view.getInt32(at + 16, true))
      d.round(view.getInt32(at + 28, true), view.getInt32(at + 24, true))
    }
    const rotated = (lane: Register, bits: number) => new Register(lane.high, lane.low).rotate(bits)
    hash = rotated(a, 1)
    for (const lane of [rotated(b, 7), rotated(c, 12), rotated(d, 18)]) hash.add(lane.high, lane.low)
    for (const lane of [a, b, c, d]) hash.merge(lane)
  } else hash = new Register(P5H, P5L)
  hash.add(0, length)
  for (; at + 8 <= length; at += 8) {
    const lane = new Register(0, 0).round(view.getInt32(at + 4, true), view.getInt32(at, true))
    hash.xor(lane.high, lane.low).rotate(27).multiply(P1H, P1L).add(P4H, P4L)
  }
  if (at + 4 <= length) {
    const lane = new Register(0, view.getInt32(at, true)).multiply(P1H, P1L)
    hash.xor(lane.high, lane.low).rotate(23).multiply(P2H, P2L).add(P3H, P3L)
    at += 4
  }
  for (; at < length; at++) {
    const lane = new Register(0, view.getUint8(at)).multiply(P5H, P5L)
    hash.xor(lane.high, lane.low).rotate(11).multiply(P1H, P1L)
  }
  hash.fold(33).multiply(P2H, P2L).fold(29).multiply(P3H, P3L).fold(32)
  const out = new Uint8Array(8)
  const result = new DataView(out.buffer)
  result.setInt32(0, hash.low, true)
  result.setInt32(4, hash.high, true)
  return out
}
