import { DrydiskError } from '../../errors.ts'
import type { CodePage } from './code-page.ts'

/** Windows NT's flags for a short name that is shown in lower case (Linux's CASE_LOWER_BASE and CASE_LOWER_EXT). */
const LOWER_BASE = 0x08
const LOWER_EXTENSION = 0x10

const SPACE = 0x20

/** Whether a name has a character that is in no name (fatgen103; Linux's vfat agrees). */
export function hasForbidden(name: string): boolean {
  if (/[*?<>|":/\\]/.test(name)) return true
  for (let index = 0; index < name.length; index++) if (name.charCodeAt(index) < SPACE) return true
  return false
}

/** Allowed in long names only: an underscore stands for each in a short one. */
const LONG_ONLY = '[];,+='

/** A short name as it is shown: lower case where NT's flags say so. */
export function shortNameText(name: Uint8Array, flags: number, codePage: CodePage): string {
  const part = (from: number, to: number, lower: boolean) => {
    let end = to
    while (end > from && name[end - 1] === SPACE) end--
    const text = codePage.decode(name.subarray(from, end))
    return lower ? text.toLowerCase() : text
  }
  const base = part(0, 8, (flags & LOWER_BASE) !== 0)
  const extension = part(8, 11, (flags & LOWER_EXTENSION) !== 0)
  return extension === '' ? base : `${base}.${extension}`
}

export interface ShortName {
  /** 11 bytes, padded by spaces. */
  readonly bytes: Uint8Array
  readonly flags: number
  /** The name as given is more than bytes and flags can say. */
  readonly needsLongName: boolean
}

/** One half of a name on its way to a short one. */
interface Half {
  readonly bytes: number[]
  readonly fits: boolean
  /** No character was left out or replaced. */
  readonly exact: boolean
  readonly upper: boolean
  readonly lower: boolean
}

function shorten(text: string, most: number, codePage: CodePage): Half {
  const bytes: number[] = []
  let [fits, exact, upper, lower] = [true, true, true, true]
  for (let index = 0; index < text.length; index++) {
    const unit = text.charAt(index)
    if (unit === '.' || unit === ' ') {
      exact = false
      continue
    }
    if (bytes.length === most) {
      fits = false
      break
    }
    const byte = codePage.encode(unit)
    if (LONG_ONLY.includes(unit) || byte === undefined) {
      exact = false
      bytes.push(0x5f)
      continue
    }
    const capital = unit.toUpperCase()
    const raised = (capital.length === 1 ? codePage.encode(capital) : undefined) ?? byte
    // Case flags are for ASCII alone: other systems fold other characters in their own ways.
    if (byte >= 0x7f) upper = lower = false
    else if (raised !== byte) upper = false
    else if (unit.toLowerCase() !== unit) lower = false
    bytes.push(raised)
  }
  return { bytes, fits, exact, upper, lower }
}

/** At the last dot that has something on both sides; a name that starts with its only dots is all base. */
function split(name: string): { base: string; extension: string } {
  const dot = name.lastIndexOf('.')
  if (dot < 0 || dot === name.length - 1 || /^[. ]*$/.test(name.slice(0, dot)))
    return { base: name, extension: '' }
  return { base: name.slice(0, dot), extension: name.slice(dot + 1) }
}

/**
 * The short name for a name, as Linux's vfat makes it with shortname=mixed: the name itself where it fits in eight and three
 * characters of one case each, else one that ends in `~1` to `~9`, else one with four hexadecimal digits before.
 * @param taken whether the directory has such 11 bytes.
 */
export function makeShortName(
  name: string,
  codePage: CodePage,
  taken: (bytes: Uint8Array) => boolean,
): ShortName {
  const { base: baseText, extension: extensionText } = split(name)
  const base = shorten(baseText, 8, codePage)
  const extension = shorten(extensionText, 3, codePage)
  if (base.bytes.length === 0)
    throw new DrydiskError('EINVAL', 'a FAT file name needs more than dots and spaces')
  const bytes = new Uint8Array(11).fill(SPACE)
  bytes.set(base.bytes)
  bytes.set(extension.bytes, 8)
  if (base.fits && base.exact && extension.fits && extension.exact) {
    if (taken(bytes)) throw new DrydiskError('EEXIST', 'exists already, as the short name of another file')
    const oneCase = (base.upper || base.lower) && (extension.upper || extension.lower)
    return {
      bytes,
      flags: oneCase ? (base.upper ? 0 : LOWER_BASE) | (extension.upper ? 0 : LOWER_EXTENSION) : 0,
      needsLongName: !oneCase,
    }
  }
  return { bytes: unique(name, bytes, base.bytes.length, taken), flags: 0, needsLongName: true }
}

function unique(
  name: string,
  stem: Uint8Array,
  baseLength: number,
  taken: (bytes: Uint8Array) => boolean,
): Uint8Array {
  const bytes = stem.slice()
  const put = (at: number, tail: string) => {
    bytes.set(stem.subarray(0, 8))
    bytes.fill(SPACE, at, 8)
    for (let index = 0; index < tail.length; index++) bytes[at + index] = tail.charCodeAt(index)
    return !taken(bytes)
  }
  for (let digit = 1; digit <= 9; digit++) if (put(Math.min(baseLength, 6), `~${digit}`)) return bytes
  // From the name, so that the same names give the same short ones whenever they are made.
  let hash = 0
  for (let index = 0; index < name.length; index++) hash = (hash * 31 + name.charCodeAt(index)) & 0xffff
  for (let tries = 0; tries < 0x1_0000; tries++) {
    const digits = ((hash + tries * 11) & 0xffff).toString(16).toUpperCase().padStart(4, '0')
    if (put(Math.min(baseLength, 2), `${digits}~1`)) return bytes
  }
  throw new DrydiskError('ENOSPC', 'the directory has no short name left for this name')
}
