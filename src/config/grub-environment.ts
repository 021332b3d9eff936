import { DrydiskError } from '../errors.ts'
import { binaryString, encodeText } from './text.ts'

/**
 * The GRUB environment block (grub-core/lib/envblk.c): a signature line, `name=value` lines with `\` before a backslash or
 * newline, then `#` up to its size, which is 1024 bytes and must stay so: GRUB writes it back by sector, without a
 * filesystem driver.
 */
const SIGNATURE = '# GRUB Environment Block\n'

function checked(bytes: Uint8Array): string {
  const text = binaryString(bytes)
  if (!text.startsWith(SIGNATURE))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `not a GRUB environment block: it must start with "${SIGNATURE.trim()}"`,
    )
  return text
}

/** Variables in order. `ERR_CORRUPT` without the signature. */
export function readGrubEnvironment(bytes: Uint8Array): Map<string, string> {
  const found = new Map<string, string>()
  for (const { name, value } of entries(checked(bytes))) found.set(name, value)
  return found
}

interface Entry {
  readonly name: string
  readonly value: string
  readonly start: number
  readonly end: number
}

function entries(text: string): Entry[] {
  const found: Entry[] = []
  let start = SIGNATURE.length
  while (start < text.length) {
    let end = start
    // A backslash takes the next character, newlines too, into the value.
    while (end < text.length && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1
    const line = text.slice(start, end)
    const equals = line.indexOf('=')
    if (!line.startsWith('#') && equals > 0 && end < text.length)
      found.push({
        name: line.slice(0, equals),
        value: line.slice(equals + 1).replace(/\\([\s\S])/g, '$1'),
        start,
        end: end + 1,
      })
    start = end + 1
  }
  return found
}

/** Sets a variable (`undefined` takes it out). The block keeps its size; `ENOSPC` where it cannot hold the value. */
export function setGrubVariable(bytes: Uint8Array, name: string, value: string | undefined): Uint8Array {
  const text = checked(bytes)
  const all = entries(text)
  const old = all.find(entry => entry.name === name)
  const line = value === undefined ? '' : `${name}=${value.replace(/[\\\n]/g, '\\$&')}\n`
  const contentEnd = all[all.length - 1]?.end ?? paddingStart(text)
  const content = old
    ? text.slice(0, old.start) + line + text.slice(old.end, contentEnd)
    : text.slice(0, contentEnd) + line
  if (content.length > bytes.length)
    throw new DrydiskError(
      'ENOSPC',
      `the GRUB environment block has ${bytes.length} bytes, and ${content.length} are needed for ${name}; shorten the kernel arguments`,
      { name },
    )
  return encodeText(content.padEnd(bytes.length, '#'), 'latin1')
}

/** Past the signature and whole comment lines (newer GRUB writes a warning); the padding itself has no newline. */
function paddingStart(text: string): number {
  return text.lastIndexOf('\n') + 1
}
