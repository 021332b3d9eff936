import { DrydiskError } from '../errors.ts'
import { lineNumberAt } from './text.ts'

/**
 * A piece of a shell word (POSIX.1-2017, Shell Command Language, 2.2 and 2.3). An expansion keeps its source text: nothing is
 * ever executed.
 */
export type WordPiece =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'expansion'; readonly source: string; readonly quoted: boolean }

/** A word of a shell script: characters `start` to `end` of the text. */
export interface ShellWord {
  readonly start: number
  readonly end: number
  readonly pieces: readonly WordPiece[]
}

/** Characters that end an unquoted word. */
const METACHARACTERS = ' \t\n;&|()<>'

/** Nested substitutions deeper than this are no configuration file. */
const MAX_NESTING = 50

/**
 * Reads the word at `start`. A quote or substitution that the file does not close is `ERR_CORRUPT` with its line.
 */
export function readWord(text: string, start: number): ShellWord {
  const pieces: WordPiece[] = []
  let literal = ''
  let at = start
  const flush = () => {
    if (literal !== '') pieces.push({ kind: 'text', text: literal })
    literal = ''
  }
  const expansion = (end: number, quoted: boolean) => {
    flush()
    pieces.push({ kind: 'expansion', source: text.slice(at, end), quoted })
    at = end
  }

  while (at < text.length && !METACHARACTERS.includes(text[at] ?? '')) {
    const c = text[at]
    if (c === '\\') {
      const next = text[at + 1]
      if (next === '\r' && text[at + 2] === '\n') at++
      else if (next !== '\n') literal += next ?? '\\'
      at += 2
    } else if (c === "'") {
      const end = text.indexOf("'", at + 1)
      if (end < 0) throw unterminated(text, at, "'")
      literal += text.slice(at + 1, end)
      at = end + 1
    } else if (c === '"') {
      const open = at++
      while (text[at] !== '"') {
        if (at >= text.length) throw unterminated(text, open, '"')
        const end = expansionEnd(text, at)
        if (end > at) expansion(end, true)
        else if (text[at] === '\\' && '$`"\\\n'.includes(text[at + 1] ?? ' ')) {
          if (text[at + 1] !== '\n') literal += text[at + 1]
          at += 2
        } else literal += text[at++]
      }
      at++
    } else if (c === '\r' && text[at + 1] === '\n') break
    else {
      // $'…' (ANSI-C quoting) is left as an expansion; $"…" is a translated string.
      const end = text.startsWith("$'", at) ? ansiQuoteEnd(text, at) : expansionEnd(text, at)
      if (end > at) expansion(end, false)
      else {
        literal += c
        at++
      }
    }
  }
  flush()
  return { start, end: at, pieces }
}

/** The end of the expansion that starts at `at`, or `at` itself where none does. */
function expansionEnd(text: string, at: number, depth = 0): number {
  if (depth > MAX_NESTING)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `line ${lineNumberAt(text, at)}: substitutions nested too deeply`,
    )
  if (text[at] === '`') {
    for (let i = at + 1; i < text.length; i++) {
      if (text[i] === '\\') i++
      else if (text[i] === '`') return i + 1
    }
    throw unterminated(text, at, '`')
  }
  if (text[at] !== '$') return at
  const next = text[at + 1]
  if (next === '(') return balancedEnd(text, at, '(', ')', depth)
  if (next === '{') return balancedEnd(text, at, '{', '}', depth)
  // A line continuation may stand anywhere, in a name too.
  const name = /^(?:[A-Za-z_](?:\w|\\\r?\n(?=\w))*|[0-9?#@*!$-])/.exec(text.slice(at + 1, at + 200))
  return name ? at + 1 + name[0].length : at
}

function balancedEnd(text: string, at: number, open: string, close: string, depth: number): number {
  let level = 0
  for (let i = at + 1; i < text.length; ) {
    const c = text[i]
    if (c === '\\') i += 2
    else if (c === "'") {
      const end = text.indexOf("'", i + 1)
      if (end < 0) break
      i = end + 1
    } else if (c === '"') {
      i++
      while (i < text.length && text[i] !== '"') {
        const end = expansionEnd(text, i, depth + 1)
        if (end > i) i = end
        else i += text[i] === '\\' ? 2 : 1
      }
      i++
    } else if (c === '`') i = expansionEnd(text, i, depth + 1)
    else {
      if (c === open) level++
      if (c === close && --level === 0) return i + 1
      i++
    }
  }
  throw unterminated(text, at, close)
}

function ansiQuoteEnd(text: string, at: number): number {
  for (let i = at + 2; i < text.length; i++) {
    if (text[i] === '\\') i++
    else if (text[i] === "'") return i + 1
  }
  throw unterminated(text, at, "'")
}

function unterminated(text: string, at: number, what: string): DrydiskError {
  const line = lineNumberAt(text, at)
  return new DrydiskError(
    'ERR_CORRUPT',
    `line ${line}: what opens here is never closed (expected ${what}); a shell would refuse the file as well`,
    { line },
  )
}

export type QuoteStyle = 'bare' | 'single' | 'double'

/** How a word is quoted in the source, so that an edit can keep to it. */
export function quoteStyle(source: string): QuoteStyle {
  if (/^'[^']*'$/.test(source)) return 'single'
  return /["'\\$`]/.test(source) ? 'double' : 'bare'
}

/** Source text for pieces, in the given style where that can say it, else in double quotes. */
export function renderWord(pieces: readonly WordPiece[], style: QuoteStyle): string {
  const literal = pieces.every(piece => piece.kind === 'text')
  const whole = pieces.map(piece => (piece.kind === 'text' ? piece.text : piece.source)).join('')
  if (literal && style === 'bare' && /^[\w@%+=:,./-]+$/.test(whole)) return whole
  if (literal && style === 'single' && !whole.includes("'")) return `'${whole}'`
  if (whole === '') return style === 'bare' ? '' : style === 'single' ? "''" : '""'
  let source = ''
  let open = false
  const quote = (wanted: boolean) => {
    if (open !== wanted) source += '"'
    open = wanted
  }
  for (const piece of pieces) {
    // Within double quotes a backslash or quote in a substitution can mean something else: keep it as it stood.
    quote(piece.kind === 'text' || piece.quoted)
    source += piece.kind === 'text' ? piece.text.replace(/[$`"\\]/g, '\\$&') : piece.source
  }
  quote(false)
  return source
}

/** A word for a command line that a person may paste: as it is where the shell takes it so, else in single quotes. */
export function quoteWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
