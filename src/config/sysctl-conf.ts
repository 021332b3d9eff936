import { appendLine, joinLines, splitLines } from './text.ts'

/** A setting in a file of sysctl.d(5). */
export interface SysctlLine {
  /** With dots between its parts, slashes within them. */
  readonly key: string
  readonly value: string
  /** 1-based. */
  readonly line: number
}

/**
 * One spelling of a key: where the first of its separators is a slash, slashes and dots change places (sysctl.d(5)), as in
 * `net/ipv4/conf/enp3s0.200/forwarding`.
 */
export function sysctlKey(text: string): string {
  const first = /[./]/.exec(text)?.[0]
  return first === '/' ? text.replace(/[./]/g, c => (c === '/' ? '.' : '/')) : text
}

/** `key = value` lines; a dash before the key only says that it may be missing. Globs set what nothing else sets: they are left out. */
export function sysctlLines(text: string): SysctlLine[] {
  const found: SysctlLine[] = []
  splitLines(text).forEach((line, i) => {
    const [, key, value] = /^\s*(?:-\s*)?([^\s#;=][^\s=]*)\s*=\s*((?:.*\S)?)\s*$/.exec(line.text) ?? []
    if (key !== undefined && !/[*?[]/.test(key))
      found.push({ key: sysctlKey(key), value: value ?? '', line: i + 1 })
  })
  return found
}

/** Sets a key where it stands last, else at the end. */
export function setSysctl(text: string, key: string, value: string): string {
  const lines = splitLines(text)
  const present = sysctlLines(text).findLast(line => line.key === key)
  const target = present && lines[present.line - 1]
  if (!target) return appendLine(text, `${key} = ${value}`)
  target.text = target.text.replace(/=.*$/s, `= ${value}`)
  return joinLines(lines)
}
