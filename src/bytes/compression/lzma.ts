/**
 * LZMA (Igor Pavlov's lzma-specification.txt, whose names are used): a range coder whose bits have adaptive probabilities. Literals,
 * matches and repeated matches go to a window that holds what matches refer to.
 */

/** Where the probabilities of each kind of bit begin. */
const IS_MATCH = 0
const IS_REP = IS_MATCH + 12 * 16
const IS_REP_G0 = IS_REP + 12
const IS_REP_G1 = IS_REP_G0 + 12
const IS_REP_G2 = IS_REP_G1 + 12
const IS_REP0_LONG = IS_REP_G2 + 12
const POS_SLOT = IS_REP0_LONG + 12 * 16
const POS_SPECIAL = POS_SLOT + 4 * 64
const ALIGN = POS_SPECIAL + 128
const LEN = ALIGN + 16
/** Within the probabilities of a length. */
const CHOICE = 0
const CHOICE2 = 1
const LOW = 2
const MID = LOW + 16 * 8
const HIGH = MID + 16 * 8
const REP_LEN = LEN + HIGH + 256
const LITERAL = REP_LEN + HIGH + 256
const LITERAL_SIZE = 0x300
/** Literals of the most contexts that LZMA2 allows (lc + lp is 4 at most). */
const PROBABILITIES = LITERAL + (LITERAL_SIZE << 4)
const EVEN = 1024

/** Where decoded bytes go. */
export interface LzmaWindow {
  bytes: Uint8Array
  /** Where the next byte goes. */
  out: number
  /** Where the bytes since the last reset of the dictionary began; below 0 where they have left the window. */
  origin: number
}

/** A decoder whose state lasts from one chunk to the next, until it is reset. */
export class LzmaDecoder {
  readonly #probs = new Uint16Array(PROBABILITIES)
  #lc = 0
  #lpMask = 0
  #pbMask = 0
  #state = 0
  #rep0 = 0
  #rep1 = 0
  #rep2 = 0
  #rep3 = 0
  // The range coder. Both are 32 bits wide and kept as signed integers, which need no memory of their own.
  #range = 0
  #code = 0
  #from: Uint8Array = new Uint8Array(0)
  #at = 0

  /** @returns whether `properties` are ones that LZMA2 allows. */
  setProperties(properties: number): boolean {
    const lc = properties % 9
    const lp = Math.floor(properties / 9) % 5
    const pb = Math.floor(properties / 45)
    if (pb > 4 || lc + lp > 4) return false
    this.#lc = lc
    this.#lpMask = (1 << lp) - 1
    this.#pbMask = (1 << pb) - 1
    return true
  }

  resetState(): void {
    this.#probs.fill(EVEN)
    this.#state = 0
    this.#rep0 = 0
    this.#rep1 = 0
    this.#rep2 = 0
    this.#rep3 = 0
  }

  /**
   * Decodes until the window is filled up to `limit`.
   * @returns what is wrong with it, where something is.
   */
  decode(from: Uint8Array, window: LzmaWindow, limit: number, dictionary: number): string | undefined {
    if (from.length < 5 || from[0] !== 0) return 'does not begin as the output of a range coder'
    this.#from = from
    this.#range = -1
    this.#code = ((from[1] ?? 0) << 24) | ((from[2] ?? 0) << 16) | ((from[3] ?? 0) << 8) | (from[4] ?? 0)
    this.#at = 5
    while (window.out < limit) {
      const wrong = this.#symbol(window, limit, dictionary)
      if (wrong !== undefined) return wrong
    }
    return this.#at === from.length && this.#code === 0 ? undefined : 'does not end where it should'
  }

  #bit(index: number): 0 | 1 {
    const prob = this.#probs[index] as number
    const bound = Math.imul(this.#range >>> 11, prob)
    let bit: 0 | 1 = 0
    if (this.#code >>> 0 < bound >>> 0) {
      this.#range = bound
      this.#probs[index] = prob + ((2048 - prob) >>> 5)
    } else {
      this.#range = (this.#range - bound) | 0
      this.#code = (this.#code - bound) | 0
      this.#probs[index] = prob - (prob >>> 5)
      bit = 1
    }
    if (this.#range >>> 24 === 0) this.#normalize()
    return bit
  }

  /** Behind the end are zeros: a chunk's length is looked at when it is done. */
  #normalize(): void {
    this.#range <<= 8
    this.#code = (this.#code << 8) | (this.#from[this.#at] ?? 0)
    this.#at++
  }

  #directBits(count: number): number {
    let result = 0
    for (let i = 0; i < count; i++) {
      this.#range >>>= 1
      const isSet = this.#code >>> 0 >= this.#range >>> 0
      if (isSet) this.#code = (this.#code - this.#range) | 0
      result = ((result << 1) | (isSet ? 1 : 0)) >>> 0
      if (this.#range >>> 24 === 0) this.#normalize()
    }
    return result
  }

