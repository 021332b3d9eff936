import { equalBytes } from '../../bytes/compare.ts'
import { decodeUtf8 } from '../../bytes/names.ts'

/**
 * Long names are UTF-16 on disk and bytes in the interface. A surrogate without its other half, which Windows allows, is three
 * bytes then as if it were a character (WTF-8), so that every name on disk has bytes of its own that lead back to it.
 */
export function nameToBytes(name: string): Uint8Array {
  const bytes: number[] = []
  for (const character of name) {
    const code = character.codePointAt(0) ?? 0
    if (code < 0x80) bytes.push(code)
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63))
    else if (code < 0x1_0000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63))
    else
      bytes.push(
        0xf0 | (code >> 18),
        0x80 | ((code >> 12) & 63),
        0x80 | ((code >> 6) & 63),
        0x80 | (code & 63),
      )
  }
  return Uint8Array.from(bytes)
}

/** The reverse; `undefined` for bytes that no name has. */
export function bytesToName(bytes: Uint8Array): string | undefined {
  const text = decodeUtf8(bytes)
  if (text !== undefined) return text
  // Lone surrogates are the only thing that may be there besides UTF-8: ED A0..BF xx.
  let name = ''
  let start = 0
  for (let at = 0; at + 2 < bytes.length; at++) {
    const [first = 0, second = 0, third = 0] = bytes.subarray(at, at + 3)
    if (first !== 0xed || second < 0xa0 || second > 0xbf || third < 0x80 || third > 0xbf) continue
    const before = decodeUtf8(bytes.subarray(start, at))
    if (before === undefined) return undefined
    name += before + String.fromCharCode(0xd000 | ((second & 63) << 6) | (third & 63))
    at += 2
    start = at + 1
  }
  const rest = decodeUtf8(bytes.subarray(start))
  if (rest === undefined) return undefined
  name += rest
  // Two halves that are a pair together have four bytes, and only those.
  return equalBytes(nameToBytes(name), bytes) ? name : undefined
}

/** What two names have in common that differ by case alone: each unit by itself, as Windows folds names. */
export function foldName(name: string): string {
  if (isAscii(name)) return name.toUpperCase()
  let folded = ''
  for (let index = 0; index < name.length; index++) {
    const unit = name.charAt(index)
    const one = unit.toUpperCase()
    folded += one.length === 1 ? one : unit
  }
  return folded
}

function isAscii(name: string): boolean {
  for (let index = 0; index < name.length; index++) if (name.charCodeAt(index) >= 0x80) return false
  return true
}

/** Dots at the end do not count: neither Windows nor Linux keeps them. */
export function withoutTrailingDots(name: string): string {
  let end = name.length
  while (end > 0 && name.charAt(end - 1) === '.') end--
  return name.slice(0, end)
}
