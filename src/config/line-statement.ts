import { type PerlPattern, patternOptions, translatePattern } from './perl-pattern.ts'
import { readDelimited, unescapeDelimiter } from './perl-quote.ts'
import { parseReplacement, type Replacement } from './perl-replacement.ts'

/** `$_ = …`: what a line becomes, out of texts and the line as it is. */
export interface LineAssignment {
  readonly parts: readonly (Replacement | 'line')[]
}

/** What stands behind `if` or, negated, behind `unless` (perlsyn(1), "Statement Modifiers"). */
export type LineCondition =
  | { readonly pattern: PerlPattern; readonly negated: boolean }
  | { readonly line: number; readonly negated: boolean }

/**
 * Parses `$_ = TEXT` and `$_ .= TEXT`, where TEXT is strings and `$_` with dots between; undefined where something else stands at the
 * offset. A string in double quotes may hold `$_` and what the condition captured.
 */
export function parseAssignment(
  expression: string,
  from: number,
): { assignment: LineAssignment; end: number } | undefined {
  const start = /^\$_\s*(\.?)=(?![=~])\s*/.exec(expression.slice(from))
  if (!start) return undefined
  const parts: (Replacement | 'line')[] = start[1] === '.' ? ['line'] : []
  let at = from + start[0].length
  for (;;) {
    const term = parseTerm(expression, at)
    if (!term) return undefined
    parts.push(...term.parts)
    const dot = /^\s*\.(?!=)\s*/.exec(expression.slice(term.end))
    if (!dot) return { assignment: { parts }, end: term.end }
    at = term.end + dot[0].length
  }
}

function parseTerm(
  expression: string,
  at: number,
): { parts: (Replacement | 'line')[]; end: number } | undefined {
  if (/^\$_(?!\w)/.test(expression.slice(at))) return { parts: ['line'], end: at + 2 }
  const quote = expression[at]
  if (quote !== '"' && quote !== "'") return undefined
  const { body, end } = readDelimited(expression, at)
  // Within single quotes only the quote and the backslash can be escaped.
  if (quote === "'") return { parts: [parseReplacement(body.replace(/\\(['\\])/g, '$1'), true)], end }
  const parts: (Replacement | 'line')[] = []
  let text = ''
  for (let i = 0; i < body.length; i++) {
    const named = /^\$(?:_(?!\w)|\{_\})/.exec(body.slice(i))?.[0]
    if (named !== undefined) {
      parts.push(parseReplacement(text, false), 'line')
      text = ''
      i += named.length - 1
    } else if (body[i] === '\\') text += body.slice(i, ++i + 1)
    else text += body[i]
  }
  return { parts: [...parts, parseReplacement(text, false)], end }
}

/** Parses `if CONDITION` or `unless CONDITION`; undefined where neither stands at the offset. */
export function parseModifier(
  expression: string,
  from: number,
): { condition: LineCondition; end: number } | undefined {
  const word = /^\s*(if|unless)\b\s*/.exec(expression.slice(from))
  if (!word) return undefined
  const negated = word[1] === 'unless'
  const at = from + word[0].length
  // perlvar(1) has the number in `$.`, virt-edit(1) in `$lineno`.
  const number = /^(?:\$\.|\$lineno\b)\s*(==|!=)\s*(\d{1,9})(?!\w)/.exec(expression.slice(at))
  if (number)
    return {
      condition: { line: Number(number[2]), negated: negated !== (number[1] === '!=') },
      end: at + number[0].length,
    }
  const match = /^(?:(!\s*)|\$_\s*([=!])~\s*)?(m(?=[^\w\s])|(?=\/))/.exec(expression.slice(at))
  if (!match) return undefined
  const opens = at + match[0].length
  const { body, end, open } = readDelimited(expression, opens)
  const flags = /^[a-zA-Z]*/.exec(expression.slice(end))?.[0] ?? ''
  if (/[^imsxauo]/.test(flags)) return undefined
  return {
    condition: {
      pattern: translatePattern(unescapeDelimiter(body, open), patternOptions(flags)),
      negated: negated !== (match[1] !== undefined || match[2] === '!'),
    },
    end: end + flags.length,
  }
}
