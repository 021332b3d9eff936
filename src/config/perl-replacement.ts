import { DrydiskError } from '../errors.ts'

/** The right side of a Perl `s///`: literal text, captures, and case changes (perlop(1), "Quote and Quote-like Operators"). */
export type Replacement = readonly ReplacementPart[]

/** One piece of it: text, a capture by number or name, or where the case of what follows changes. */
export type ReplacementPart =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'group'; readonly group: number }
  | { readonly kind: 'named'; readonly name: string }
  | { readonly kind: 'case'; readonly change: 'U' | 'L' | 'u' | 'l' | 'E' }

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  f: '\f',
  a: '\x07',
  e: '\x1b',
  '0': '\0',
}

/** `verbatim`: the delimiter is `'`, so nothing is interpolated. */
export function parseReplacement(source: string, verbatim: boolean): Replacement {
  if (verbatim) return [{ kind: 'text', text: source }]
  const parts: ReplacementPart[] = []
  const text = (value: string) => parts.push({ kind: 'text', text: value })
  for (let at = 0; at < source.length; ) {
    const rest = source.slice(at)
    const group = /^(?:\$(?:(\d+)|\{(\d+)\})|\\([1-9]))/.exec(rest)
    const named = /^\$\+\{(\w+)\}/.exec(rest)
    const hex = /^\\x(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{1,2}))/.exec(rest)
    if (group) {
      parts.push({ kind: 'group', group: Number(group[1] ?? group[2] ?? group[3]) })
      at += group[0].length
    } else if (named) {
      parts.push({ kind: 'named', name: named[1] ?? '' })
      at += named[0].length
    } else if (hex) {
      const code = Number.parseInt(hex[1] ?? hex[2] ?? '', 16)
      if (code > 0x10ffff)
        throw new DrydiskError('ERR_INVALID_ARGUMENT', `edit expression: no character ${hex[0]}`)
      text(String.fromCodePoint(code))
      at += hex[0].length
    } else if (rest.startsWith('$&')) {
      parts.push({ kind: 'group', group: 0 })
      at += 2
    } else if (/^\$[A-Za-z_{]/.test(rest))
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `edit expression: the replacement names the variable ${JSON.stringify(rest.split(/\W/, 2).join('$'))}; write a literal dollar as \\$`,
      )
    else if (rest[0] === '\\' && rest.length > 1) {
      const c = rest[1] ?? ''
      if (c === 'U' || c === 'L' || c === 'u' || c === 'l' || c === 'E')
        parts.push({ kind: 'case', change: c })
      else text(ESCAPES[c] ?? c)
      at += 2
    } else {
      text(rest[0] ?? '')
      at++
    }
  }
  return parts
}

export function renderReplacement(
  replacement: Replacement,
  captures: readonly string[],
  named: Readonly<Record<string, string | undefined>>,
): string {
  let result = ''
  let lasting: 'U' | 'L' | undefined
  let next: 'u' | 'l' | undefined
  for (const part of replacement) {
    if (part.kind === 'case') {
      if (part.change === 'E') lasting = undefined
      else if (part.change === 'U' || part.change === 'L') lasting = part.change
      else next = part.change
      continue
    }
    let text =
      part.kind === 'text'
        ? part.text
        : part.kind === 'group'
          ? (captures[part.group] ?? '')
          : (named[part.name] ?? '')
    if (lasting === 'U') text = text.toUpperCase()
    if (lasting === 'L') text = text.toLowerCase()
    if (next && text !== '') {
      const first = next === 'u' ? text[0]?.toUpperCase() : text[0]?.toLowerCase()
      text = (first ?? '') + text.slice(1)
      next = undefined
    }
    result += text
  }
  return result
}
