import { byteKey, decodeUtf8, toBytes } from '../bytes/names.ts'

/**
 * Names are bytes on Linux and strings in ZenFS. Bytes of a name that is not UTF-8 become lone surrogates, U+DC80 to U+DCFF, as Python
 * does for file names (PEP 383, "surrogateescape"), so that every name survives the way there and back.
 */
export function nameText(name: Uint8Array): string {
  return (
    decodeUtf8(name) ??
    byteKey(name).replace(/[\x80-\xff]/g, byte => String.fromCharCode(0xdc00 + byte.charCodeAt(0)))
  )
}

/** The reverse of `nameText`, of whole paths too. */
export function pathBytes(path: string): Uint8Array {
  if (!/\p{Cs}/u.test(path)) return toBytes(path)
  const bytes: number[] = []
  for (const character of path) {
    const point = character.codePointAt(0) ?? 0
    if (point >= 0xdc80 && point <= 0xdcff) bytes.push(point - 0xdc00)
    else bytes.push(...toBytes(character))
  }
  return Uint8Array.from(bytes)
}
