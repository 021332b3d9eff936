import { splitLines } from './text.ts'

/**
 * The part of YAML that settings of cloud-init almost always are: a top-level `key: value` on one line, with a plain word, number,
 * boolean or a flow list of such. Whatever is not plainly that is `unknown` and left to a whole parser, which takes longer to
 * load than all other work of a small edit.
 */
export type PlainValue = string | number | boolean | readonly (string | number | boolean)[]

export type PlainLookup =
  | { readonly kind: 'absent' }
  | { readonly kind: 'unknown' }
  | {
      readonly kind: 'value'
      readonly value: PlainValue
      /** 1-based. */
      readonly line: number
      /** Of the value, in the text. */
      readonly start: number
      readonly end: number
    }

const TRUE = /^(true|True|TRUE|yes|Yes|YES|on|On|ON)$/
const FALSE = /^(false|False|FALSE|no|No|NO|off|Off|OFF)$/
/** Words that YAML 1.1 readers do not agree on, or that mean null. */
const OTHER = /^(y|Y|n|N|null|Null|NULL)$/

function plainScalar(source: string): string | number | boolean | undefined {
  if (TRUE.test(source)) return true
  if (FALSE.test(source)) return false
  if (/^(0|[1-9]\d{0,8})$/.test(source)) return Number(source)
  return /^[A-Za-z][\w./-]*$/.test(source) && !OTHER.test(source) ? source : undefined
}

/** A value's source as a value, or `undefined` where that takes a whole parser. */
export function parsePlainValue(source: string): PlainValue | undefined {
  const text = source.trim()
  const list = /^\[([^[\]]*)\]$/.exec(text)
  if (!list) return plainScalar(text)
  const inside = (list[1] ?? '').trim()
  if (inside === '') return []
  const items: (string | number | boolean)[] = []
  for (const part of inside.split(',')) {
    const item = plainScalar(part.trim())
    if (item === undefined) return undefined
    items.push(item)
  }
  return items
}

/** The source of a value, or `undefined` where it is not plain. */
export function renderPlainValue(value: unknown): string | undefined {
  const scalar = (item: unknown) =>
    (typeof item === 'string' || typeof item === 'number' || typeof item === 'boolean') &&
    plainScalar(String(item)) === item
      ? String(item)
      : undefined
  if (!Array.isArray(value)) return scalar(value)
  const items = value.map(scalar)
  if (items.length === 0) return '[]'
  return items.includes(undefined) ? undefined : `[ ${items.join(', ')} ]`
}

/**
 * Looks a top-level key up. It is absent where only comments have the word; it has a value where a single line that is
 * no comment has the word, and has it as its key.
 */
export function findPlainKey(text: string, key: string): PlainLookup {
  if (!text.includes(key)) return /\\[xuU]/.test(text) ? { kind: 'unknown' } : { kind: 'absent' }
  let found: PlainLookup = { kind: 'absent' }
  let start = 0
  let number = 0
  let quotes = 0
  const lines = splitLines(text)
  for (const { text: line, ending } of lines) {
    number++
    const at = start
    start += line.length + ending.length
    if (/^\s*#/.test(line)) continue
    if (line.includes(key)) {
      const match = /^([A-Za-z_][\w-]*):([ \t]+)([^#\s](?:[^#]*[^#\s])?)[ \t]*(?:[ \t]#.*)?$/.exec(line)
      const value = match?.[1] === key ? parsePlainValue(match[3] ?? '') : undefined
      // A second mention, an odd quote before, or a value that goes on with the next line: not plain.
      if (
        found.kind !== 'absent' ||
        value === undefined ||
        quotes % 2 === 1 ||
        continues(lines[number]?.text)
      )
        return { kind: 'unknown' }
      const from = at + key.length + 1 + (match?.[2]?.length ?? 0)
      found = { kind: 'value', value, line: number, start: from, end: from + (match?.[3]?.length ?? 0) }
    }
    quotes += line.split(/["']/).length - 1
  }
  return /\\[xuU]/.test(text) ? { kind: 'unknown' } : found
}

function continues(next: string | undefined): boolean {
  return next !== undefined && /^\s+[^\s#]/.test(next)
}

/** Whether a file consists of plain top-level settings and comments alone, so that a line can simply be added. */
export function isPlainFile(text: string): boolean {
  return splitLines(text).every(({ text: line }) => {
    if (/^\s*(#|$)/.test(line)) return true
    const match = /^[A-Za-z_][\w-]*:[ \t]+([^#\s](?:[^#]*[^#\s])?)[ \t]*(?:[ \t]#.*)?$/.exec(line)
    return match !== null && parsePlainValue(match[1] ?? '') !== undefined
  })
}
