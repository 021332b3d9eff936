import { DrydiskError } from '../errors.ts'
import { type LineAssignment, type LineCondition, parseAssignment, parseModifier } from './line-statement.ts'
import { type PerlPattern, patternOptions, translatePattern } from './perl-pattern.ts'
import { CLOSING, readDelimited, unescapeDelimiter } from './perl-quote.ts'
import { parseReplacement, type Replacement, renderReplacement } from './perl-replacement.ts'

/** One `s/PATTERN/REPLACEMENT/FLAGS` of Perl, by perlop(1), as far as line edits use it. */
export interface Substitution {
  readonly pattern: PerlPattern
  readonly replacement: Replacement
  readonly global: boolean
}

/** What is done to each line, or to those of which a condition holds. */
export interface LineStatement {
  readonly action: Substitution | LineAssignment
  readonly condition: LineCondition | undefined
}

/** A line that an edit changed. */
export interface ChangedLine {
  /** 1-based, in the text after the edit. */
  readonly line: number
  readonly before: string
  /** `null` where the line vanished. */
  readonly after: string | null
}

/**
 * Parses statements separated by `;`: substitutions, and `$_ = "…"` or `$_ .= "…"`, which take a line out (`$_ = ""`) or add lines to it.
 * Behind each may stand `if` or `unless` with a pattern or `$lineno == N`. Flags: g, i, m, s, x and the no-ops r-less a, u, o. What Perl
 * would run as code (`e`), transliterations and other statements are `ERR_UNSUPPORTED`.
 */
export function parseSubstitutions(expression: string): LineStatement[] {
  const statements: LineStatement[] = []
  let at = skipSeparators(expression, 0)
  while (at < expression.length) {
    const { action, end } = parseAction(expression, at)
    const modifier = parseModifier(expression, end)
    statements.push({ action, condition: modifier?.condition })
    const behind = modifier?.end ?? end
    const next = skipSeparators(expression, behind)
    if (next < expression.length && !/[;\n]/.test(expression.slice(behind, next)))
      throw unsupported(expression, `${JSON.stringify(expression.slice(behind))} after a statement`)
    at = next
  }
  if (statements.length === 0)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      'an edit expression is empty; expected s/PATTERN/REPLACEMENT/FLAGS',
    )
  return statements
}

function parseAction(expression: string, at: number): { action: LineStatement['action']; end: number } {
  const assignment = parseAssignment(expression, at)
  if (assignment) return { action: assignment.assignment, end: assignment.end }
  if (/^(y|tr)\W/.test(expression.slice(at)))
    throw unsupported(expression, 'a transliteration (y/// or tr///)')
  if (expression[at] !== 's' || at + 1 >= expression.length)
    throw unsupported(expression, `${JSON.stringify(expression.slice(at, at + 20))}`)
  const { substitution, end } = parseOne(expression, at + 1)
  return { action: substitution, end }
}

function skipSeparators(text: string, from: number): number {
  let at = from
  while (at < text.length && /[\s;]/.test(text[at] ?? '')) at++
  return at
}

function unsupported(expression: string, what: string): DrydiskError {
  return new DrydiskError(
    'ERR_UNSUPPORTED',
    `edit expression: ${what} is not supported; use s/PATTERN/REPLACEMENT/ with flags g, i, m, s, x or $_ = "TEXT", behind it if /PATTERN/, several separated by ";"`,
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
  return {
    substitution: {
      pattern: translatePattern(unescapeDelimiter(first.body, open), patternOptions(flags)),
      replacement: parseReplacement(unescapeDelimiter(second.body, second.open), second.open === "'"),
      global: flags.includes('g'),
    },
    end: second.end + flags.length,
  }
}

/** Runs statements over each line, its newline included, and tells which lines changed. */
export function applySubstitutions(
  text: string,
  statements: readonly LineStatement[],
): { text: string; changed: ChangedLine[] } {
  const changed: ChangedLine[] = []
  let result = ''
  let number = 1
  let lineno = 0
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start)
    const end = newline < 0 ? text.length : newline + 1
    const before = text.slice(start, end)
    let after = before
    lineno++
    for (const { action, condition } of statements) {
      const met = condition ? meets(after, lineno, condition) : NOTHING_MATCHED
      if (!met) continue
      after = 'global' in action ? substitute(after, action) : assign(after, action, met)
    }
    if (after !== before)
      changed.push({ line: number, before: chomp(before), after: after === '' ? null : chomp(after) })
    result += after
    for (let i = after.indexOf('\n'); i >= 0; i = after.indexOf('\n', i + 1)) number++
    start = end
  }
  return { text: result, changed }
}

/** What the patterns of a condition captured. */
interface Captures {
  readonly groups: readonly string[]
  readonly named: Readonly<Record<string, string | undefined>>
}

const NOTHING_MATCHED: Captures = { groups: [], named: {} }

function meets(line: string, lineno: number, condition: LineCondition): Captures | undefined {
  if ('line' in condition)
    return (lineno === condition.line) !== condition.negated ? NOTHING_MATCHED : undefined
  const match = new RegExp(condition.pattern.source, condition.pattern.flags).exec(line)
  if ((match !== null) === condition.negated) return undefined
  return match ? { groups: match.map(group => group ?? ''), named: match.groups ?? {} } : NOTHING_MATCHED
}

function assign(line: string, { parts }: LineAssignment, { groups, named }: Captures): string {
  return parts.map(part => (part === 'line' ? line : renderReplacement(part, groups, named))).join('')
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
