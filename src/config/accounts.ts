import { DrydiskError } from '../errors.ts'
import { insertLines, joinLines, lineNumberAt, splitLines } from './text.ts'

/**
 * Line editors for the colon-separated account files: passwd(5), shadow(5), group(5), gshadow(5). A line is touched
 * only in the field that changes; comments, NIS `+` lines and malformed lines stay as they are.
 */
export type AccountFile = 'passwd' | 'shadow' | 'group' | 'gshadow'

const FIELDS: Record<AccountFile, readonly string[]> = {
  passwd: ['name', 'password', 'uid', 'gid', 'gecos', 'home', 'shell'],
  shadow: ['name', 'password', 'lastchg', 'min', 'max', 'warn', 'inactive', 'expire', 'flag'],
  group: ['name', 'password', 'gid', 'members'],
  gshadow: ['name', 'password', 'administrators', 'members'],
}

/** A line of an account file that is an entry: its fields between colons. */
export interface AccountEntry {
  readonly fields: readonly string[]
  /** 1-based. */
  readonly line: number
}

/** The first entry of that name (as getpwnam finds it), or `undefined`. */
export function findAccount(text: string, name: string): AccountEntry | undefined {
  // Searched, not split: a passwd of hundreds of thousands of lines costs one scan.
  const at = text.startsWith(`${name}:`) ? 0 : text.indexOf(`\n${name}:`) + 1
  if (at === 0 && !text.startsWith(`${name}:`)) return undefined
  let end = text.indexOf('\n', at)
  if (end < 0) end = text.length
  if (text[end - 1] === '\r') end--
  const fields = text.slice(at, end).split(':')
  const line = lineNumberAt(text, at)
  return { fields, line }
}

/** Every well-formed entry in file order. */
export function accountEntries(text: string, file: AccountFile): AccountEntry[] {
  const entries: AccountEntry[] = []
  splitLines(text).forEach((line, index) => {
    const fields = line.text.split(':')
    const name = fields[0] ?? ''
    if (/^\s*(#|$)/.test(line.text) || /^[+-]/.test(name)) return
    if (fields.length >= Math.min(FIELDS[file].length, 2)) entries.push({ fields, line: index + 1 })
  })
  return entries
}

/** Sets one field of the first entry of that name. `ENOENT` when there is no such entry. */
export function setAccountField(
  text: string,
  file: AccountFile,
  name: string,
  field: string,
  value: string,
): string {
  const index = FIELDS[file].indexOf(field)
  if (index < 0) throw new DrydiskError('ERR_INVALID_ARGUMENT', `${file} entries have no field "${field}"`)
  checkField(value, file)
  const entry = findAccount(text, name)
  if (!entry) throw new DrydiskError('ENOENT', `${file} has no entry "${name}"`, { file, name })
  const lines = splitLines(text)
  const line = lines[entry.line - 1]
  if (!line) return text
  const fields = line.text.split(':')
  // A truncated line (`name:hash`) is legal input for the C library; fill it up to the field that is set.
  while (fields.length <= index) fields.push('')
  fields[index] = value
  line.text = fields.join(':')
  return joinLines(lines)
}

/** Appends an entry; before NIS lines (`+…`), because the C library hands every later name to NIS. */
export function addAccountLine(text: string, fields: readonly string[]): string {
  for (const field of fields) checkField(field, 'entry')
  const lines = splitLines(text)
  const nis = lines.findIndex(line => line.text.startsWith('+'))
  insertLines(lines, nis < 0 ? lines.length : nis, [fields.join(':')])
  return joinLines(lines)
}

/** Takes out every entry of that name: a second one would come into force in place of the first. */
export function removeAccount(text: string, name: string): string {
  if (!findAccount(text, name)) return text
  const lines = splitLines(text)
  const kept = lines.filter(line => !line.text.startsWith(`${name}:`))
  const last = kept[kept.length - 1]
  // A text that lacked its final newline keeps lacking it.
  if (last && lines[lines.length - 1]?.ending === '') last.ending = ''
  return joinLines(kept)
}

/** The names of a comma-separated list, as group(5) and gshadow(5) hold members. */
export function memberNames(list: string | undefined): string[] {
  return (list ?? '').split(',').filter(name => name !== '')
}

/** Adds or takes out one member of a group's list. A list that is as wanted stays as it is written. */
export function setMember(
  text: string,
  file: 'group' | 'gshadow',
  group: string,
  user: string,
  member: boolean,
): string {
  const entry = findAccount(text, group)
  if (!entry) return text
  const names = memberNames(entry.fields[FIELDS[file].indexOf('members')])
  if (names.includes(user) === member) return text
  const wanted = member ? [...names, user] : names.filter(name => name !== user)
  return setAccountField(text, file, group, 'members', wanted.join(','))
}

/**
 * Changes the lists of every group in one pass: `change` gets the names of a list, the group's name and which list it is. A list that stays the same
 * stays as it is written.
 */
export function mapMembers(
  text: string,
  file: 'group' | 'gshadow',
  change: (names: readonly string[], group: string, list: 'members' | 'administrators') => readonly string[],
): string {
  const lists = (['administrators', 'members'] as const).flatMap(list => {
    const at = FIELDS[file].indexOf(list)
    return at < 0 ? [] : [{ list, at }]
  })
  const lines = splitLines(text)
  for (const line of lines) {
    if (/^\s*[#+-]/.test(line.text)) continue
    const fields = line.text.split(':')
    for (const { list, at } of lists) {
      const names = memberNames(fields[at])
      const changed = change(names, fields[0] ?? '', list).join(',')
      if (changed !== names.join(',')) fields[at] = changed
    }
    line.text = fields.join(':')
  }
  return joinLines(lines)
}

function checkField(value: string, file: string): void {
  if (/[:\n\r\0]/.test(value))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `a field of ${file} may hold no colon, newline or NUL byte: ${JSON.stringify(value)}`,
    )
}

/** An entry of passwd(5). */
export interface PasswdEntry {
  readonly name: string
  readonly password: string
  readonly uid: number
  readonly gid: number
  readonly home: string
  readonly shell: string
  readonly line: number
}

/** The passwd entry of a name with its numbers checked, or `undefined`. */
export function findPasswd(text: string, name: string): PasswdEntry | undefined {
  const entry = findAccount(text, name)
  if (!entry) return undefined
  const [, password = '', uid = '', gid = '', , home = '', shell = ''] = entry.fields
  return {
    name,
    password,
    uid: accountNumber(uid, 'uid', name),
    gid: accountNumber(gid, 'gid', name),
    home: home || '/',
    shell: shell || '/bin/sh',
    line: entry.line,
  }
}

/** The gid of a group name, or `undefined`. */
export function findGroupId(text: string, name: string): number | undefined {
  const entry = findAccount(text, name)
  return entry ? accountNumber(entry.fields[2] ?? '', 'gid', name) : undefined
}

function accountNumber(digits: string, what: string, name: string): number {
  const value = Number(digits)
  if (!/^\d{1,10}$/.test(digits) || value >= 0xffff_ffff)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `entry "${name}": ${what} is ${JSON.stringify(digits)}, expected a number below 4294967295`,
      { name, field: what },
    )
  return value
}
