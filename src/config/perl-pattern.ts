import { DrydiskError } from '../errors.ts'

/** A Perl pattern as a JavaScript one. */
export interface PerlPattern {
  readonly source: string
  readonly flags: string
}

export interface PerlPatternOptions {
  readonly ignoreCase: boolean
  readonly multiline: boolean
  readonly dotAll: boolean
  readonly extended: boolean
}

/** The flags behind a pattern. */
export function patternOptions(flags: string): PerlPatternOptions {
  return {
    ignoreCase: flags.includes('i'),
    multiline: flags.includes('m'),
    dotAll: flags.includes('s'),
    extended: flags.includes('x'),
  }
}

/** POSIX classes, as they stand within brackets. */
const POSIX_CLASSES: Readonly<Record<string, string>> = {
  alnum: 'A-Za-z0-9',
  alpha: 'A-Za-z',
  blank: ' \\t',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '\\x21-\\x7e',
  lower: 'a-z',
  print: '\\x20-\\x7e',
  punct: '!-\\/:-@\\[-`\\{-~',
  space: '\\s',
  upper: 'A-Z',
  word: '\\w',
  xdigit: '0-9A-Fa-f',
}

/** Escapes that mean the same in both languages. */
const SHARED_ESCAPES = 'dDwWsSbBntrfv'

/**
 * Translates a Perl pattern (perlre(1)). The differences that matter for line edits: Perl's `$` also matches before a final
 * newline, its `.` excludes only `\n`, and any punctuation may be escaped. Constructs that JavaScript lacks are
 * `ERR_UNSUPPORTED`; a malformed pattern is `ERR_INVALID_ARGUMENT`.
 */
export function translatePattern(pattern: string, options: PerlPatternOptions): PerlPattern {
  const source = new PatternTranslator(pattern, options).translate()
  const flags = options.ignoreCase ? 'iu' : 'u'
  try {
    new RegExp(source, flags)
  } catch (error) {
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `edit expression: ${JSON.stringify(pattern)} is not a valid pattern: ${error instanceof Error ? error.message.replace(/^.*: /, '') : ''}`,
      { pattern },
      error,
    )
  }
  return { source, flags }
}

class PatternTranslator {
  readonly #pattern: string
  readonly #options: PerlPatternOptions
  #at = 0

  constructor(pattern: string, options: PerlPatternOptions) {
    this.#pattern = pattern
    this.#options = options
  }

  translate(): string {
    let result = ''
    while (this.#at < this.#pattern.length) result += this.#next()
    return result
  }

  #unsupported(what: string): DrydiskError {
    return new DrydiskError(
      'ERR_UNSUPPORTED',
      `edit expression: ${what} in the pattern ${JSON.stringify(this.#pattern)} is not supported`,
      { pattern: this.#pattern },
    )
  }

  #next(): string {
    const { multiline, dotAll, extended } = this.#options
    const rest = this.#pattern.slice(this.#at)
    const c = rest[0] ?? ''
    switch (c) {
      case '\\':
        return this.#escape()
      case '[':
        return this.#class()
      case '^':
        this.#at++
        // Perl's ^ with /m does not match after the newline that ends the text.
        return multiline ? '(?:^|(?<=\\n)(?=[\\s\\S]))' : '^'
      case '$':
        this.#at++
        if (/^\w/.test(rest.slice(1)) || rest[1] === '{')
          throw this.#unsupported('a variable (write a literal dollar as \\$)')
        return multiline ? '(?=\\n|$)' : '(?=\\n?$)'
      case '.':
        this.#at++
        return dotAll ? '[\\s\\S]' : '[^\\n]'
      case '(':
        return this.#group(rest)
      case '{': {
        this.#at++
        // Not a quantifier: literal in Perl, an error in JavaScript's Unicode mode.
        return /^\{\d*(,\d*)?\}/.test(rest) && rest[1] !== '}' ? this.#quantifier(rest) : '\\{'
      }
      case '}':
      case ']':
        this.#at++
        return `\\${c}`
      case '*':
      case '+':
      case '?':
        this.#at++
        return c + this.#greed()
      case '#':
        if (!extended) break
        this.#at += /^[^\n]*/.exec(rest)?.[0].length ?? 1
        return ''
    }
    this.#at++
    return extended && /\s/.test(c) ? '' : c
  }

