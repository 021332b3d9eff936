import { insertLines, joinLines, type Line, removeLines, splitLines } from './text.ts'

/** One repository of a yum, dnf or zypper `.repo` file, or one section of a file of that language. */
export interface RepoSection {
  readonly id: string
  readonly values: ReadonlyMap<string, RepoValue>
  /** Values of lines that are commented out, the last of each key. */
  readonly commented: ReadonlyMap<string, RepoValue>
  /** 1-based line of the heading. */
  readonly line: number
}

/** A value in a file of repositories, and its line. */
export interface RepoValue {
  /** Lines that continue it (they begin with white space) are joined by a newline. */
  readonly value: string
  readonly line: number
}

const SECTION = /^\[([^\]]*)\]/
const ENTRY = /^([A-Za-z][\w.-]*)([ \t]*[=:][ \t]*)((?:.*[^ \t])?)[ \t]*$/
const COMMENTED = /^[#;][ \t]*([A-Za-z][\w.-]*)[ \t]*=[ \t]*((?:.*[^ \t])?)[ \t]*$/

/** Whether a line goes on with the value above; an empty one and a comment do not. */
function continues(line: Line | undefined): boolean {
  return line !== undefined && /^[ \t]+[^\s#;]/.test(line.text)
}

/** Reads every section; of equal keys the last counts. */
export function parseRepoFile(text: string): RepoSection[] {
  const lines = splitLines(text)
  const sections: (RepoSection & { values: Map<string, RepoValue>; commented: Map<string, RepoValue> })[] = []
  for (let i = 0; i < lines.length; i++) {
    const source = lines[i]?.text ?? ''
    const heading = SECTION.exec(source)
    if (heading) sections.push({ id: heading[1] ?? '', values: new Map(), commented: new Map(), line: i + 1 })
    const section = sections.at(-1)
    if (heading || !section) continue
    const comment = COMMENTED.exec(source)
    if (comment) section.commented.set(comment[1] ?? '', { value: comment[2] ?? '', line: i + 1 })
    const entry = ENTRY.exec(source)
    if (!entry) continue
    const line = i + 1
    const parts = [entry[3] ?? '']
    while (continues(lines[i + 1])) parts.push(lines[++i]?.text.trim() ?? '')
    section.values.set(entry[1] ?? '', { value: parts.filter(part => part !== '').join('\n'), line })
  }
  return sections
}

interface Range {
  readonly start: number
  readonly end: number
}

/** The lines of the last section of that name, its heading apart. */
function sectionRange(lines: readonly Line[], id: string): Range | undefined {
  const start = lines.findLastIndex(line => SECTION.exec(line.text)?.[1] === id)
  if (start < 0) return undefined
  const next = lines.findIndex((line, i) => i > start && SECTION.test(line.text))
  return { start: start + 1, end: next < 0 ? lines.length : next }
}

function findEntries(lines: readonly Line[], range: Range, key: string): Range[] {
  const found: Range[] = []
  for (let i = range.start; i < range.end; i++) {
    if (ENTRY.exec(lines[i]?.text ?? '')?.[1] !== key) continue
    let end = i + 1
    while (end < range.end && continues(lines[end])) end++
    found.push({ start: i, end })
  }
  return found
}

/**
 * Sets a key of a section: in place of its last line (and those that continue it), else after a commented-out one, else after the
 * section's last entry. A text without that section comes back as it is.
 */
export function setRepoValue(text: string, id: string, key: string, value: string): string {
  const lines = splitLines(text)
  const range = sectionRange(lines, id)
  if (!range) return text
  const [last] = findEntries(lines, range, key).reverse()
  const target = last && lines[last.start]
  if (last && target) {
    const entry = ENTRY.exec(target.text)
    if (entry?.[3] === value && last.end === last.start + 1) return text
    target.text = `${key}${entry?.[2] ?? '='}${value}`
    removeLines(lines, last.start + 1, last.end - last.start - 1)
    return joinLines(lines)
  }
  let at = range.start
  for (let i = range.start; i < range.end; i++)
    if (ENTRY.test(lines[i]?.text ?? '') || continues(lines[i])) at = i + 1
  const comment = lines.findLastIndex(
    (line, i) => i >= range.start && i < range.end && COMMENTED.exec(line.text)?.[1] === key,
  )
  insertLines(lines, comment >= 0 ? comment + 1 : at, [`${key}=${value}`])
  return joinLines(lines)
}

/** Turns a key of a section, with the lines that continue it, into comments. */
export function commentOutRepoValue(text: string, id: string, key: string): string {
  const lines = splitLines(text)
  const range = sectionRange(lines, id)
  if (!range) return text
  for (const { start, end } of findEntries(lines, range, key))
    for (let i = start; i < end; i++) {
      const line = lines[i]
      if (line) line.text = `#${line.text}`
    }
  return joinLines(lines)
}

/** Takes a key of a section out, with the lines that continue it. */
export function removeRepoValue(text: string, id: string, key: string): string {
  const lines = splitLines(text)
  const range = sectionRange(lines, id)
  if (!range) return text
  for (const { start, end } of findEntries(lines, range, key).reverse())
    removeLines(lines, start, end - start)
  return joinLines(lines)
}

/** Takes a section out, up to the next heading. */
export function removeRepoSection(text: string, id: string): string {
  const lines = splitLines(text)
  const range = sectionRange(lines, id)
  if (!range) return text
  removeLines(lines, range.start - 1, range.end - range.start + 1)
  return joinLines(lines)
}
