import type { Digest } from './digest.ts'
import { PwxContext, S_BYTES } from './pwxform.ts'
import { concatBytes, encodeText } from './text.ts'

/**
 * yescrypt (`$y$` of crypt(5)): Alexander Peslyak's "yescrypt - a Password Hashing Competition submission" with the changes of
 * its version 1.0. Only the read-write flavor with its default parameters of pwxform is done, which is what every
 * distribution uses; no ROM.
 */
export interface YescryptCost {
  /** Blocks of 128 * r bytes; a power of two. */
  readonly N: number
  readonly r: number
  readonly p: number
  readonly t: number
}

/** `j` at the head of the parameters: read-write, six rounds, gather 4, simple 2, an S-box of 12 KiB. */
const FLAVOR = 47

/** crypt(3)'s base 64 alphabet. */
const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** The setting takes no longer salt. */
const MAX_SALT = 64

interface Setting {
  readonly cost: YescryptCost
  readonly salt: Uint8Array
  /** Everything up to the `$` before the hash. */
  readonly text: string
}

/** Numbers of variable length: the first character's value says how many characters follow. */
function readNumber(text: string, at: number, minimum: number): { value: number; next: number } | undefined {
  let start = 0
  let end = FLAVOR
  let more = 0
  let value = minimum
  const first = ALPHABET.indexOf(text[at] ?? '$')
  if (first < 0) return undefined
  while (first > end) {
    value += (end + 1 - start) * 64 ** more
    start = end + 1
    end = start + Math.floor((62 - end) / 2)
    more++
  }
  value += (first - start) * 64 ** more
  let next = at + 1
  for (; more > 0; next++) {
    const digit = ALPHABET.indexOf(text[next] ?? '$')
    if (digit < 0) return undefined
    more--
    value += digit * 64 ** more
  }
  return value < 2 ** 32 ? { value, next } : undefined
}

/** Reads `$y$PARAMETERS$SALT` (a hash may follow); `undefined` for what is malformed or another flavor. */
function parseSetting(setting: string): Setting | undefined {
  const match = /^(\$y\$([./0-9A-Za-z]+)\$([./0-9A-Za-z]*))(?:\$[./0-9A-Za-z]*)?$/.exec(setting)
  if (!match) return undefined
  const [, text = '', parameters = '', saltText = ''] = match
  const flavor = readNumber(parameters, 0, 0)
  const logN = flavor && readNumber(parameters, flavor.next, 1)
  const r = logN && readNumber(parameters, logN.next, 1)
  if (!r || flavor.value !== FLAVOR) return undefined
  const optional = { p: 1, t: 0 }
  if (r.next < parameters.length) {
    const have = readNumber(parameters, r.next, 1)
    if (!have || have.value > 3) return undefined
    let { next } = have
    for (const [bit, name, minimum] of [
      [1, 'p', 2],
      [2, 't', 1],
    ] as const) {
      if (!(have.value & bit)) continue
      const number = readNumber(parameters, next, minimum)
      if (!number) return undefined
      optional[name] = number.value
      next = number.next
    }
    if (next !== parameters.length) return undefined
  }
  const salt = decode64(saltText)
  if (!salt || salt.length > MAX_SALT || logN.value > 31) return undefined
  return { cost: { N: 2 ** logN.value, r: r.value, ...optional }, salt, text }
}

/** Groups of up to three bytes, least significant six bits first. */
export function encode64(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 3) {
    let value = 0
    let bits = 0
    for (const byte of bytes.subarray(at, at + 3)) {
      value |= byte << bits
      bits += 8
    }
    for (let done = 0; done < bits; done += 6) text += ALPHABET[(value >>> done) & 63]
  }
  return text
}

function decode64(text: string): Uint8Array | undefined {
  const bytes: number[] = []
  for (let at = 0; at < text.length; at += 4) {
    let value = 0
    let bits = 0
    for (const c of text.slice(at, at + 4)) {
      value |= ALPHABET.indexOf(c) << bits
      bits += 6
    }
    if (bits < 12) return undefined
    for (; bits >= 8; bits -= 8) {
      bytes.push(value & 0xff)
      value >>>= 8
    }
    if (value !== 0) return undefined
  }
  return Uint8Array.from(bytes)
}

function hmac(digest: Digest, key: Uint8Array, message: Uint8Array): Uint8Array {
  const block = new Uint8Array(64)
  block.set(key.length > 64 ? digest(key) : key)
  const inner = digest(concatBytes([block.map(byte => byte ^ 0x36), message]))
  return digest(concatBytes([block.map(byte => byte ^ 0x5c), inner]))
}

