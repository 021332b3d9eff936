import { DrydiskError } from '../errors.ts'

/** Unit types of systemd(1) that unit files exist for. */
const TYPES = /\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$/

/** Characters of systemd.unit(5); 255 bytes at most. */
const VALID = /^[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\@-]*)?\.[a-z]+$/

/** Whether systemd takes a name for that of a unit (systemd.unit(5)). */
export function isUnitName(name: string): boolean {
  return name.length <= 255 && TYPES.test(name) && VALID.test(name)
}

/** A unit name as a person writes it: `.service` where there is no type. `ERR_INVALID_ARGUMENT` for what is none. */
export function unitName(text: string): string {
  const name = TYPES.test(text) ? text : `${text}.service`
  if (isUnitName(name)) return name
  throw new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    `${JSON.stringify(text)} is not a unit name, such as sshd, sshd.service, getty@tty1 or fstrim.timer`,
  )
}

/** The name of a unit, in its parts. */
export interface UnitNameParts {
  /** Before `@` or the type. */
  readonly prefix: string
  /** Between `@` and the type; empty for a template; `undefined` for neither. */
  readonly instance: string | undefined
  /** With its dot: `.service`. */
  readonly type: string
}

/** Takes the name of a unit apart: `prefix@instance.type`. */
export function splitUnitName(name: string): UnitNameParts {
  const dot = name.lastIndexOf('.')
  const at = name.indexOf('@')
  const type = name.slice(dot)
  if (at < 0 || at > dot) return { prefix: name.slice(0, dot), instance: undefined, type }
  return { prefix: name.slice(0, at), instance: name.slice(at + 1, dot), type }
}

/** `foo@.service` of `foo@bar.service`; `undefined` for what is no instance. */
export function templateOf(name: string): string | undefined {
  const { prefix, instance, type } = splitUnitName(name)
  return instance ? `${prefix}@${type}` : undefined
}

/** Folders of drop-ins, the most specific first: of the name, its template, its prefixes that end in a dash, and its type. */
export function dropInFolders(name: string): string[] {
  const { prefix, type } = splitUnitName(name)
  const template = templateOf(name)
  const folders = [`${name}.d`, ...(template ? [`${template}.d`] : [])]
  for (let dash = prefix.lastIndexOf('-'); dash > 0; dash = prefix.lastIndexOf('-', dash - 1))
    if (dash < prefix.length - 1) folders.push(`${prefix.slice(0, dash + 1)}${type}.d`)
  folders.push(`${type.slice(1)}.d`)
  return folders
}

/** Specifiers of systemd.unit(5) that [Install] may hold and that are known without the machine; `undefined` for another. */
export function expandSpecifiers(text: string, name: string): string | undefined {
  const { prefix, instance = '' } = splitUnitName(name)
  const values: Readonly<Record<string, string>> = {
    n: name,
    N: name.slice(0, name.lastIndexOf('.')),
    p: prefix,
    P: unescapeUnit(prefix),
    i: instance,
    I: unescapeUnit(instance),
    j: prefix.slice(prefix.lastIndexOf('-') + 1),
    J: unescapeUnit(prefix.slice(prefix.lastIndexOf('-') + 1)),
    '%': '%',
  }
  let unknown = false
  const expanded = text.replace(/%(.)/g, (whole, letter: string) => {
    const value = values[letter]
    if (value === undefined) unknown = true
    return value ?? whole
  })
  return unknown ? undefined : expanded
}

/** systemd-escape's other direction: `-` for `/`, `\xNN` for a byte. */
function unescapeUnit(text: string): string {
  return text
    .replaceAll('-', '/')
    .replace(/\\x([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
