import { DrydiskError } from '../errors.ts'
import { type PerlPattern, translatePattern } from './perl-pattern.ts'
import { parseReplacement, type Replacement, renderReplacement } from './perl-replacement.ts'

/** One `s/PATTERN/REPLACEMENT/FLAGS` of Perl, by perlop(1), as far as line edits use it. */
export interface Substitution {
  readonly pattern: PerlPattern
  readonly replacement: Replacement
  readonly global: boolean
}

/** A line that an edit changed. */
export interface ChangedLine {
  /** 1-based, in the text after the edit. */
  readonly line: number
  readonly before: string
  /** `null` where the line vanished. */
  readonly after: string | null
}

const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}', '<': '>' }

/**
 * Parses substitutions separated by `;`. Flags: g, i, m, s, x and the no-ops r-less a, u, o. What Perl would run as
 * code (`e`), transliterations and other statements are `ERR_UNSUPPORTED`.
 */
export function parseSubstitutions(expression: string): Substitution[] {
  const substitutions: Substitution[] = []
  let at = skipSeparators(expression, 0)
  while (at < expression.length) {
    if (/^(y|tr)\W/.test(expression.slice(at)))
      throw unsupported(expression, 'a transliteration (y/// or tr///)')
    if (expression[at] !== 's' || at + 1 >= expression.length)
      throw unsupported(expression, `${JSON.stringify(expression.slice(at, at + 20))}`)
    const parsed = parseOne(expression, at + 1)
    substitutions.push(parsed.substitution)
    const next = skipSeparators(expression, parsed.end)
    if (next < expression.length && !/[;\n]/.test(expression.slice(parsed.end, next)))
      throw unsupported(expression, `${JSON.stringify(expression.slice(parsed.end))} after a substitution`)
    at = next
  }
  if (substitutions.length === 0)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      'an edit expression is empty; expected s/PATTERN/REPLACEMENT/FLAGS',
    )
  return substitutions
}

function skipSeparators(text: string, from: number): number {
  let at = from
  while (at < text.length && /[\s;]/.test(text[at] ?? '')) at++
  return at
}

function unsupported(expression: string, what: string): DrydiskError {
  return new DrydiskError(
    'ERR_UNSUPPORTED',
    `edit expression: ${what} is not supported; use s/PATTERN/REPLACEMENT/ with flags g, i, m, s, x, several separated by ";"`,
    { expression },
  )
}

function parseOne(expression: string, from: number): { substitution: Substitution; end: number } {
  let at = from
  // perlop: with white space before it, a delimiter may not be `#`.
  if (/\s/.test(expression[at] ?? '')) {
    while (/\s/.test(expression[at] ?? '')) at++
    if (expression[at] === '#') throw unsupported(expression, 'a comment')
  }
  const open = expression[at] ?? ''
  if (/[\w\s]/.test(open) || open === '') throw unsupported(expression, JSON.stringify(expression))
  const first = readDelimited(expression, at)
  let second: { body: string; end: number; open: string }
  if (CLOSING[open]) {
    let next = first.end
    while (/\s/.test(expression[next] ?? '')) next++
    second = readDelimited(expression, next)
  } else second = readDelimited(expression, first.end - 1)

  const flags = /^[a-zA-Z]*/.exec(expression.slice(second.end))?.[0] ?? ''
  for (const flag of flags)
    if (!'gimsxauo'.includes(flag))
      throw unsupported(expression, flag === 'e' ? 'flag e (a replacement that is code)' : `flag ${flag}`)
  const options = {
    ignoreCase: flags.includes('i'),
    multiline: flags.includes('m'),
    dotAll: flags.includes('s'),
    extended: flags.includes('x'),
  }
  return {
    substitution: {
      pattern: translatePattern(unescapeDelimiter(first.body, open), options),
      replacement: parseReplacement(unescapeDelimiter(second.body, second.open), second.open === "'"),
      global: flags.includes('g'),
    },
    end: second.end + flags.length,
  }
}

function readDelimited(text: string, at: number): { body: string; end: number; open: string } {
  const open = text[at] ?? ''
  const close = CLOSING[open] ?? open
  let depth = 1
  for (let i = at + 1; i < text.length; i++) {
    const c = text[i]
    if (c === '\\') i++
    else if (c === close) {
      if (--depth === 0) return { body: text.slice(at + 1, i), end: i + 1, open }
    } else if (c === open) depth++
  }
  throw new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    `edit expression ${JSON.stringify(text)}: the closing ${JSON.stringify(close)} is missing`,
    { expression: text },
  )
}

/** `\/` within `s/…/…/` is a plain slash; where the delimiter is a metacharacter, Perl too drops only the backslash. */
function unescapeDelimiter(body: string, delimiter: string): string {
  if (CLOSING[delimiter] || delimiter === '\\') return body
  if (/[.*+?^$|()[\]{}]/.test(delimiter)) return body
  return body.replace(/\\([\s\S])/g, (whole, c: string) => (c === delimiter ? c : whole))
}

/** Runs substitutions over each line, its newline included, and tells which lines changed. */
export function applySubstitutions(
  text: string,
  substitutions: readonly Substitution[],
): { text: string; changed: ChangedLine[] } {
  const changed: ChangedLine[] = []
  let result = ''
  let number = 1
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start)
    const end = newline < 0 ? text.length : newline + 1
    const before = text.slice(start, end)
    let after = before
    for (const substitution of substitutions) after = substitute(after, substitution)
    if (after !== before)
      changed.push({ line: number, before: chomp(before), after: after === '' ? null : chomp(after) })
    result += after
    for (let i = after.indexOf('\n'); i >= 0; i = after.indexOf('\n', i + 1)) number++
    start = end
  }
  return { text: result, changed }
}

function substitute(line: string, { pattern, replacement, global }: Substitution): string {
  const regexp = new RegExp(pattern.source, `${pattern.flags}${global ? 'g' : ''}`)
  return line.replace(regexp, (...args: unknown[]) => {
    const groups = typeof args[args.length - 1] === 'object' ? (args.pop() as Record<string, string>) : {}
    const captures = args.slice(0, -2).map(value => (typeof value === 'string' ? value : ''))
    return renderReplacement(replacement, captures, groups)
  })
}

function chomp(line: string): string {
  return line.replace(/\r?\n$/, '')
}
