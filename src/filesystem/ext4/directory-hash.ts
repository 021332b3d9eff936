import { littleEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import { SUPERBLOCK_FLAG, type Superblock } from './superblock.ts'

/** hash_version of a dx_root and s_def_hash_version (fs/ext4/ext4.h, DX_HASH_*). */
export const HASH_VERSION = {
  LEGACY: 0,
  HALF_MD4: 1,
  TEA: 2,
  LEGACY_UNSIGNED: 3,
  HALF_MD4_UNSIGNED: 4,
  TEA_UNSIGNED: 5,
  SIPHASH: 6,
} as const

/** What a directory's names are hashed with. */
export interface DirectoryHash {
  readonly algorithm: 'legacy' | 'half_md4' | 'tea'
  /** Bytes from 0x80 are taken as negative numbers, as a `char` of x86 is. */
  readonly signed: boolean
  /** Four words; all zero means the algorithm's own. */
  readonly seed: readonly [number, number, number, number]
}

/**
 * The hash for names of an htree whose root says `version`: whether bytes are signed is not in the directory but in the
 * superblock's s_flags. `ERR_UNSUPPORTED` for SipHash, whose key comes with an encryption key; `ERR_CORRUPT` for others.
 */
export function directoryHash(superblock: Superblock, version: number): DirectoryHash {
  if (version === HASH_VERSION.SIPHASH)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      'the directory is hashed by SipHash, which only encrypted and casefolded directories use',
    )
  const algorithm = (['legacy', 'half_md4', 'tea'] as const)[version % 3]
  if (algorithm === undefined || version > HASH_VERSION.TEA_UNSIGNED)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `directory hash version ${version} does not exist: expected 0 to 5`,
      {
        structure: 'dx_root',
      },
    )
  const seed = littleEndian(superblock.s_hash_seed, 'superblock')
  return {
    algorithm,
    signed:
      version < HASH_VERSION.LEGACY_UNSIGNED && (superblock.s_flags & SUPERBLOCK_FLAG.UNSIGNED_HASH) === 0,
    seed: [seed.u32(0), seed.u32(4), seed.u32(8), seed.u32(12)],
  }
}

/** The major hash of a name, an unsigned even number: its lowest bit marks collisions in the index. */
export function hashName(hash: DirectoryHash, name: Uint8Array): number {
  const even = (rawHash(hash, name) & ~1) >>> 0
  // The largest even number stands for the end of a directory in a readdir position (EXT4_HTREE_EOF_32BIT).
  return even === 0xffff_fffe ? 0xffff_fffc : even
}

function rawHash(hash: DirectoryHash, name: Uint8Array): number {
  if (hash.algorithm === 'legacy') return legacyHash(name, hash.signed)
  const { seed } = hash
  const state: State = (seed[0] | seed[1] | seed[2] | seed[3]) === 0 ? [...MD4_START] : [...seed]
  const words = hash.algorithm === 'half_md4' ? 8 : 4
  const input = new Int32Array(words)
  for (let at = 0; at < name.length; at += words * 4) {
    packName(name.subarray(at), input, hash.signed)
    if (hash.algorithm === 'half_md4') halfMd4(state, input)
    else tea(state, input)
  }
  return hash.algorithm === 'half_md4' ? state[1] : state[0]
}

type State = [number, number, number, number]

/** The start values of MD4 (RFC 1320 3.3), which serve TEA too where there is no seed. */
const MD4_START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]

function byteValue(byte: number, signed: boolean): number {
  return signed && byte > 127 ? byte - 256 : byte
}

/** The hash of ext3's first htrees (fs/ext4/hash.c, dx_hack_hash). */
function legacyHash(name: Uint8Array, signed: boolean): number {
  let before = 0x12a3_fe2d
  let last = 0x37ab_e8f9
  for (const byte of name) {
    let next = (last + (before ^ Math.imul(byteValue(byte, signed), 7_152_373))) | 0
    // Seen as unsigned, as in the kernel: a value with its top bit set loses 2^31 - 1.
    if (next < 0) next = (next - 0x7fff_ffff) | 0
    last = before
    before = next
  }
  return before << 1
}

/**
 * Up to `into.length` words of the name, big-endian within a word, the rest filled with the length that is left of the
 * name, in every byte (fs/ext4/hash.c, str2hashbuf). Signed bytes borrow from the byte above them.
 */
function packName(rest: Uint8Array, into: Int32Array, signed: boolean): void {
  const padding = Math.imul(rest.length & 0xffff, 0x0101) | 0
  const pad = padding | (padding << 16)
  const length = Math.min(rest.length, into.length * 4)
  let word = 0
  let value = pad
  for (let i = 0; i < length; i++) {
    value = (byteValue(rest[i] ?? 0, signed) + (value << 8)) | 0
    if (i % 4 === 3) {
      into[word++] = value
      value = pad
    }
  }
  if (word < into.length) into[word++] = value
  while (word < into.length) into[word++] = pad
}

function rotateLeft(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}

type Mixer = (x: number, y: number, z: number) => number

/** The three rounds of MD4, over eight words each: function, constant, order of the words, rotations (fs/ext4/hash.c). */
const MD4_ROUNDS: readonly {
  readonly mix: Mixer
  readonly constant: number
  readonly order: readonly number[]
  readonly rotations: readonly [number, number, number, number]
}[] = [
  {
    mix: (x, y, z) => z ^ (x & (y ^ z)),
    constant: 0,
    order: [0, 1, 2, 3, 4, 5, 6, 7],
    rotations: [3, 7, 11, 19],
  },
  {
    mix: (x, y, z) => ((x & y) + ((x ^ y) & z)) | 0,
    constant: 0x5a82_7999,
    order: [1, 3, 5, 7, 0, 2, 4, 6],
    rotations: [3, 5, 9, 13],
  },
  {
    mix: (x, y, z) => x ^ y ^ z,
    constant: 0x6ed9_eba1,
    order: [3, 7, 2, 6, 1, 5, 0, 4],
    rotations: [3, 9, 11, 15],
  },
]

function halfMd4(state: State, input: Int32Array): void {
  let [a, b, c, d] = state
  for (const { mix, constant, order, rotations } of MD4_ROUNDS)
    for (let step = 0; step < 8; step++) {
      const sum = (a + mix(b, c, d) + (input[order[step] ?? 0] ?? 0) + constant) | 0
      const rotated = rotateLeft(sum, rotations[step & 3] ?? 0)
      // The four registers take turns: what was computed becomes the next step's second one.
      a = d
      d = c
      c = b
      b = rotated
    }
  state[0] = (state[0] + a) | 0
  state[1] = (state[1] + b) | 0
  state[2] = (state[2] + c) | 0
  state[3] = (state[3] + d) | 0
}

/** Sixteen rounds of the Tiny Encryption Algorithm with the name as its key. */
function tea(state: State, key: Int32Array): void {
  const [k0 = 0, k1 = 0, k2 = 0, k3 = 0] = key
  let v0 = state[0]
  let v1 = state[1]
  let sum = 0
  for (let round = 0; round < 16; round++) {
    sum = (sum + 0x9e37_79b9) | 0
    v0 = (v0 + (((v1 << 4) + k0) ^ (v1 + sum) ^ ((v1 >>> 5) + k1))) | 0
    v1 = (v1 + (((v0 << 4) + k2) ^ (v0 + sum) ^ ((v0 >>> 5) + k3))) | 0
  }
  state[0] = (state[0] + v0) | 0
  state[1] = (state[1] + v1) | 0
}
