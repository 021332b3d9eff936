/**
 * The part of PCRE that policies write their paths in (pcre2pattern(3)): literals, classes, groups, alternation and
 * quantifiers, over bytes, with DOTALL. What has no place in a linear-time matcher (back references, look-around,
 * possessive quantifiers, assertions in the middle) gives `undefined`.
 */
export type PatternNode =
  /** One byte out of a set: 256 flags. */
  | { readonly kind: 'set'; readonly set: Uint8Array }
  | { readonly kind: 'sequence'; readonly nodes: readonly PatternNode[] }
  | { readonly kind: 'choice'; readonly nodes: readonly PatternNode[] }
  | { readonly kind: 'repeat'; readonly node: PatternNode; readonly min: number; readonly max: number }

/** A policy has patterns of up to a few hundred bytes. */
const MAX_LENGTH = 4096
const MAX_DEPTH = 64
/** The limit of PCRE itself. */
const MAX_COUNT = 65535

class Unsupported extends Error {}

/** The tree of a pattern, or `undefined` where it is no pattern or one that goes beyond the subset. */
export function parsePattern(text: string): PatternNode | undefined {
  if (text.length > MAX_LENGTH) return undefined
  try {
    const parser = new Parser(text)
    const node = parser.choice(0)
    return parser.atEnd ? node : undefined
  } catch (error) {
    if (error instanceof Unsupported) return undefined
    throw error
  }
}

/**
 * The text that every match begins with, one character per byte, and whether it is all there is to match: told without parsing, as
 * most patterns of a policy are never asked. Not for a pattern with a choice outside of all groups.
 */
export function literalPrefix(pattern: string): { prefix: string; whole: boolean } {
  let prefix = ''
  for (let i = 0; i < pattern.length; i++) {
    let char = pattern.charAt(i)
    if ('*?+{'.includes(char)) return { prefix: prefix.slice(0, -1), whole: false }
    if ('.^$|[()'.includes(char)) return { prefix, whole: false }
    if (char === '\\') {
      char = pattern.charAt(++i)
      if (char === '' || /[A-Za-z0-9]/.test(char)) return { prefix, whole: false }
    }
    prefix += char
  }
  return { prefix, whole: true }
}

const range = (...pairs: readonly (readonly [number, number])[]): Uint8Array => {
  const set = new Uint8Array(256)
  for (const [low, high] of pairs) set.fill(1, low, high + 1)
  return set
}
const complement = (set: Uint8Array): Uint8Array => set.map(flag => 1 - flag)
const SINGLES = Array.from({ length: 256 }, (_, byte) => range([byte, byte]))
const single = (byte: number): Uint8Array => SINGLES[byte] ?? range([byte, byte])

const ANY = range([0, 255])
const DIGIT = range([0x30, 0x39])
const SPACE = range([0x09, 0x0d], [0x20, 0x20])
const LOWER = range([0x61, 0x7a])
const UPPER = range([0x41, 0x5a])
const ALPHA = range([0x41, 0x5a], [0x61, 0x7a])
const ALNUM = range([0x30, 0x39], [0x41, 0x5a], [0x61, 0x7a])
const WORD = range([0x30, 0x39], [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a])

/** In the C locale, as pcre2 has them without tables of its own. */
const NAMED: Readonly<Record<string, Uint8Array>> = {
  alnum: ALNUM,
  alpha: ALPHA,
  ascii: range([0, 0x7f]),
  blank: range([0x09, 0x09], [0x20, 0x20]),
  cntrl: range([0, 0x1f], [0x7f, 0x7f]),
  digit: DIGIT,
  graph: range([0x21, 0x7e]),
  lower: LOWER,
  print: range([0x20, 0x7e]),
  punct: range([0x21, 0x2f], [0x3a, 0x40], [0x5b, 0x60], [0x7b, 0x7e]),
  space: SPACE,
  upper: UPPER,
  word: WORD,
  xdigit: range([0x30, 0x39], [0x41, 0x46], [0x61, 0x66]),
}

const CLASS_ESCAPES: Readonly<Record<string, Uint8Array>> = {
  d: DIGIT,
  D: complement(DIGIT),
  s: SPACE,
  S: complement(SPACE),
  w: WORD,
  W: complement(WORD),
}
const BYTE_ESCAPES: Readonly<Record<string, number>> = { a: 7, e: 0x1b, f: 0x0c, n: 0x0a, r: 0x0d, t: 0x09 }

