import { DrydiskError } from '../errors.ts'

/**
 * A configuration file as text that turns back into exactly the same bytes: UTF-8 where it is valid, else one
 * character per byte.
 */
export interface DecodedText {
  readonly text: string
  readonly encoding: 'utf-8' | 'latin1'
}

/** Configuration files larger than this are not configuration files: the editors hold several copies in memory. */
export const MAX_CONFIG_BYTES = 16 << 20

export function decodeText(bytes: Uint8Array, name = 'file'): DecodedText {
  if (bytes.length > MAX_CONFIG_BYTES)
    throw new DrydiskError(
      'EFBIG',
      `${name}: ${bytes.length} bytes, but text is edited only up to ${MAX_CONFIG_BYTES} bytes`,
      { path: name },
    )
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    return { text, encoding: 'utf-8' }
  } catch {
    return { text: binaryString(bytes), encoding: 'latin1' }
  }
}

/** In a `latin1` text, a character beyond U+00FF (new text from the user) is written as its UTF-8 bytes. */
export function encodeText(text: string, encoding: DecodedText['encoding'] = 'utf-8'): Uint8Array {
  if (encoding === 'utf-8') return new TextEncoder().encode(text)
  let bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit > 0xff) {
      bytes = concatBytes(
        [...text].map(c =>
          (c.codePointAt(0) ?? 0) > 0xff ? new TextEncoder().encode(c) : Uint8Array.of(c.charCodeAt(0)),
        ),
      )
      break
    }
    bytes[i] = unit
  }
  return bytes
}

/** One character per byte (`TextDecoder('latin1')` is windows-1252 and does not round-trip). */
export function binaryString(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192))
  return text
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

/** A line and what ends it; only the last line of a text may have an empty ending. */
export interface Line {
  text: string
  ending: '' | '\n' | '\r\n'
}

/** Lossless: `joinLines(splitLines(text)) === text`. The empty text has no lines. */
export function splitLines(text: string): Line[] {
  const lines: Line[] = []
  let start = 0
  while (start < text.length) {
    const newline = text.indexOf('\n', start)
    if (newline < 0) {
      lines.push({ text: text.slice(start), ending: '' })
      break
    }
    const crlf = newline > start && text[newline - 1] === '\r'
    lines.push({ text: text.slice(start, crlf ? newline - 1 : newline), ending: crlf ? '\r\n' : '\n' })
    start = newline + 1
  }
  return lines
}

export function joinLines(lines: readonly Line[]): string {
  let text = ''
  for (const line of lines) text += line.text + line.ending
  return text
}

/** The ending that new lines of this text get: that of its first line. */
export function lineEnding(lines: readonly Line[]): '\n' | '\r\n' {
  return lines[0]?.ending === '\r\n' ? '\r\n' : '\n'
}

/**
 * Puts new lines before index `at` (`lines.length` appends). They are ended as the file's own lines are; a last line
 * without an ending stays the one without.
 */
export function insertLines(lines: Line[], at: number, added: readonly string[]): void {
  if (added.length === 0) return
  const ending = lineEnding(lines)
  const previous = lines[at - 1]
  const made: Line[] = added.map(text => ({ text, ending }))
  const lastMade = made[made.length - 1]
  if (at === lines.length && previous?.ending === '' && lastMade) {
    previous.ending = ending
    lastMade.ending = ''
  }
  lines.splice(at, 0, ...made)
}

/** Takes out `count` lines from index `at`; a text that lacked its final newline keeps lacking it. */
export function removeLines(lines: Line[], at: number, count: number): void {
  const unended = lines[lines.length - 1]?.ending === ''
  lines.splice(at, count)
  const last = lines[lines.length - 1]
  if (unended && last) last.ending = ''
}

/** `text` with `line` as its last line, always newline-terminated (as virt-customize's --append-line does it). */
export function appendLine(text: string, line: string): string {
  const ending = lineEnding(splitLines(text))
  const gap = text === '' || text.endsWith('\n') ? '' : ending
  return `${text}${gap}${line}${ending}`
}

/** The 1-based line that holds the character at `offset`. */
export function lineNumberAt(text: string, offset: number): number {
  let line = 1
  for (let at = text.indexOf('\n'); at >= 0 && at < offset; at = text.indexOf('\n', at + 1)) line++
  return line
}

export function replaceRange(text: string, start: number, end: number, replacement: string): string {
  return text.slice(0, start) + replacement + text.slice(end)
}
