import { md5 } from '@noble/hashes/legacy.js'
import { sha256, sha512 } from '@noble/hashes/sha2.js'
import { DrydiskError } from '../errors.ts'
import { concatBytes, encodeText } from './text.ts'

/**
 * crypt(3) methods. SHA-crypt is specified in Ulrich Drepper's "Unix crypt using SHA-256 and SHA-512"; `$1$` is Poul-Henning
 * Kamp's md5crypt, kept for guests whose C library knows nothing newer (CirrOS).
 */
export type CryptMethod = 'sha512' | 'sha256' | 'md5'

/** crypt(3)'s base 64 alphabet, least significant six bits first. */
const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

const ROUNDS_DEFAULT = 5000
const ROUNDS_MIN = 1000
const ROUNDS_MAX = 999_999_999
/** A hash found in an image may ask for a billion rounds; verifying it would take an hour. */
const ROUNDS_VERIFY_MAX = 1_000_000

interface Hasher {
  update(data: Uint8Array): Hasher
  digest(): Uint8Array
}

/** A new salt from the platform's random source: 16 characters, 8 for md5. */
export function randomSalt(method: CryptMethod = 'sha512'): string {
  return randomCharacters(method === 'md5' ? 8 : 16)
}

/** A password of `length` characters of crypt(3)'s 64, so 6 bits each. */
export function randomPassword(length = 16): string {
  // Without the punctuation and the look-alikes a person would mistype: 5.8 bits each.
  const readable = 'abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789'
  let password = ''
  while (password.length < length) {
    const [byte = 255] = globalThis.crypto.getRandomValues(new Uint8Array(1))
    // Rejection keeps every character equally likely.
    if (byte < 256 - (256 % readable.length)) password += readable[byte % readable.length]
  }
  return password
}

function randomCharacters(count: number): string {
  return Array.from(
    globalThis.crypto.getRandomValues(new Uint8Array(count)),
    byte => ALPHABET[byte & 63],
  ).join('')
}

/** A new hash with a random salt. `rounds` (1000 to 999999999) is for the SHA methods; 5000 when left out. */
export function hashPassword(
  password: string,
  options: { method?: CryptMethod; rounds?: number; salt?: string } = {},
): string {
  const method = options.method ?? 'sha512'
  const salt = options.salt ?? randomSalt(method)
  if (!/^[./0-9A-Za-z]+$/.test(salt))
    throw new DrydiskError('ERR_INVALID_ARGUMENT', 'a salt consists of letters, digits, "." and "/"')
  const { rounds } = options
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds >= ROUNDS_MIN && rounds <= ROUNDS_MAX))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `rounds must be a whole number from ${ROUNDS_MIN} to ${ROUNDS_MAX}, not ${rounds}`,
    )
  if (password.includes('\0'))
    throw new DrydiskError('ERR_INVALID_ARGUMENT', 'a password cannot hold a NUL character')
  const prefix = { sha512: '$6$', sha256: '$5$', md5: '$1$' }[method]
  const hashed = crypt(
    encodeText(password),
    `${prefix}${rounds === undefined || method === 'md5' ? '' : `rounds=${rounds}$`}${salt}`,
  )
  if (hashed === undefined) throw new DrydiskError('ERR_INVALID_ARGUMENT', 'not a crypt(3) setting')
  return hashed
}

/**
 * Whether `hashed` (a field of shadow) is a hash of `password`; `undefined` when its method is none of ours, or asks for more
 * than a million rounds.
 */
export function verifyPassword(password: string, hashed: string): boolean | undefined {
  const computed = crypt(encodeText(password), hashed, ROUNDS_VERIFY_MAX)
  return computed === undefined ? undefined : computed === hashed
}

/**
 * crypt(3): hashes `key` by `setting` (a prefix with a salt, or a whole hash). `undefined` for a setting that is not of
 * `$1$`, `$5$` or `$6$`, or is malformed, or asks for more than `maxRounds`.
 */
export function crypt(key: Uint8Array, setting: string, maxRounds = ROUNDS_MAX): string | undefined {
  const md5Setting = /^\$1\$([^$:\n]{0,8})/.exec(setting)
  if (md5Setting) return md5crypt(key, encodeText(md5Setting[1] ?? '', 'latin1'))
  const sha = /^\$([56])\$(?:rounds=([1-9]\d*)\$)?([^$:\n]{0,16})/.exec(setting)
  if (!sha || /^\$[56]\$rounds=/.test(setting) !== (sha[2] !== undefined)) return undefined
  const rounds = sha[2] === undefined ? undefined : Number(sha[2])
  // libxcrypt refuses rounds outside its limits where older libraries clamp them.
  if (rounds !== undefined && (rounds < ROUNDS_MIN || rounds > maxRounds)) return undefined
  return shaCrypt(sha[1] === '6' ? 'sha512' : 'sha256', key, sha[3] ?? '', rounds)
}