  #quantifier(rest: string): string {
    const quantifier = /^\{(\d*)(,?)(\d*)\}/.exec(rest)
    if (!quantifier) return '\\{'
    this.#at += quantifier[0].length - 1
    const [, low = '', comma = '', high = ''] = quantifier
    return `{${low === '' ? '0' : low}${comma}${high}}${this.#greed()}`
  }

  #greed(): string {
    const c = this.#pattern[this.#at]
    if (c === '+') throw this.#unsupported('a possessive quantifier')
    if (c !== '?') return ''
    this.#at++
    return '?'
  }

  #group(rest: string): string {
    const start = /^\((?:\?(?::|=|!|<=|<!|P?<\w+>|'\w+'))?/.exec(rest)?.[0] ?? '('
    if (start === '(' && (rest[1] === '?' || rest[1] === '*'))
      throw this.#unsupported(`the group ${rest.slice(0, 4)}`)
    this.#at += start.length
    return start.replace('?P<', '?<').replace(/'(\w+)'/, '<$1>')
  }

  #escape(): string {
    const rest = this.#pattern.slice(this.#at)
    const hex = /^\\x(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{0,2}))/.exec(rest)
    if (hex) {
      this.#at += hex[0].length
      return `\\u{${hex[1] ?? (hex[2] || '0')}}`
    }
    const quoted = /^\\Q([\s\S]*?)(?:\\E|$)/.exec(rest)
    if (quoted) {
      this.#at += quoted[0].length
      return (quoted[1] ?? '').replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
    }
    const property = /^\\[pP]\{[\w=]+\}/.exec(rest)
    if (property) {
      this.#at += property[0].length
      return property[0]
    }
    const backreference = /^\\(?:([1-9]\d?)|g\{?([1-9]\d?)\}?|k[<{'](\w+)[>}'])/.exec(rest)
    if (backreference) {
      this.#at += backreference[0].length
      const number = backreference[1] ?? backreference[2]
      return number ? `(?:\\${number})` : `\\k<${backreference[3]}>`
    }
    const c = rest[1]
    if (c === undefined)
      throw new DrydiskError('ERR_INVALID_ARGUMENT', 'edit expression: the pattern ends in a backslash')
    this.#at += 2
    if (SHARED_ESCAPES.includes(c)) return `\\${c}`
    const own: Readonly<Record<string, string>> = {
      A: '^',
      z: '$',
      Z: '(?=\\n?$)',
      h: '[ \\t]',
      H: '[^ \\t]',
      V: '[^\\n\\v\\f\\r]',
      N: '[^\\n]',
      R: '(?:\\r\\n|[\\n\\v\\f\\r])',
      e: '\\x1b',
      a: '\\x07',
      E: '',
      '0': '\\0',
    }
    const translated = own[c]
    if (translated !== undefined) return translated
    if (/[A-Za-z0-9]/.test(c)) throw this.#unsupported(`\\${c}`)
    return literal(c)
  }

  #class(): string {
    let at = this.#at + 1
    let result = '['
    if (this.#pattern[at] === '^') {
      result += '^'
      at++
    }
    // A bracket first in its class is literal.
    if (this.#pattern[at] === ']') {
      result += '\\]'
      at++
    }
    while (at < this.#pattern.length && this.#pattern[at] !== ']') {
      const rest = this.#pattern.slice(at)
      const posix = /^\[:(\^?)(\w+):\]/.exec(rest)
      if (posix) {
        const members = POSIX_CLASSES[posix[2] ?? '']
        if (members === undefined || posix[1]) throw this.#unsupported(posix[0])
        result += members
        at += posix[0].length
      } else if (rest[0] === '\\') {
        const hex = /^\\x(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{1,2}))/.exec(rest)
        const c = rest[1] ?? ''
        if (hex) result += `\\u{${hex[1] ?? hex[2]}}`
        else if ('dDwWsSbntrfv'.includes(c)) result += `\\${c}`
        else if (c === 'h') result += ' \\t'
        else if (c === 'e') result += '\\x1b'
        else if (/[A-Za-z0-9]/.test(c)) throw this.#unsupported(`[\\${c}]`)
        else result += literal(c)
        at += hex ? hex[0].length : 2
      } else {
        const c = rest[0] ?? ''
        result += c === '-' ? c : literal(c)
        at++
      }
    }
    if (at >= this.#pattern.length)
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `edit expression: unclosed [ in ${JSON.stringify(this.#pattern)}`,
      )
    this.#at = at + 1
    return `${result}]`
  }
}

/** A character that means itself, in or outside of brackets, in Unicode mode. */
function literal(c: string): string {
  if (c === '-') return '\\x2d'
  return /[.*+?^${}()|[\]\\/]/.test(c) ? `\\${c}` : c
}
