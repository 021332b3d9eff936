/**
 * GRUB's script language (the GRUB manual, "Writing full configuration files directly"), as far as generated grub.cfg files use
 * it: statements, quoting, variables and tests. Nothing is run that has an effect beyond variables.
 */
export interface GrubStatement {
  /** As written, without what ends it. */
  readonly text: string
  readonly start: number
  readonly end: number
  /** 1-based. */
  readonly line: number
  /** Ended by `{`: a menu entry, a submenu, a function. */
  readonly opens: boolean
}

/**
 * Splits at newlines, `;`, `{` and `}` outside of quotes; `}` is a statement of its own. A quote ends with its line, so that one that is
 * never closed does not swallow the file.
 */
export function* grubStatements(text: string): Generator<GrubStatement> {
  let start = -1
  let startLine = 1
  let line = 1
  let quote = ''
  const statement = (end: number, opens: boolean): GrubStatement => ({
    text: text.slice(start, end),
    start,
    end,
    line: startLine,
    opens,
  })
  for (let at = 0; at <= text.length; at++) {
    const c = text[at] ?? '\n'
    const wordStart = at === 0 || /[\s;{}]/.test(text[at - 1] ?? '')
    if (c === '\\' && quote !== "'" && at + 1 < text.length) {
      if (start < 0) [start, startLine] = [at, line]
      at++
      if (text[at] === '\n') line++
    } else if (c === '\n' || (quote === '' && (c === ';' || (c === '#' && wordStart)))) {
      if (start >= 0) yield statement(c === '\n' && text[at - 1] === '\r' ? at - 1 : at, false)
      start = -1
      if (c === '#') {
        const newline = text.indexOf('\n', at)
        at = newline < 0 ? text.length : newline
      }
      if (text[at] === '\n') line++
      quote = ''
    } else if (quote !== '') {
      if (c === quote) quote = ''
    } else if (c === '"' || c === "'") {
      if (start < 0) [start, startLine] = [at, line]
      quote = c
    } else if (c === '$' && text[at + 1] === '{') {
      if (start < 0) [start, startLine] = [at, line]
      const close = /^\$\{[^}\n]*\}/.exec(text.slice(at, at + 200))
      at += close ? close[0].length - 1 : 1
    } else if ((c === '{' || c === '}') && wordStart) {
      if (start >= 0) yield statement(at, c === '{')
      if (c === '}') yield { text: '}', start: at, end: at + 1, line, opens: false }
      start = -1
    } else if (start < 0 && !/\s/.test(c)) {
      ;[start, startLine] = [at, line]
    }
  }
}

/** Variables of a GRUB script, by name. */
export type GrubVariables = ReadonlyMap<string, string>

/** A value that doubles with each line (`set a=$a$a`) ends here. */
const MAX_VALUE = 1 << 16

/** Puts values for `$name` and `${name}`; a variable that is not set is empty, as in GRUB. */
export function expandGrub(text: string, variables: GrubVariables): string {
  return text
    .replace(/\$(?:\{(\w+|\?)\}|(\w+|\?))/g, (_, a?: string, b?: string) => variables.get(a ?? b ?? '') ?? '')
    .slice(0, MAX_VALUE)
}

/** Words of a statement, with quotes taken off and variables put in. */
export function grubWords(text: string, variables: GrubVariables): string[] {
  const words: string[] = []
  const word = /(?:"((?:[^"\\]|\\[\s\S])*)"?|'([^']*)'?|\\([\s\S])|\$\{[^}]{0,100}\}|[^\s"'\\])+/g
  for (const match of text.matchAll(word)) {
    let value = ''
    for (const part of match[0].matchAll(
      /"((?:[^"\\]|\\[\s\S])*)"?|'([^']*)'?|\\([\s\S])|((?:\$\{[^}]{0,100}\}|[^"'\\])+)/g,
    )) {
      if (part[1] !== undefined) value += expandGrub(part[1].replace(/\\(["\\])/g, '$1'), variables)
      else if (part[4] !== undefined) value += expandGrub(part[4], variables)
      else value += part[2] ?? (part[3] === '\n' ? '' : (part[3] ?? ''))
    }
    words.push(value.slice(0, MAX_VALUE))
  }
  return words
}

/**
 * What follows `if`: `[ … ]` and `test` with `-z`, `-n`, `=`, `==`, `!=`, `-s`, `-f`, `-e`, `-d`, `!`, `-a`, `-o`. Files are asked of
 * `exists`; any other command fails, as one does whose module is not there.
 */
export function grubCondition(
  text: string,
  variables: GrubVariables,
  exists: (path: string) => boolean,
): boolean {
  const words = grubWords(text, variables)
  if (words[0] === 'true') return true
  if (words[0] === '[' && words[words.length - 1] === ']') return test(words.slice(1, -1), exists)
  return words[0] === 'test' && test(words.slice(1), exists)
}

function test(words: readonly string[], exists: (path: string) => boolean): boolean {
  const or = words.indexOf('-o')
  if (or > 0) return test(words.slice(0, or), exists) || testAll(words.slice(or + 1), exists)
  return testAll(words, exists)
}

/** Terms that `-a` joins; `-o` within them was split off before. */
function testAll(words: readonly string[], exists: (path: string) => boolean): boolean {
  let result = true
  let rest = words
  for (;;) {
    const and = rest.indexOf('-a')
    result = testOne(and > 0 ? rest.slice(0, and) : rest, exists) && result
    if (and <= 0) return result
    rest = rest.slice(and + 1)
  }
}

function testOne(words: readonly string[], exists: (path: string) => boolean): boolean {
  const [first = '', second = '', third = ''] = words
  if (first === '!' && words.length > 1) return !testOne(words.slice(1), exists)
  if (words.length === 3) {
    if (second === '=' || second === '==') return first === third
    if (second === '!=') return first !== third
  }
  if (words.length === 2 || (words.length === 1 && first === '-n')) {
    if (first === '-z') return second === ''
    if (first === '-n') return second !== ''
    if (/^-[sfed]$/.test(first)) return exists(second)
  }
  return words.length === 1 && first !== '' && first !== '-z'
}