  #tree(first: number, bits: number): number {
    let symbol = 1
    for (let i = 0; i < bits; i++) symbol = (symbol << 1) | this.#bit(first + symbol)
    return symbol - (1 << bits)
  }

  #reverseTree(first: number, bits: number): number {
    let symbol = 1
    let result = 0
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(first + symbol)
      symbol = (symbol << 1) | bit
      result |= bit << i
    }
    return result
  }

  #length(first: number, posState: number): number {
    if (this.#bit(first + CHOICE) === 0) return 2 + this.#tree(first + LOW + posState * 8, 3)
    if (this.#bit(first + CHOICE2) === 0) return 10 + this.#tree(first + MID + posState * 8, 3)
    return 18 + this.#tree(first + HIGH, 8)
  }

  #symbol(window: LzmaWindow, limit: number, dictionary: number): string | undefined {
    const posState = (window.out - window.origin) & this.#pbMask
    const state = this.#state
    if (this.#bit(IS_MATCH + state * 16 + posState) === 0) {
      const known = window.out - window.origin
      if (state >= 7 && this.#rep0 >= known) return 'refers to before its beginning'
      window.bytes[window.out] = this.#literal(window)
      window.out++
      this.#state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6
      return undefined
    }
    let length: number
    if (this.#bit(IS_REP + state) === 0) {
      this.#rep3 = this.#rep2
      this.#rep2 = this.#rep1
      this.#rep1 = this.#rep0
      length = this.#length(LEN, posState)
      this.#state = state < 7 ? 7 : 10
      this.#rep0 = this.#distance(length)
    } else {
      length = this.#repeated(posState)
    }
    const { bytes } = window
    const distance = this.#rep0 + 1
    if (distance > window.out - window.origin || distance > dictionary)
      return 'refers to before its beginning'
    const end = window.out + length
    if (end > limit) return 'holds more than its chunk'
    // Byte by byte: a match may overlap what it writes.
    for (let at = window.out; at < end; at++) bytes[at] = bytes[at - distance] as number
    window.out = end
    return undefined
  }

  /** Most of the work of most data: the range coder is in local variables here, and its steps are those of #bit. */
  #literal({ bytes, out, origin }: LzmaWindow): number {
    const probs = this.#probs
    const previous = out > origin && out > 0 ? (bytes[out - 1] as number) : 0
    const context = (((out - origin) & this.#lpMask) << this.#lc) + (previous >> (8 - this.#lc))
    const first = LITERAL + LITERAL_SIZE * context
    // While its bits are those of the byte that the last match would go on with, they have probabilities of their own.
    let other = this.#state >= 7 ? (bytes[out - this.#rep0 - 1] as number) : 0
    let isMatched = this.#state >= 7
    let range = this.#range
    let code = this.#code
    let symbol = 1
    while (symbol < 0x100) {
      const matchBit = (other >> 7) & 1
      other <<= 1
      const index = first + symbol + (isMatched ? (1 + matchBit) << 8 : 0)
      const prob = probs[index] as number
      const bound = Math.imul(range >>> 11, prob)
      if (code >>> 0 < bound >>> 0) {
        range = bound
        probs[index] = prob + ((2048 - prob) >>> 5)
        symbol <<= 1
        if (matchBit === 1) isMatched = false
      } else {
        range = (range - bound) | 0
        code = (code - bound) | 0
        probs[index] = prob - (prob >>> 5)
        symbol = (symbol << 1) | 1
        if (matchBit === 0) isMatched = false
      }
      if (range >>> 24 === 0) {
        range <<= 8
        code = (code << 8) | (this.#from[this.#at] ?? 0)
        this.#at++
      }
    }
    this.#range = range
    this.#code = code
    return symbol & 0xff
  }

  /** One of the last four distances, moved to the front. @returns the length. */
  #repeated(posState: number): number {
    const state = this.#state
    if (this.#bit(IS_REP_G0 + state) === 0) {
      if (this.#bit(IS_REP0_LONG + state * 16 + posState) === 0) {
        this.#state = state < 7 ? 9 : 11
        return 1
      }
    } else {
      let distance = this.#rep1
      if (this.#bit(IS_REP_G1 + state) !== 0) {
        distance = this.#rep2
        if (this.#bit(IS_REP_G2 + state) !== 0) {
          distance = this.#rep3
          this.#rep3 = this.#rep2
        }
        this.#rep2 = this.#rep1
      }
      this.#rep1 = this.#rep0
      this.#rep0 = distance
    }
    this.#state = state < 7 ? 8 : 11
    return this.#length(REP_LEN, posState)
  }

  #distance(length: number): number {
    const slot = this.#tree(POS_SLOT + Math.min(length - 2, 3) * 64, 6)
    if (slot < 4) return slot
    const bits = (slot >> 1) - 1
    const high = (2 | (slot & 1)) * 2 ** bits
    if (slot < 14) return high + this.#reverseTree(POS_SPECIAL + high - slot, bits)
    return high + this.#directBits(bits - 4) * 16 + this.#reverseTree(ALIGN, 4)
  }
}
