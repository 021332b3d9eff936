/** A logical line of sudoers(5): lines that end in a backslash are joined, comments are gone. */
export interface SudoersLine {
  readonly text: string
  /** 1-based, of its first line. */
  readonly line: number
}

/** Splits a file of sudoers(5) into what counts. `#include`, `#includedir` and `#1000` (a uid) are no comments. */
export function sudoersLines(text: string): SudoersLine[] {
  const lines: SudoersLine[] = []
  let joined: { text: string; line: number } | undefined
  text.split('\n').forEach((raw, i) => {
    const whole: string = (joined?.text ?? '') + raw.replace(/\r$/, '')
    const line: number = joined?.line ?? i + 1
    if (whole.endsWith('\\') && !/^\s*#(?!include|\d)/.test(whole)) {
      joined = { text: `${whole.slice(0, -1)} `, line }
      return
    }
    joined = undefined
    const bare = stripComment(whole).trim()
    if (bare !== '') lines.push({ text: bare, line })
  })
  return lines
}

/** A `#` begins a comment unless it is quoted, escaped, or before digits (a uid). */
function stripComment(text: string): string {
  if (/^\s*#include(dir)?\s/.test(text)) return text
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (c === '\\') i++
    else if (c === '"') quoted = !quoted
    else if (
      c === '#' &&
      !quoted &&
      !(/\d/.test(text[i + 1] ?? '') && /^$|[\s,!%:=]/.test(text[i - 1] ?? ''))
    )
      return text.slice(0, i)
  }
  return text
}

/** What a line includes: a file or a folder; a relative path counts from the file's own folder. */
export function sudoersInclude(
  text: string,
): { readonly kind: 'file' | 'folder'; readonly path: string } | undefined {
  const match = /^[#@]include(dir)?\s+(?:"([^"]+)"|(.*\S))\s*$/.exec(text)
  if (!match) return undefined
  return {
    kind: match[1] ? 'folder' : 'file',
    path: match[2] ?? (match[3] ?? '').replace(/\\(.)/g, '$1'),
  }
}

/** Names of a folder that sudo reads: none with a dot in it or a tilde at its end. */
export function isSudoersName(name: string): boolean {
  return !name.includes('.') && !name.endsWith('~') && !name.includes('/')
}

/** `User_Alias NAME = list`, several separated by colons. */
export function userAliases(text: string): [string, string[]][] {
  const match = /^User_Alias\s+(.*)$/.exec(text)
  if (!match) return []
  return (match[1] ?? '').split(/\s*:\s*(?=[A-Z][A-Z0-9_]*\s*=)/).flatMap(part => {
    const alias = /^([A-Z][A-Z0-9_]*)\s*=\s*(.*)$/.exec(part)
    return alias ? [[alias[1] ?? '', splitList(alias[2] ?? '')] as [string, string[]]] : []
  })
}

function splitList(text: string): string[] {
  return text.split(/\s*,\s*/).filter(item => item !== '')
}

/** Who may run what, as a line of sudoers(5) says it. */
export interface UserSpecification {
  readonly users: readonly string[]
  /** Everything from the hosts on, after the first `=`. */
  readonly hosts: string
  readonly commands: string
}

/** `users hosts = commands`, or `undefined` for another kind of line. */
export function userSpecification(text: string): UserSpecification | undefined {
  if (/^(Defaults\b|Defaults[@:!>]|(User|Runas|Host|Cmnd|Cmd)_Alias\b|[#@]include)/.test(text))
    return undefined
  const equals = text.indexOf('=')
  if (equals < 0) return undefined
  // Users are a list with commas; the hosts begin at the first blank that is not beside a comma or in quotes.
  const head = /^((?:"[^"]*"|\\.|[^\s,"\\]|\s*,\s*|!\s+)+)\s+(.*)$/.exec(text.slice(0, equals).trim())
  if (!head) return undefined
  return {
    users: splitList(head[1] ?? ''),
    hosts: (head[2] ?? '').trim(),
    commands: text.slice(equals + 1).trim(),
  }
}

/** Whether a specification is for every command in every user's name; then whether it asks for a password. */
export function grantsEverything(commands: string): { readonly password: boolean } | undefined {
  const match = /^(?:\(\s*(ALL|root)(?:\s*:\s*\w+)?\s*\)\s*)?((?:[A-Z_]+:\s*)*)ALL$/.exec(commands)
  return match ? { password: !/\bNOPASSWD:/.test(match[2] ?? '') } : undefined
}
