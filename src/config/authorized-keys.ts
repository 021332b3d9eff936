import { DrydiskError } from '../errors.ts'
import { insertLines, joinLines, splitLines } from './text.ts'

const KEY_TYPES =
  /^(ssh-(rsa|dss|ed25519)(-cert-v01@openssh\.com)?|ecdsa-sha2-nistp(256|384|521)(-cert-v01@openssh\.com)?|sk-(ssh-ed25519|ecdsa-sha2-nistp256)(-cert-v01)?@openssh\.com|rsa-sha2-(256|512)-cert-v01@openssh\.com)$/

/**
 * The key type and base64 blob of a line of authorized_keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT), past its options, or
 * `undefined` for a comment or what is no key.
 */
export function keyOfLine(line: string): string | undefined {
  const words = splitQuoted(line.trim())
  if (line.trim().startsWith('#')) return undefined
  for (const at of [0, 1]) {
    const [type, blob] = [words[at], words[at + 1]]
    if (type && KEY_TYPES.test(type) && blob && isKeyBlob(type, blob)) return `${type} ${blob}`
  }
  return undefined
}

/** The blob starts with the length and the name of the type: RFC 4253, section 6.6. */
function isKeyBlob(type: string, blob: string): boolean {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(blob) || blob.length < 20) return false
  let raw: string
  try {
    raw = atob(blob)
  } catch {
    return false
  }
  const length =
    (raw.charCodeAt(0) << 24) | (raw.charCodeAt(1) << 16) | (raw.charCodeAt(2) << 8) | raw.charCodeAt(3)
  return length === type.length && raw.slice(4, 4 + length) === type
}

function splitQuoted(line: string): string[] {
  const words: string[] = []
  let word = ''
  let quoted = false
  for (const c of line) {
    if (c === '"' && !word.endsWith('\\')) quoted = !quoted
    if (!quoted && (c === ' ' || c === '\t')) {
      if (word) words.push(word)
      word = ''
    } else word += c
  }
  if (word) words.push(word)
  return words
}

/**
 * Adds the public keys of `keys` (one per line; comments and empty lines are dropped) that are not there yet under any
 * options or comment, nor in `elsewhere` (other files that count). `ERR_INVALID_ARGUMENT` where a line is no public key; a private key is named as such.
 */
export function addAuthorizedKeys(
  text: string,
  keys: string,
  elsewhere: readonly string[] = [],
): { text: string; added: { line: number; key: string }[] } {
  const lines = splitLines(text)
  const others = elsewhere.flatMap(other => splitLines(other))
  const present = new Set([...lines, ...others].map(line => keyOfLine(line.text)))
  const fresh: string[] = []
  let any = false
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(keys))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      'this is a private key; pass the public one (its name ends in .pub)',
    )
  for (const { text: line } of splitLines(keys)) {
    const trimmed = line.trim()
    if (trimmed === '' || trimmed.startsWith('#')) continue
    const key = keyOfLine(trimmed)
    if (!key)
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `not an SSH public key: ${JSON.stringify(trimmed.slice(0, 60))}; expected "ssh-ed25519 AAAA… comment"`,
      )
    any = true
    if (present.has(key)) continue
    present.add(key)
    fresh.push(trimmed)
  }
  if (!any) throw new DrydiskError('ERR_INVALID_ARGUMENT', 'there is no SSH public key in the text given')
  const first = lines.length + 1
  const last = lines[lines.length - 1]
  if (fresh.length > 0 && last?.ending === '') last.ending = '\n'
  insertLines(lines, lines.length, fresh)
  return { text: joinLines(lines), added: fresh.map((key, i) => ({ line: first + i, key })) }
}
