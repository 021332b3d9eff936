/** Parameters of pwxform that yescrypt's default flavor has: four lanes of two 64-bit words, six rounds, index of 8 bits. */
const ROUNDS = 6
const LANES = 4
/** Words of 32 bits in one of the three S-boxes: 256 entries of two 64-bit words. */
const BOX_WORDS = 1024
/** Takes a byte offset of an entry (16 bytes) out of a word. */
const MASK = 0xff0

export const S_BYTES = 3 * BOX_WORDS * 4

/** The state of pwxform: three S-boxes that take turns, and where the next result is written. */
export class PwxContext {
  #s0: Int32Array
  #s1: Int32Array
  #s2: Int32Array
  #w = 0
  readonly #S: Uint32Array

  constructor(S: Uint32Array) {
    this.#S = S
    const box = (n: number) => new Int32Array(S.buffer, S.byteOffset + n * BOX_WORDS * 4, BOX_WORDS)
    this.#s2 = box(0)
    this.#s1 = box(1)
    this.#s0 = box(2)
  }

  /** Fills the S-boxes as scrypt fills its memory, from 128 bytes; leaves the last state in `X`. */
  fillWithSalsa(X: Uint32Array): void {
    for (let at = 0; at < this.#S.length; at += 32) {
      this.#S.set(X, at)
      for (let i = 0; i < 16; i++) X[i] = (X[i] ?? 0) ^ (X[16 + i] ?? 0)
      salsa20(X, 0, 8)
      for (let i = 0; i < 16; i++) X[16 + i] = (X[16 + i] ?? 0) ^ (X[i] ?? 0)
      salsa20(X, 16, 8)
    }
  }

  /** The first loop: fills `V`, mixing in earlier blocks as it goes. */
  fill(X: Uint32Array, V: Uint32Array): void {
    const words = X.length
    const count = V.length / words
    let power = 1
    for (let i = 0; i < count; i++) {
      V.set(X, i * words)
      if (i > 1) {
        while (power * 2 <= i) power *= 2
        const j = ((X[words - 16] ?? 0) & (power - 1)) + (i - power)
        xorInto(X, V, j * words)
      }
      this.#mixBlock(X)
    }
  }

  /** The second loop: `rounds` blocks among the first `N` (a power of two) are mixed in, and written back where `write`. */
  mixIn(X: Uint32Array, V: Uint32Array, N: number, rounds: number, write: boolean): void {
    const words = X.length
    for (let i = 0; i < rounds; i++) {
      const at = ((X[words - 16] ?? 0) & (N - 1)) * words
      xorInto(X, V, at)
      if (write) V.set(X, at)
      this.#mixBlock(X)
    }
  }

  /** BlockMix_pwxform. */
  #mixBlock(X: Uint32Array): void {
    const signed = new Int32Array(X.buffer, X.byteOffset, X.length)
    let previous = X.length - 16
    for (let at = 0; at < X.length; at += 16) {
      for (let i = 0; i < 16; i++) signed[at + i] = (signed[at + i] ?? 0) ^ (signed[previous + i] ?? 0)
      this.#transform(signed, at)
      previous = at
    }
    salsa20(X, X.length - 16, 2)
  }

  /** pwxform of 64 bytes at `at`: (high * low + S0) ^ S1 for each 64-bit word, as two halves of 32 bits. */
  #transform(X: Int32Array, at: number): void {
    const s0 = this.#s0
    const s1 = this.#s1
    const s2 = this.#s2
    let w = this.#w
    for (let round = 0; round < ROUNDS; round++) {
      const store = round !== 0 && round !== ROUNDS - 1
      for (let lane = at; lane < at + LANES * 4; lane += 4) {
        const p0 = ((X[lane] ?? 0) & MASK) >> 2
        const p1 = ((X[lane + 1] ?? 0) & MASK) >> 2
        for (let k = 0; k < 4; k += 2) {
          const low = X[lane + k] ?? 0
          const high = X[lane + k + 1] ?? 0
          const a0 = low & 0xffff
          const a1 = low >>> 16
          const b0 = high & 0xffff
          const b1 = high >>> 16
          const p00 = Math.imul(a0, b0)
          const p01 = Math.imul(a0, b1)
          const p10 = Math.imul(a1, b0)
          const middle = (p00 >>> 16) + (p01 & 0xffff) + (p10 & 0xffff)
          const productLow = Math.imul(low, high)
          const productHigh = (Math.imul(a1, b1) + (p01 >>> 16) + (p10 >>> 16) + (middle >>> 16)) | 0
          const add = s0[p0 + k] ?? 0
          const sum = (productLow + add) | 0
          // Carried when the sum is less than what was added, unsigned.
          const carry = (sum ^ -0x80000000) < (add ^ -0x80000000) ? 1 : 0
          const x0 = sum ^ (s1[p1 + k] ?? 0)
          const x1 = ((productHigh + (s0[p0 + k + 1] ?? 0) + carry) | 0) ^ (s1[p1 + k + 1] ?? 0)
          X[lane + k] = x0
          X[lane + k + 1] = x1
          if (store) {
            s2[w] = x0
            s2[w + 1] = x1
            w += 2
          }
        }
      }
    }
    this.#s0 = s2
    this.#s1 = s0
    this.#s2 = s1
    this.#w = w & (BOX_WORDS - 1)
  }
}

function xorInto(X: Uint32Array, V: Uint32Array, at: number): void {
  for (let i = 0; i < X.length; i++) X[i] = (X[i] ?? 0) ^ (V[at + i] ?? 0)
}

/** Quarter-rounds of salsa20 (columns, then rows): words that are added, the target and the rotation. */
const STEPS: readonly (readonly [number, number, number, number])[] = [0, 1].flatMap(row =>
  [0, 1, 2, 3].flatMap(i => {
    const at = (n: number) => (row ? i * 4 + ((i + n) & 3) : ((i + n) & 3) * 4 + i)
    return [
      [at(1), at(0), at(3), 7],
      [at(2), at(1), at(0), 9],
      [at(3), at(2), at(1), 13],
      [at(0), at(3), at(2), 18],
    ] as const
  }),
)

/** Salsa20 with that many rounds on 16 words that stand in the order of its SIMD form. */
function salsa20(X: Uint32Array, at: number, rounds: number): void {
  const x = new Int32Array(16)
  for (let i = 0; i < 16; i++) x[(i * 5) % 16] = X[at + i] ?? 0
  for (let round = 0; round < rounds; round += 2)
    for (const [to, a, b, bits] of STEPS) {
      const sum = ((x[a] ?? 0) + (x[b] ?? 0)) | 0
      x[to] = (x[to] ?? 0) ^ ((sum << bits) | (sum >>> (32 - bits)))
    }
  for (let i = 0; i < 16; i++) X[at + i] = ((X[at + i] ?? 0) + (x[(i * 5) % 16] ?? 0)) >>> 0
}
