/**
 * The assignments of os-release(5): shell syntax without expansion. A line that is none is passed over; the last
 * assignment of a name wins.
 */
export function parseOsRelease(text: string): Map<string, string> {
  const out = new Map<string, string>()
  for (const line of text.split('\n')) {
    // Not `(.*?)\s*$`: its time grows with the square of the blanks of a hostile line.
    const match = /^\s*([A-Za-z_][A-Za-z0-9_]*)=((?:.*\S)?)\s*$/.exec(line)
    if (match?.[1]) out.set(match[1], unquote(match[2] ?? ''))
  }
  return out
}

function unquote(value: string): string {
  const double = /^"(.*)"$/s.exec(value)
  if (double) return (double[1] ?? '').replace(/\\(["$`\\])/g, '$1')
  const single = /^'(.*)'$/s.exec(value)
  return single ? (single[1] ?? '') : value.replace(/\\(.)/g, '$1')
}
