import { encodeText } from '../config/text.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { GuestFs, GuestPath } from '../guest/guest-fs.ts'
import { displayPath, joinPath, lstatOrUndefined, pathBytes } from './guest-files.ts'

const STAR = 0x2a
const QUESTION = 0x3f
const OPEN = 0x5b
const BACKSLASH = 0x5c
const SLASH = 0x2f
const DOT = 0x2e

/** Whether a path component holds glob(7) characters. */
export function isPattern(component: Uint8Array): boolean {
  return component.some(b => b === STAR || b === QUESTION || b === OPEN || b === BACKSLASH)
}

/**
 * Matches one path component against a glob(7) pattern, on bytes (names need not be UTF-8). A leading dot is matched
 * by a literal dot only, unless `dots`. Linear backtracking: at most pattern × name steps.
 */
export function matchesGlob(pattern: Uint8Array, name: Uint8Array, { dots = false } = {}): boolean {
  if (!dots && name[0] === DOT && pattern[0] !== DOT && !(pattern[0] === BACKSLASH && pattern[1] === DOT))
    return false
  let p = 0
  let n = 0
  let starAt = -1
  let starName = 0
  while (n < name.length) {
    const step = p < pattern.length ? matchOne(pattern, p, name[n] ?? 0) : undefined
    if (pattern[p] === STAR) {
      starAt = p++
      starName = n
    } else if (step?.matched) {
      p = step.next
      n++
    } else if (starAt >= 0) {
      p = starAt + 1
      n = ++starName
    } else return false
  }
  while (pattern[p] === STAR) p++
  return p === pattern.length
}

function matchOne(pattern: Uint8Array, at: number, byte: number): { matched: boolean; next: number } {
  const b = pattern[at]
  if (b === QUESTION) return { matched: true, next: at + 1 }
  if (b === BACKSLASH && at + 1 < pattern.length) return { matched: pattern[at + 1] === byte, next: at + 2 }
  if (b !== OPEN) return { matched: b === byte, next: at + 1 }

  let i = at + 1
  const negated = pattern[i] === 0x21 || pattern[i] === 0x5e
  if (negated) i++
  let matched = false
  let first = true
  while (i < pattern.length && (first || pattern[i] !== 0x5d)) {
    first = false
    if (pattern[i] === BACKSLASH && i + 1 < pattern.length) i++
    const low = pattern[i] ?? 0
    let high = low
    if (pattern[i + 1] === 0x2d && i + 2 < pattern.length && pattern[i + 2] !== 0x5d) {
      i += 2
      if (pattern[i] === BACKSLASH && i + 1 < pattern.length) i++
      high = pattern[i] ?? 0
    }
    if (byte >= low && byte <= high) matched = true
    i++
  }
  // Without its closing bracket, `[` stands for itself.
  if (i >= pattern.length) return { matched: byte === OPEN, next: at + 1 }
  return { matched: matched !== negated, next: i + 1 }
}

/** Symlinks to folders above them, or dots after a star, make more paths than a guest has files. */
const MAX_PATHS = 500_000

/**
 * The paths of the guest that match a glob(7) pattern, by byte order; a pattern without wildcards matches what exists.
 * `EFBIG` where there is no end of them.
 */
export async function glob(guest: GuestFs, pattern: GuestPath): Promise<Uint8Array[]> {
  const components = splitComponents(pathBytes(pattern))
  let found: Uint8Array[] = [encodeText('/')]
  for (const component of components) {
    const next: Uint8Array[] = []
    for (const folder of found) {
      if (next.length > MAX_PATHS)
        throw new DrydiskError(
          'EFBIG',
          `${displayPath(pattern)} matches more than ${MAX_PATHS} paths; name them in smaller parts`,
        )
      if (!isPattern(component)) {
        const path = joinPath(folder, component)
        if (await lstatOrUndefined(guest, path)) next.push(path)
        continue
      }
      try {
        const names = (await guest.readdir(folder)).map(entry => entry.name)
        for (const name of names.filter(name => matchesGlob(component, name)).sort(compare))
          next.push(joinPath(folder, name))
      } catch (error) {
        if (!isDrydiskError(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP')) throw error
      }
    }
    found = next
  }
  return found
}

function splitComponents(path: Uint8Array): Uint8Array[] {
  const components: Uint8Array[] = []
  let start = 0
  for (let i = 0; i <= path.length; i++)
    if (i === path.length || path[i] === SLASH) {
      if (i > start) components.push(path.subarray(start, i))
      start = i + 1
    }
  return components
}

function compare(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return (a[i] ?? 0) - (b[i] ?? 0)
  return a.length - b.length
}
