import { DrydiskError } from '../errors.ts'
import { insertLines, joinLines, splitLines } from './text.ts'

/** HOST_NAME_MAX of Linux; names beyond 64 bytes are refused by sethostname(2). */
const MAX_HOSTNAME = 64

/** RFC 1123, section 2.1. `ERR_INVALID_ARGUMENT` says what is allowed. */
export function checkHostname(name: string): void {
  if (
    name.length > MAX_HOSTNAME ||
    !/^(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*$/.test(name)
  )
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(name)} is not a hostname; expected at most 64 letters, digits and hyphens, with dots between labels`,
    )
}

/** The name in an /etc/hostname: its first line that is no comment (hostname(5)). */
export function readHostname(text: string): string | undefined {
  for (const line of splitLines(text)) {
    const name = line.text.trim()
    if (name !== '' && !name.startsWith('#')) return name
  }
  return undefined
}

/** Puts a name into /etc/hostname, with its comments kept. */
export function writeHostname(text: string, name: string): string {
  const lines = splitLines(text)
  const target = lines.find(line => line.text.trim() !== '' && !line.text.trim().startsWith('#'))
  if (!target) insertLines(lines, lines.length, [name])
  else if (target.text.trim() !== name) target.text = name
  return joinLines(lines)
}

/**
 * Renames a host in /etc/hosts: the old name, alone or with a domain, wherever it is a name of a line. Spacing, comments
 * and other names stay. A name with a domain becomes the new one with its own domain, or else keeps the old domain; where
 * there was a short name alone and the new one has a domain, both go there.
 */
export function renameHost(text: string, oldName: string, newName: string): string {
  const oldShort = oldName.split('.', 1)[0] ?? oldName
  const newShort = newName.split('.', 1)[0] ?? newName
  if (oldShort === '' || oldShort === 'localhost') return text
  const lines = splitLines(text)
  for (const line of lines) {
    const comment = line.text.indexOf('#')
    const content = comment < 0 ? line.text : line.text.slice(0, comment)
    const parts = content.split(/(\s+)/)
    // Empty or white space first; then the address; then the names.
    const address = parts.findIndex(part => part.trim() !== '')
    if (address < 0) continue
    const renamed = parts.map((part, i) => {
      if (i <= address || part.trim() === '') return part
      if (part === oldShort) return newShort
      if (part === oldName) return newName
      if (part.startsWith(`${oldShort}.`))
        return newName.includes('.') ? newName : newShort + part.slice(oldShort.length)
      return part
    })
    // The name with its domain must resolve: Debian's installer writes it before the short one.
    const first = renamed.findIndex((part, i) => i > address && part === newShort)
    if (newName !== newShort && parts.includes(oldShort, address + 1) && !renamed.includes(newName))
      renamed[first] = `${newName} ${newShort}`
    line.text = renamed.join('') + (comment < 0 ? '' : line.text.slice(comment))
  }
  return joinLines(lines)
}
