import { insertLines, joinLines, type Line, removeLines, splitLines } from './text.ts'

/** Keywords that begin a stanza (interfaces(5)); `allow-*` too. Anything else is an option of the stanza above. */
const STANZA =
  /^(auto|iface|mapping|rename|source|source-directory|source-dir|no-auto-down|no-scripts|template|bridge|bond|allow-\S+)$/

/** A stanza of interfaces(5). */
export interface InterfacesStanza {
  /** `iface`, `auto`, `allow-hotplug`, `source`, … */
  readonly keyword: string
  readonly words: readonly string[]
  readonly options: readonly InterfacesOption[]
  /** 1-based, of its first line. */
  readonly line: number
}

/** An option in a stanza of interfaces(5). */
export interface InterfacesOption {
  readonly name: string
  readonly value: string
  readonly line: number
}

interface LogicalLine {
  readonly text: string
  /** Index of the first and the number of physical lines. */
  readonly first: number
  readonly count: number
}

/** A line that ends in a backslash goes on with the next; comments have lines of their own. */
function logicalLines(lines: readonly Line[]): LogicalLine[] {
  const found: LogicalLine[] = []
  for (let i = 0; i < lines.length; i++) {
    const first = i
    let text = lines[i]?.text ?? ''
    if (/^\s*#/.test(text)) continue
    while (text.endsWith('\\') && i + 1 < lines.length)
      text = `${text.slice(0, -1)} ${lines[++i]?.text ?? ''}`
    if (text.trim() !== '') found.push({ text: text.trim(), first, count: i - first + 1 })
  }
  return found
}

/** Reads /etc/network/interfaces, of ifupdown, ifupdown-ng and BusyBox. */
export function parseInterfaces(text: string): InterfacesStanza[] {
  const stanzas: (InterfacesStanza & { options: InterfacesOption[] })[] = []
  for (const { text: line, first } of logicalLines(splitLines(text))) {
    const [keyword = '', ...words] = line.split(/\s+/)
    if (STANZA.test(keyword)) stanzas.push({ keyword, words, options: [], line: first + 1 })
    else
      stanzas
        .at(-1)
        ?.options.push({ name: keyword, value: line.slice(keyword.length).trim(), line: first + 1 })
  }
  return stanzas
}

/** Changes `iface NAME FAMILY METHOD` on one line to another method. */
export function setInterfaceMethod(text: string, line: number, method: string): string {
  const lines = splitLines(text)
  const target = lines[line - 1]
  if (target) target.text = target.text.replace(/^(\s*iface\s+\S+\s+\S+\s+)\S+/, `$1${method}`)
  return joinLines(lines)
}

/** Takes the options (with their continuation lines) that begin on these lines out. */
export function removeInterfaceOptions(text: string, at: readonly number[]): string {
  const lines = splitLines(text)
  const doomed = logicalLines(lines).filter(line => at.includes(line.first + 1))
  for (const { first, count } of doomed.reverse()) removeLines(lines, first, count)
  return joinLines(lines)
}

/** Adds lines at the end, with an empty one before them. */
export function appendInterfaces(text: string, added: readonly string[]): string {
  const lines = splitLines(text)
  const gap = lines.length > 0 && lines.at(-1)?.text.trim() !== '' ? [''] : []
  const last = lines.at(-1)
  if (last?.ending === '') last.ending = '\n'
  insertLines(lines, lines.length, [...gap, ...added])
  return joinLines(lines)
}