/** PBKDF2-HMAC-SHA256 of one iteration (RFC 8018). */
function pbkdf2(digest: Digest, key: Uint8Array, salt: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length)
  const number = new Uint8Array(4)
  for (let at = 0, block = 1; at < length; at += 32, block++) {
    new DataView(number.buffer).setUint32(0, block)
    out.set(hmac(digest, key, concatBytes([salt, number])).subarray(0, length - at), at)
  }
  return out
}

/**
 * crypt(3) for `$y$`: `undefined` for a setting that is malformed or would take more than `maxBytes` of memory or, by its
 * `t`, many times the usual work.
 */
export function yescrypt(
  sha256: Digest,
  key: Uint8Array,
  setting: string,
  maxBytes: number,
): string | undefined {
  const parsed = parseSetting(setting)
  if (!parsed) return undefined
  const { cost, salt, text } = parsed
  const { N, r, p, t } = cost
  if (N < 4 || N / p < 2 || N * r * 128 > maxBytes || t > 3) return undefined
  let phrase = key
  // A large cost is preceded by a small one, so that a guess costs something before memory is filled.
  if (N / p >= 0x100 && (N / p) * r >= 0x20000)
    phrase = derive(sha256, phrase, salt, { N: N / 64, r, p, t: 0 }, true)
  return `${text}$${encode64(derive(sha256, phrase, salt, cost, false))}`
}

function derive(
  sha256: Digest,
  phrase: Uint8Array,
  salt: Uint8Array,
  cost: YescryptCost,
  prehash: boolean,
): Uint8Array {
  const { r, p } = cost
  let key = hmac(sha256, encodeText(prehash ? 'yescrypt-prehash' : 'yescrypt'), phrase)
  const blocks = pbkdf2(sha256, key, salt, 128 * r * p)
  key = blocks.slice(0, 32)
  const mixed = mix(sha256, blocks, cost, key)
  const derived = pbkdf2(sha256, mixed.key, mixed.blocks, 32)
  // As SCRAM does it (RFC 5802): what is stored does not let its reader log in.
  return prehash ? derived : sha256(hmac(sha256, derived, encodeText('Client Key')))
}

/** SMix of the paper. The blocks' words are read in the order that salsa20's SIMD form works in. */
function mix(sha256: Digest, blocks: Uint8Array, cost: YescryptCost, phrase: Uint8Array) {
  const { N, r, p, t } = cost
  const words = 32 * r
  const even = (count: number) => count + (count % 2)
  let all = Math.floor(N / p)
  const chunk = all - (all % 2)
  all = t <= 1 ? Math.floor((all * (t + 1) + 2) / 3) : all * (t - 1)
  const readWrite = even(Math.floor(all / p))
  all = even(all)

  const V = new Uint32Array(words * N)
  const out = new Uint8Array(blocks)
  const contexts: PwxContext[] = []
  let key = phrase
  for (let i = 0; i < p; i++) {
    const block = out.subarray(128 * r * i, 128 * r * (i + 1))
    const count = i < p - 1 ? chunk : N - chunk * i
    const S = new Uint32Array(S_BYTES / 4)
    const context = new PwxContext(S)
    const head = shuffled(block.subarray(0, 128))
    context.fillWithSalsa(head)
    unshuffle(head, block)
    if (i === 0) key = hmac(sha256, block.subarray(128 * r - 64), key)
    contexts.push(context)
    const X = shuffled(block)
    const part = V.subarray(words * chunk * i, words * (chunk * i + count))
    context.fill(X, part)
    context.mixIn(X, part, 2 ** Math.floor(Math.log2(count)), readWrite, true)
    unshuffle(X, block)
  }
  if (all > readWrite)
    contexts.forEach((context, i) => {
      const block = out.subarray(128 * r * i, 128 * r * (i + 1))
      const X = shuffled(block)
      context.mixIn(X, V, N, all - readWrite, false)
      unshuffle(X, block)
    })
  return { blocks: out, key }
}

function shuffled(block: Uint8Array): Uint32Array {
  const view = new DataView(block.buffer, block.byteOffset, block.length)
  const X = new Uint32Array(block.length / 4)
  for (let at = 0; at < X.length; at += 16)
    for (let i = 0; i < 16; i++) X[at + i] = view.getUint32((at + ((i * 5) % 16)) * 4, true)
  return X
}

function unshuffle(X: Uint32Array, block: Uint8Array): void {
  const view = new DataView(block.buffer, block.byteOffset, block.length)
  for (let at = 0; at < X.length; at += 16)
    for (let i = 0; i < 16; i++) view.setUint32((at + ((i * 5) % 16)) * 4, X[at + i] ?? 0, true)
}
