import { DrydiskError } from '../errors.ts'
import { type Digest, loadDigest } from './digest.ts'
import { concatBytes, encodeText } from './text.ts'
import { encode64, yescrypt } from './yescrypt.ts'

/**
 * crypt(3) methods. SHA-crypt is specified in Ulrich Drepper's "Unix crypt using SHA-256 and SHA-512"; `$1$` is Poul-Henning
 * Kamp's md5crypt, kept for guests whose C library knows nothing newer (CirrOS). yescrypt is libxcrypt's default.
 */
export type CryptMethod = 'sha512' | 'sha256' | 'md5' | 'yescrypt'

/** As `--password-crypto` of virt-customize takes them, and yescrypt. */
export const CRYPT_METHODS: readonly CryptMethod[] = ['sha512', 'sha256', 'md5', 'yescrypt']

/** What a hash begins with, by its method (crypt(5)). */
export const CRYPT_PREFIXES: Readonly<Record<CryptMethod, string>> = {
  sha512: '$6$',
  sha256: '$5$',
  md5: '$1$',
  yescrypt: '$y$',
}

/** The method of a hash, or `undefined` where it is none of ours. */
export function methodOfHash(hash: string): CryptMethod | undefined {
  return CRYPT_METHODS.find(method => hash.startsWith(CRYPT_PREFIXES[method]))
}

/** crypt(3)'s base 64 alphabet, least significant six bits first. */
const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

const ROUNDS_DEFAULT = 5000
const ROUNDS_MIN = 1000
const ROUNDS_MAX = 999_999_999
/** A hash found in an image may ask for a billion rounds; verifying it would take an hour. */
const ROUNDS_VERIFY_MAX = 1_000_000

/** libxcrypt's default cost (5): 4096 blocks of 4 KiB, so 16 MiB. */
const YESCRYPT_PARAMETERS = 'j9T'
/** A hash found in an image may ask for gigabytes; this is libxcrypt's cost 7. */
const YESCRYPT_VERIFY_BYTES = 64 << 20

/** crypt(3) of libxcrypt takes no longer phrase (CRYPT_MAX_PASSPHRASE_SIZE); the work grows with its square. */
const MAX_PHRASE = 511

/** A new salt from the platform's random source: 16 characters, 8 for md5, 16 bytes in 22 characters for yescrypt. */
export function randomSalt(method: CryptMethod = 'sha512'): string {
  if (method === 'yescrypt') return encode64(globalThis.crypto.getRandomValues(new Uint8Array(16)))
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
export async function hashPassword(
  password: string,
  options: { method?: CryptMethod; rounds?: number; salt?: string } = {},
): Promise<string> {
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
  const phrase = encodeText(password)
  if (phrase.length > MAX_PHRASE)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `a password has at most ${MAX_PHRASE} bytes, not ${phrase.length}`,
    )
  const prefix = `${CRYPT_PREFIXES[method]}${method === 'yescrypt' ? `${YESCRYPT_PARAMETERS}$` : ''}`
  const takesRounds = method === 'sha512' || method === 'sha256'
  const hashed = await crypt(
    phrase,
    `${prefix}${rounds === undefined || !takesRounds ? '' : `rounds=${rounds}$`}${salt}`,
  )
  if (hashed === undefined) throw new DrydiskError('ERR_INVALID_ARGUMENT', 'not a crypt(3) setting')
  return hashed
}

/**
 * Whether `hashed` (a field of shadow) is a hash of `password`; `undefined` when its method is none of ours, or asks for more
 * than a million rounds or 64 MiB.
 */
export async function verifyPassword(password: string, hashed: string): Promise<boolean | undefined> {
  const computed = await crypt(encodeText(password), hashed, ROUNDS_VERIFY_MAX)
  return computed === undefined ? undefined : computed === hashed
}

/**
 * crypt(3): hashes `key` by `setting` (a prefix with a salt, or a whole hash). `undefined` for a setting that is not of
 * `$1$`, `$5$`, `$6$` or `$y$`, or is malformed, or asks for more than `maxRounds` (SHA) or 64 MiB (yescrypt).
 */
export async function crypt(
  key: Uint8Array,
  setting: string,
  maxRounds = ROUNDS_MAX,
): Promise<string | undefined> {
  if (key.length > MAX_PHRASE) return undefined
  const md5Setting = /^\$1\$([^$:\n]{0,8})/.exec(setting)
  if (md5Setting) return md5crypt(await loadDigest('md5'), key, encodeText(md5Setting[1] ?? '', 'latin1'))
  if (setting.startsWith('$y$'))
    return yescrypt(await loadDigest('sha256'), key, setting, YESCRYPT_VERIFY_BYTES)
  const sha = /^\$([56])\$(?:rounds=([1-9]\d*)\$)?([^$:\n]{0,16})/.exec(setting)
  if (!sha || /^\$[56]\$rounds=/.test(setting) !== (sha[2] !== undefined)) return undefined
  const rounds = sha[2] === undefined ? undefined : Number(sha[2])
  // libxcrypt refuses rounds outside its limits where older libraries clamp them.
  if (rounds !== undefined && (rounds < ROUNDS_MIN || rounds > maxRounds)) return undefined
  const method = sha[1] === '6' ? 'sha512' : 'sha256'
  return shaCrypt(method, await loadDigest(method), key, sha[3] ?? '', rounds)
}

function shaCrypt(
  method: 'sha512' | 'sha256',
  digest: Digest,
  key: Uint8Array,
  saltText: string,
  rounds?: number,
): string {
  const salt = encodeText(saltText, 'latin1')
  const alternate = digest(concatBytes([key, salt, key]))
  const first = [key, salt, repeatTo(alternate, key.length)]
  for (let bits = key.length; bits > 0; bits >>>= 1) first.push(bits & 1 ? alternate : key)
  let state = digest(concatBytes(first))

  // P and S: sequences of the length of the key and of the salt, from digests of them many times over.
  const p = repeatTo(digest(repeatTo(key, key.length * key.length)), key.length)
  const s = repeatTo(digest(repeatTo(salt, salt.length * (16 + (state[0] ?? 0)))), salt.length)

  const count = rounds ?? ROUNDS_DEFAULT
  const buffer = new Uint8Array(state.length + p.length * 2 + s.length)
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
    state = digest(buffer.subarray(0, at))
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

function md5crypt(digest: Digest, key: Uint8Array, salt: Uint8Array): string {
  const alternate = digest(concatBytes([key, salt, key]))
  const first = [key, encodeText('$1$'), salt, repeatTo(alternate, key.length)]
  for (let bits = key.length; bits > 0; bits >>>= 1)
    first.push(bits & 1 ? Uint8Array.of(0) : key.subarray(0, 1))
  let state = digest(concatBytes(first))
  for (let i = 0; i < 1000; i++) {
    const parts: Uint8Array[] = [i & 1 ? key : state]
    if (i % 3) parts.push(salt)
    if (i % 7) parts.push(key)
    parts.push(i & 1 ? state : key)
    state = digest(concatBytes(parts))
  }
  const d = (i: number) => state[i] ?? 0
  let text = `$1$${String.fromCharCode(...salt)}$`
  for (let i = 0; i < 4; i++) text += encode24(d(i), d(i + 6), d(i + 12), 4)
  text += encode24(d(4), d(10), d(5), 4)
  return text + encode24(0, 0, d(11), 2)
}