class Parser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  get atEnd(): boolean {
    return this.#at === this.#text.length
  }

  #peek(offset = 0): string {
    return this.#text.charAt(this.#at + offset)
  }

  #eat(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false
    this.#at += text.length
    return true
  }

  choice(depth: number): PatternNode {
    if (depth > MAX_DEPTH) throw new Unsupported()
    const nodes = [this.#sequence(depth)]
    while (this.#eat('|')) nodes.push(this.#sequence(depth))
    // libselinux puts ^ and $ around the text, which with a choice outside of all groups anchor its two ends only.
    if (depth === 0 && nodes.length > 1) throw new Unsupported()
    return nodes.length === 1 ? (nodes[0] as PatternNode) : { kind: 'choice', nodes }
  }

  #sequence(depth: number): PatternNode {
    const nodes: PatternNode[] = []
    while (!this.atEnd && this.#peek() !== '|' && this.#peek() !== ')') {
      if (depth === 0 && this.#at === 0 && this.#eat('^')) continue
      if (depth === 0 && this.#at === this.#text.length - 1 && this.#eat('$')) continue
      nodes.push(this.#quantified(depth))
    }
    return { kind: 'sequence', nodes }
  }

  #quantified(depth: number): PatternNode {
    let node = this.#atom(depth)
    const count = this.#quantifier()
    if (!count) return node
    node = { kind: 'repeat', node, ...count }
    // A lazy quantifier matches the same texts from end to end; a possessive one does not.
    this.#eat('?')
    if (this.#peek() === '+' || this.#quantifier()) throw new Unsupported()
    return node
  }

  #quantifier(): { min: number; max: number } | undefined {
    if (this.#eat('*')) return { min: 0, max: Infinity }
    if (this.#eat('+')) return { min: 1, max: Infinity }
    if (this.#eat('?')) return { min: 0, max: 1 }
    const braces = /^\{(\d{1,6})(,(\d{0,6}))?\}/.exec(this.#text.slice(this.#at, this.#at + 16))
    if (!braces) return undefined
    this.#at += braces[0].length
    const min = Number(braces[1])
    const max = braces[2] === undefined ? min : braces[3] === '' ? Infinity : Number(braces[3])
    if (min > MAX_COUNT || max < min || (max > MAX_COUNT && max !== Infinity)) throw new Unsupported()
    return { min, max }
  }

  #atom(depth: number): PatternNode {
    const char = this.#peek()
    this.#at++
    switch (char) {
      case '.':
        return { kind: 'set', set: ANY }
      case '(': {
        if (this.#peek() === '*' || (this.#peek() === '?' && !this.#eat('?:'))) throw new Unsupported()
        const inner = this.choice(depth + 1)
        if (!this.#eat(')')) throw new Unsupported()
        return inner
      }
      case '[':
        return { kind: 'set', set: this.#class() }
      case '\\':
        return { kind: 'set', set: this.#escape() }
      case '*':
      case '+':
      case '?':
      case '^':
      case '$':
        throw new Unsupported()
      default:
        return { kind: 'set', set: single(char.charCodeAt(0)) }
    }
  }

  #escape(): Uint8Array {
    const char = this.#peek()
    const escaped = CLASS_ESCAPES[char]
    if (escaped) {
      this.#at++
      return escaped
    }
    return single(this.#byteEscape())
  }

  #byteEscape(): number {
    const char = this.#peek()
    this.#at++
    const byte = BYTE_ESCAPES[char]
    if (byte !== undefined) return byte
    if (char === '' || /[A-Za-z0-9]/.test(char)) throw new Unsupported()
    return char.charCodeAt(0)
  }

  #class(): Uint8Array {
    const negated = this.#eat('^')
    const set = new Uint8Array(256)
    for (let first = true; first || this.#peek() !== ']'; first = false) {
      if (this.atEnd) throw new Unsupported()
      const low = this.#classItem(set)
      // A hyphen is itself at either end of the class, and after a class in the class.
      if (low === undefined || this.#peek() !== '-' || this.#peek(1) === ']') continue
      this.#at++
      if (this.atEnd) throw new Unsupported()
      const high = this.#classItem(set)
      if (high === undefined || high < low) throw new Unsupported()
      set.fill(1, low, high + 1)
    }
    this.#at++
    return negated ? complement(set) : set
  }

  /** Adds one item of a class; its byte where it may begin a range. */
  #classItem(set: Uint8Array): number | undefined {
    const named = /^\[:(\^?)([a-z]+):\]/.exec(this.#text.slice(this.#at, this.#at + 12))
    if (named) {
      const members = NAMED[named[2] ?? '']
      if (!members) throw new Unsupported()
      this.#at += named[0].length
      for (const [byte, flag] of (named[1] ? complement(members) : members).entries()) if (flag) set[byte] = 1
      return undefined
    }
    const char = this.#peek()
    this.#at++
    let byte = char.charCodeAt(0)
    if (char === '\\') {
      const escaped = CLASS_ESCAPES[this.#peek()]
      if (escaped) {
        this.#at++
        for (const [member, flag] of escaped.entries()) if (flag) set[member] = 1
        return undefined
      }
      if (this.#peek() === 'b') {
        this.#at++
        byte = 8
      } else byte = this.#byteEscape()
    }
    set[byte] = 1
    return byte
  }
}
