import { insertLines, joinLines, removeLines, splitLines } from './text.ts'

/** Files of `[section]`, `key=value` and comment lines (qemu-ga.conf and other GLib key files, NetworkManager's keyfiles). */
export interface IniValue {
  readonly value: string
  /** 1-based. */
  readonly line: number
}

const SECTION = /^\s*\[([^\]]*)\]\s*$/
const ENTRY = /^(\s*)([^#;=[\s][^=]*?)(\s*=\s*)(.*?)(\s*)$/

/** The last value of a key in a section (as GLib reads key files), or `undefined`. */
export function getIniValue(text: string, section: string, key: string): IniValue | undefined {
  let current: string | undefined
  let found: IniValue | undefined
  splitLines(text).forEach((line, i) => {
    const heading = SECTION.exec(line.text)
    if (heading) current = heading[1]
    const entry = current === section ? ENTRY.exec(line.text) : undefined
    if (entry?.[2] === key) found = { value: entry[4] ?? '', line: i + 1 }
  })
  return found
}

/** Sets a key in place, else at the end of its section, else in a new section at the end of the file. */
export function setIniValue(text: string, section: string, key: string, value: string): string {
  const present = getIniValue(text, section, key)
  if (present?.value === value) return text
  const lines = splitLines(text)
  const target = present && lines[present.line - 1]
  if (target) {
    const entry = ENTRY.exec(target.text)
    target.text = `${entry?.[1] ?? ''}${key}${entry?.[3] ?? '='}${value}`
    return joinLines(lines)
  }
  const heading = lines.findLastIndex(line => SECTION.exec(line.text)?.[1] === section)
  if (heading < 0) {
    const gap = lines.length > 0 && lines[lines.length - 1]?.text.trim() !== '' ? [''] : []
    const last = lines[lines.length - 1]
    if (last?.ending === '') last.ending = '\n'
    insertLines(lines, lines.length, [...gap, `[${section}]`, `${key}=${value}`])
    return joinLines(lines)
  }
  let end = heading + 1
  for (let i = heading + 1; i < lines.length && !SECTION.test(lines[i]?.text ?? ''); i++)
    if (ENTRY.test(lines[i]?.text ?? '')) end = i + 1
  insertLines(lines, end, [`${key}=${value}`])
  return joinLines(lines)
}

/** Takes every line of a key in a section out. */
export function unsetIniValue(text: string, section: string, key: string): string {
  let result = text
  for (let found = getIniValue(result, section, key); found; found = getIniValue(result, section, key)) {
    const lines = splitLines(result)
    removeLines(lines, found.line - 1, 1)
    result = joinLines(lines)
  }
  return result
}

/** Every section heading in order, as often as it stands. */
export function iniSections(text: string): string[] {
  return splitLines(text).flatMap(line => SECTION.exec(line.text)?.[1] ?? [])
}

/** A key with its value and its section. */
export interface IniEntry extends IniValue {
  readonly section: string
  readonly key: string
}

/** Every entry of a file. */
export function iniEntries(text: string): IniEntry[] {
  const found: IniEntry[] = []
  let section = ''
  splitLines(text).forEach((line, i) => {
    const heading = SECTION.exec(line.text)
    if (heading) section = heading[1] ?? ''
    const entry = heading ? undefined : ENTRY.exec(line.text)
    if (entry) found.push({ section, key: entry[2] ?? '', value: entry[4] ?? '', line: i + 1 })
  })
  return found
}

/** Takes sections out: the heading and all up to the next one; comments right before that next one stay with it. */
export function removeIniSections(text: string, isWanted: (section: string) => boolean): string {
  const lines = splitLines(text)
  for (let i = lines.length - 1; i >= 0; i--) {
    const heading = SECTION.exec(lines[i]?.text ?? '')
    if (!heading || !isWanted(heading[1] ?? '')) continue
    let end = i + 1
    while (end < lines.length && !SECTION.test(lines[end]?.text ?? '')) end++
    while (end < lines.length && end > i + 1 && /^\s*[#;]/.test(lines[end - 1]?.text ?? '')) end--
    removeLines(lines, i, end - i)
  }
  return joinLines(lines)
}
