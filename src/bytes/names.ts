/**
 * Names on Linux are bytes, and an image's names are whatever its maker put there. These helpers move between bytes,
 * map keys, and text that is safe to print.
 */

const encoder = new TextEncoder()
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** UTF-8 bytes of a string; bytes pass through. */
export function toBytes(name: string | Uint8Array): Uint8Array {
  return typeof name === 'string' ? encoder.encode(name) : name
}

/** The text of valid UTF-8, else `undefined`. A byte-order mark is kept. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes)
  } catch {
    return undefined
  }
}

/** One character per byte: a map key that is equal exactly when the bytes are, and sorts as they do. */
export function byteKey(bytes: Uint8Array): string {
  if (bytes.length <= 4096) return Reflect.apply(String.fromCharCode, undefined, bytes)
  let key = ''
  // String.fromCharCode takes its characters as arguments, whose number is limited. To spread them goes through an iterator, which
  // takes five times as long.
  for (let at = 0; at < bytes.length; at += 4096)
    key += Reflect.apply(String.fromCharCode, undefined, bytes.subarray(at, at + 4096))
  return key
}

/** The reverse of `byteKey`. */
export function bytesOfKey(key: string): Uint8Array {
  const bytes = new Uint8Array(key.length)
  for (let i = 0; i < key.length; i++) bytes[i] = key.charCodeAt(i)
  return bytes
}

/** Orders as strcmp does. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** C0 and C1 controls, DEL, line and paragraph separators, and the marks that reorder or hide text on a terminal. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}\\]/u

function hex(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`
}

/**
 * A name as it may be printed on a terminal: control characters, what is not UTF-8 and invisible or reordering marks
 * become `\xNN` per byte, and a backslash is doubled, so that two names never print alike.
 */
export function printable(name: string | Uint8Array): string {
  const bytes = toBytes(name)
  const text = decodeUtf8(bytes)
  if (text !== undefined && !UNSAFE.test(text)) return text
  let out = ''
  let at = 0
  while (at < bytes.length) {
    const length = sequenceLength(bytes, at)
    const piece = bytes.subarray(at, at + length)
    const character = length === 0 ? undefined : decodeUtf8(piece)
    if (character === '\\') out += '\\\\'
    else if (character !== undefined && !UNSAFE.test(character)) out += character
    else for (const byte of character === undefined ? bytes.subarray(at, at + 1) : piece) out += hex(byte)
    at += character === undefined ? 1 : length
  }
  return out
}

/**
 * Text from an image as it may be printed: as `printable`, but tabs and backslashes stay, because what it is shown for is
 * to be read and not to be told apart.
 */
export function printableText(text: string): string {
  if (!UNSAFE.test(text)) return text
  return text
    .split(/(\t|\\)/)
    .map(part => (part === '\t' || part === '\\' ? part : printable(part)))
    .join('')
}

/** Bytes of the UTF-8 sequence that starts at `at` by its first byte; 0 when no sequence starts so. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0
  const length =
    first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0
  return at + length <= bytes.length ? length : 0
}
