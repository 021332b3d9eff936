import { DrydiskError } from '../errors.ts'

/** Delimiters that close with another character (perlop(1), "Quote and Quote-like Operators"). */
export const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}', '<': '>' }

/** What stands between the delimiter at an offset and the one that closes it; `end` is behind that. */
export function readDelimited(text: string, at: number): { body: string; end: number; open: string } {
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
export function unescapeDelimiter(body: string, delimiter: string): string {
  if (CLOSING[delimiter] || delimiter === '\\') return body
  if (/[.*+?^$|()[\]{}]/.test(delimiter)) return body
  return body.replace(/\\([\s\S])/g, (whole, c: string) => (c === delimiter ? c : whole))
}
