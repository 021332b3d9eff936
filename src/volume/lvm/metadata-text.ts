import { DrydiskError } from '../../errors.ts'

/** Of LVM's metadata text: `key = 1`, `key = "text"`, `key = ["a", 1]` or `key { … }`. */
export type MetadataNode = MetadataValue | readonly MetadataValue[] | MetadataSection
export type MetadataValue = string | number
export type MetadataSection = ReadonlyMap<string, MetadataNode>

/** A volume group's text nests four deep. */
const MAX_DEPTH = 16
/** Sections and values: some 70,000 logical volumes. */
const MAX_NODES = 1 << 20
const QUOTE = 0x22
const HASH = 0x23
const BACKSLASH = 0x5c

/**
 * Parses metadata text: the grammar of lvm.conf(5), as `libdm/libdm-config.c` of LVM2 reads it, without what LVM never writes
 * (keys with a path, numbers in octal, words without quotes).
 * Errors: `ERR_CORRUPT` with the line.
 */
export function parseMetadataText(text: string): MetadataSection {
  const parser = new Parser(text)
  return parser.section(0)
}

export function isSection(node: MetadataNode | undefined): node is MetadataSection {
  return node instanceof Map
}

class Parser {
  readonly #text: string
  #at = 0
  #nodes = 0

  constructor(text: string) {
    // In memory LVM ends the text with a NUL; on disk there is one too.
    const end = text.indexOf('\0')
    this.#text = end < 0 ? text : text.slice(0, end)
  }

  /** Up to the closing brace, which is taken too; at depth 0 up to the end. */
  section(depth: number): MetadataSection {
    if (depth > MAX_DEPTH) throw this.#error(`sections are nested more than ${MAX_DEPTH} deep`)
    const entries = new Map<string, MetadataNode>()
    for (;;) {
      this.#skipBlanks()
      const next = this.#text[this.#at]
      if (next === undefined && depth === 0) return entries
      if (next === '}' && depth > 0) {
        this.#at++
        return entries
      }
      if (next === undefined) throw this.#error('the text ends within a section')
      const key = this.#key()
      if (entries.has(key)) throw this.#error(`${JSON.stringify(key.slice(0, 80))} is there twice`)
      this.#skipBlanks()
      const separator = this.#text[this.#at++]
      if (separator === '{') entries.set(key, this.#count(this.section(depth + 1)))
      else if (separator === '=') entries.set(key, this.#value())
      else throw this.#error(`expected = or { after ${JSON.stringify(key.slice(0, 80))}`, this.#at - 1)
    }
  }

  #key(): string {
    if (this.#text[this.#at] === '"') return this.#string()
    const [key] = this.#match(/[^\s#={}"'[\],]{1,256}/y) ?? []
    if (key === undefined) throw this.#error('expected a name')
    return key
  }

  #value(): MetadataNode {
    this.#skipBlanks()
    if (this.#text[this.#at] !== '[') return this.#count(this.#scalar())
    this.#at++
    const values: MetadataValue[] = []
    for (;;) {
      this.#skipBlanks()
      if (this.#text[this.#at] === ']') break
      values.push(this.#count(this.#scalar()))
      this.#skipBlanks()
      if (this.#text[this.#at] === ',') this.#at++
    }
    this.#at++
    return values
  }

  #scalar(): MetadataValue {
    if (this.#text[this.#at] === '"') return this.#string()
    const [number] = this.#match(/[+-]?(?:0|[1-9]\d{0,19})(?:\.\d{0,19})?(?![\w.])/y) ?? []
    if (number === undefined) throw this.#error('expected a number or a string in quotes')
    return Number(number)
  }

  /** A backslash takes the meaning of a quote or a backslash behind it (dm_unescape_double_quotes). */
  #string(): string {
    // By hand: an expression would need memory for each character of a long string.
    const start = this.#at + 1
    for (let at = start; at < this.#text.length; at++) {
      const code = this.#text.charCodeAt(at)
      if (code === BACKSLASH) at++
      else if (code === QUOTE) {
        this.#at = at + 1
        return this.#text.slice(start, at).replace(/\\(["\\])/g, '$1')
      }
    }
    throw this.#error('a string does not end')
  }

  /** Blanks as isspace(3) has them, and comments. */
  #skipBlanks(): void {
    for (; this.#at < this.#text.length; this.#at++) {
      const code = this.#text.charCodeAt(this.#at)
      if (code === HASH) {
        const end = this.#text.indexOf('\n', this.#at)
        this.#at = end < 0 ? this.#text.length - 1 : end
      } else if (code !== 32 && !(code >= 9 && code <= 13)) return
    }
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at
    const match = pattern.exec(this.#text)
    if (match === null) return undefined
    this.#at += match[0].length
    return match
  }

  #count<T>(node: T): T {
    this.#nodes++
    if (this.#nodes > MAX_NODES) throw this.#error(`there are more than ${MAX_NODES} sections and values`)
    return node
  }

  #error(what: string, at = this.#at): DrydiskError {
    let line = 1
    for (let index = this.#text.indexOf('\n'); index >= 0 && index < at; line++)
      index = this.#text.indexOf('\n', index + 1)
    return new DrydiskError('ERR_CORRUPT', `LVM metadata, line ${line}: ${what}`, { line })
  }
}
