/** One `Key=Value` of a unit file (systemd.syntax(7)). */
export interface UnitEntry {
  readonly section: string
  readonly key: string
  readonly value: string
  /** 1-based, of its first line. */
  readonly line: number
}

/** Reads a unit file: continuation lines are joined with a space, comments between them are skipped. */
export function parseUnit(text: string): UnitEntry[] {
  const entries: UnitEntry[] = []
  let section = ''
  let joined: { text: string; line: number } | undefined
  text.split('\n').forEach((raw, i) => {
    const line = raw.replace(/\r$/, '')
    if (/^\s*[#;]/.test(line)) return
    const whole: string = joined ? `${joined.text} ${line.trim()}` : line
    const start: number = joined?.line ?? i + 1
    if (whole.endsWith('\\')) {
      joined = { text: whole.slice(0, -1).trimEnd(), line: start }
      return
    }
    joined = undefined
    const heading = /^\s*\[(.*)\]\s*$/.exec(whole)
    if (heading) section = heading[1] ?? ''
    const entry = /^\s*([A-Za-z][\w-]*)\s*=\s*((?:.*\S)?)\s*$/.exec(whole)
    if (entry) entries.push({ section, key: entry[1] ?? '', value: entry[2] ?? '', line: start })
  })
  return entries
}

/** A list setting over a unit and its drop-ins, in order: an empty value empties the list before it. */
export function unitList(entries: readonly UnitEntry[], section: string, key: string): string[] {
  let list: string[] = []
  for (const entry of entries) {
    if (entry.section !== section || entry.key !== key) continue
    list = entry.value === '' ? [] : [...list, entry.value]
  }
  return list
}

/** Words of a command line or of `Environment=`, with quotes of both kinds taken off. */
export function unitWords(value: string): string[] {
  const words: string[] = []
  for (const match of value.matchAll(/(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|((?:[^\s"'\\]|\\.)+))+/g)) {
    const word = match[0].replace(
      /"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'/g,
      (_, a?: string, b?: string) => a ?? b ?? '',
    )
    words.push(word)
  }
  return words
}
