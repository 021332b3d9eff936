import { decodeUtf8 } from '../bytes/names.ts'

const encoder = new TextEncoder()

/** UTF-8 where it is valid, else one character per byte. */
export function decodeText(bytes: Uint8Array): string {
  const text = decodeUtf8(bytes)
  if (text !== undefined) return text
  // TextDecoder('latin1') is Windows-1252 by the Encoding Standard and would not give every byte back.
  const parts: string[] = []
  for (let at = 0; at < bytes.length; at += 8192)
    parts.push(String.fromCharCode(...bytes.subarray(at, at + 8192)))
  return parts.join('')
}

/** The reverse of `decodeText`, for a file whose present content is `present`. */
export function encodeText(text: string, present: Uint8Array | undefined): Uint8Array {
  if (present === undefined || decodeUtf8(present) !== undefined) return encoder.encode(text)
  const out = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 0xff) return encoder.encode(text)
    out[i] = code
  }
  return out
}