function shaCrypt(method: 'sha512' | 'sha256', key: Uint8Array, saltText: string, rounds?: number): string {
  const size = method === 'sha512' ? 64 : 32
  const start = (): Hasher => (method === 'sha512' ? sha512.create() : sha256.create())
  const salt = encodeText(saltText, 'latin1')

  const alternate = start().update(key).update(salt).update(key).digest()
  const first = start().update(key).update(salt).update(repeatTo(alternate, key.length))
  for (let bits = key.length; bits > 0; bits >>>= 1) first.update(bits & 1 ? alternate : key)
  let state = first.digest()

  // P and S: sequences of the length of the key and of the salt, from digests of them many times over.
  const keyDigest = start()
  for (let i = 0; i < key.length; i++) keyDigest.update(key)
  const p = repeatTo(keyDigest.digest(), key.length)
  const saltDigest = start()
  for (let i = 0; i < 16 + (state[0] ?? 0); i++) saltDigest.update(salt)
  const s = repeatTo(saltDigest.digest(), salt.length)

  // One buffer per combination of the four conditions, so that a round is one digest call of one buffer.
  const count = rounds ?? ROUNDS_DEFAULT
  const buffer = new Uint8Array(size + p.length * 2 + s.length)
  for (let i = 0; i < count; i++) {
    let at = 0
    const put = (bytes: Uint8Array) => {
      buffer.set(bytes, at)
      at += bytes.length
    }
    put(i & 1 ? p : state)
    if (i % 3) put(s)
    if (i % 7) put(p)
    put(i & 1 ? state : p)
    state = start().update(buffer.subarray(0, at)).digest()
  }

  const prefix = `$${method === 'sha512' ? 6 : 5}$${rounds === undefined ? '' : `rounds=${rounds}$`}`
  return `${prefix}${saltText}$${method === 'sha512' ? encodeSha512(state) : encodeSha256(state)}`
}

function repeatTo(bytes: Uint8Array, length: number): Uint8Array {
  const repeated = new Uint8Array(length)
  for (let at = 0; at < length; at += bytes.length)
    repeated.set(bytes.subarray(0, Math.min(bytes.length, length - at)), at)
  return repeated
}

/** Three bytes as four characters, most significant byte first in the 24-bit value. */
function encode24(a: number, b: number, c: number, characters: number): string {
  let value = (a << 16) | (b << 8) | c
  let text = ''
  for (let i = 0; i < characters; i++) {
    text += ALPHABET[value & 63]
    value >>>= 6
  }
  return text
}

/** The specification's byte order: triples (0,21,42), (22,43,1), (44,2,23), … each rotated one place further. */
function encodeSha512(digest: Uint8Array): string {
  let text = ''
  for (let i = 0; i < 21; i++) {
    const bytes = [digest[i] ?? 0, digest[i + 21] ?? 0, digest[i + 42] ?? 0]
    const turn = i % 3
    text += encode24(bytes[turn] ?? 0, bytes[(turn + 1) % 3] ?? 0, bytes[(turn + 2) % 3] ?? 0, 4)
  }
  return text + encode24(0, 0, digest[63] ?? 0, 2)
}

/** (0,10,20), (21,1,11), (12,22,2), …: the same with the rotation the other way. */
function encodeSha256(digest: Uint8Array): string {
  let text = ''
  for (let i = 0; i < 10; i++) {
    const bytes = [digest[i] ?? 0, digest[i + 10] ?? 0, digest[i + 20] ?? 0]
    const turn = (3 - (i % 3)) % 3
    text += encode24(bytes[turn] ?? 0, bytes[(turn + 1) % 3] ?? 0, bytes[(turn + 2) % 3] ?? 0, 4)
  }
  return text + encode24(0, digest[31] ?? 0, digest[30] ?? 0, 3)
}

function md5crypt(key: Uint8Array, salt: Uint8Array): string {
  const start = (): Hasher => md5.create()
  const magic = encodeText('$1$')
  const alternate = start().update(key).update(salt).update(key).digest()
  const first = start().update(key).update(magic).update(salt).update(repeatTo(alternate, key.length))
  const zero = Uint8Array.of(0)
  for (let bits = key.length; bits > 0; bits >>>= 1) first.update(bits & 1 ? zero : key.subarray(0, 1))
  let state = first.digest()
  for (let i = 0; i < 1000; i++) {
    const parts: Uint8Array[] = [i & 1 ? key : state]
    if (i % 3) parts.push(salt)
    if (i % 7) parts.push(key)
    parts.push(i & 1 ? state : key)
    state = start().update(concatBytes(parts)).digest()
  }
  const d = (i: number) => state[i] ?? 0
  let text = `$1$${String.fromCharCode(...salt)}$`
  for (let i = 0; i < 4; i++) text += encode24(d(i), d(i + 6), d(i + 12), 4)
  text += encode24(d(4), d(10), d(5), 4)
  return text + encode24(0, 0, d(11), 2)
}
