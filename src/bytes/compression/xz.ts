import { DrydiskError } from '../../errors.ts'
import { littleEndian } from '../byte-view.ts'
import { crc32 } from '../crc32.ts'
import { Crc64 } from '../crc64.ts'
import { unpackLzma2 } from './lzma2.ts'

/** The .xz file format 1.2.1 (https://tukaani.org/xz/xz-file-format.txt), whose names are used. */
const HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]
const HEADER_SIZE = 12
const LZMA2_FILTER = 0x21
const FILTERS: Readonly<Record<number, string>> = {
  3: 'delta',
  4: 'x86',
  5: 'PowerPC',
  6: 'IA-64',
  7: 'ARM',
  8: 'ARM Thumb',
  9: 'SPARC',
  10: 'ARM64',
  11: 'RISC-V',
}
const CHECK_CRC32 = 1
const CHECK_CRC64 = 4
const CHECKS: Readonly<Record<number, string>> = { 0: 'none', 1: 'CRC32', 4: 'CRC64', 10: 'SHA-256' }
/** What `xz -9` uses is a quarter of it. */
const MAX_DICTIONARY = 256 << 20

/**
 * Unpacks what xz packed: one stream or more, each of any number of blocks, packed by LZMA2. Pieces are 2 MiB at most; a block's checksum is
 * looked at behind its last piece. @throws `ERR_CORRUPT`; `ERR_UNSUPPORTED` for filters other than LZMA2, SHA-256 and larger dictionaries.
 */
export function* unpackXz(from: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < from.length; ) {
    at = yield* stream(from, at)
    // Padding between streams is in words of four zeros.
    while (at < from.length && from[at] === 0) at++
    if (at % 4 !== 0) throw damaged('has padding of an odd size behind a stream')
  }
}

function* stream(from: Uint8Array, start: number): Generator<Uint8Array, number> {
  const header = part(from, start, HEADER_SIZE)
  if (HEADER_MAGIC.some((byte, i) => header.u8(i) !== byte))
    throw damaged('has no stream header where one should be')
  if (header.u32(8) !== crc32(header.slice(6, 2)))
    throw damaged('has a stream header whose checksum is wrong')
  const check = header.u8(7)
  if (header.u8(6) !== 0 || (check !== 0 && check !== CHECK_CRC32 && check !== CHECK_CRC64))
    throw unsupported(`checksums by ${CHECKS[check] ?? `method ${check}`}`)
  let at = start + HEADER_SIZE
  let blocks = 0
  while (part(from, at, 1).u8(0) !== 0) {
    at = yield* block(from, at, check)
    blocks++
  }
  const index = at
  const counter = varint(from, at + 1)
  if (counter.value !== blocks) throw damaged(`lists ${counter.value} blocks in its index and has ${blocks}`)
  at = counter.end
  for (let i = 0; i < blocks * 2; i++) at = varint(from, at).end
  at = padded(from, at, index)
  if (part(from, at, 4).u32(0) !== crc32(from.subarray(index, at)))
    throw damaged('has an index whose checksum is wrong')
  const footer = part(from, at + 4, HEADER_SIZE)
  if (
    footer.u32(0) !== crc32(footer.slice(4, 6)) ||
    footer.u16(10) !== 0x5a59 ||
    footer.u16(8) !== header.u16(6)
  )
    throw damaged('has no stream footer behind its index')
  return at + 4 + HEADER_SIZE
}

function* block(from: Uint8Array, start: number, check: number): Generator<Uint8Array, number> {
  const size = (part(from, start, 1).u8(0) + 1) * 4
  const header = part(from, start, size)
  if (header.u32(size - 4) !== crc32(header.slice(0, size - 4)))
    throw damaged('has a block header whose checksum is wrong')
  const flags = header.u8(1)
  let at = start + 2
  let packed: number | undefined
  let content: number | undefined
  if (flags & 0x40) ({ value: packed, end: at } = varint(from, at))
  if (flags & 0x80) ({ value: content, end: at } = varint(from, at))
  const { value: filter, end } = varint(from, at)
  if ((flags & 3) !== 0 || filter !== LZMA2_FILTER)
    throw unsupported(`the filter ${FILTERS[filter] ?? filter}`)
  if (part(from, end, 2).u8(0) !== 1) throw damaged('has properties of LZMA2 that are not one byte')
  const data = start + size
  const chunks = unpackLzma2(from, data, dictionarySize(from[end + 1] ?? 0xff))
  const crc64 = new Crc64()
  let sum = 0
  let length = 0
  for (;;) {
    const { done, value } = chunks.next()
    if (done) {
      at = data + value
      break
    }
    if (check === CHECK_CRC32) sum = crc32(value, sum)
    if (check === CHECK_CRC64) crc64.update(value)
    length += value.length
    yield value
  }
  if ((packed ?? at - data) !== at - data || (content ?? length) !== length)
    throw damaged('has a block of another size than its header says')
  at = padded(from, at, start)
  if (check === CHECK_CRC32 && part(from, at, 4).u32(0) !== sum) throw wrongSum()
  if (check === CHECK_CRC64 && part(from, at, 8).big(0) !== crc64.value) throw wrongSum()
  return at + (check === 0 ? 0 : check === CHECK_CRC32 ? 4 : 8)
}

function dictionarySize(bits: number): number {
  if (bits > 40) throw damaged(`has a dictionary of size ${bits}`)
  const size = (2 | (bits & 1)) * 2 ** (Math.floor(bits / 2) + 11)
  if (size > MAX_DICTIONARY) throw unsupported(`a dictionary of ${size} bytes (${MAX_DICTIONARY} at most)`)
  return size
}

/** Behind zeros that make what begins at `start` a multiple of four bytes long. */
function padded(from: Uint8Array, at: number, start: number): number {
  const end = start + Math.ceil((at - start) / 4) * 4
  if (from.subarray(at, end).some(byte => byte !== 0)) throw damaged('has padding that is not zero')
  return end
}

/** Seven bits a byte, the lowest first; nine bytes at most. Values past 2^53 are damage here. */
function varint(from: Uint8Array, start: number): { value: number; end: number } {
  let value = 0
  for (let i = 0; i < 8; i++) {
    const byte = part(from, start + i, 1).u8(0)
    value += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80 && value <= Number.MAX_SAFE_INTEGER) return { value, end: start + i + 1 }
  }
  throw damaged('has a number that is too large')
}

function part(from: Uint8Array, at: number, length: number) {
  if (at + length > from.length) throw damaged('ends too early')
  return littleEndian(from.subarray(at, at + length), 'xz')
}

function damaged(how: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `xz data ${how}`)
}

function wrongSum(): DrydiskError {
  return damaged('has a block whose checksum is wrong')
}

function unsupported(what: string): DrydiskError {
  return new DrydiskError('ERR_UNSUPPORTED', `xz data with ${what} is not read: unpack it with xz first`)
}
