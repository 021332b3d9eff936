import { DrydiskError, isDrydiskError } from '../../errors.ts'

export const BLOCK = 512

/** A header block as POSIX.1-1988 (ustar) and GNU tar lay it out: tar(5) of libarchive, `struct posix_header` in GNU's tar.h. */
export interface TarHeader {
  /** With the ustar prefix before it. */
  readonly name: Uint8Array
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  /** Seconds since the epoch. */
  readonly mtime: number
  readonly typeflag: string
  readonly linkname: Uint8Array
  readonly devmajor: number
  readonly devminor: number
  /** `ustar  \0`: the end of the block holds GNU's fields, not a prefix. */
  readonly gnu: boolean
}

/** `undefined` for a block of zeros, which ends an archive. */
export function parseHeader(block: Uint8Array, offset: number): TarHeader | undefined {
  if (block.every(byte => byte === 0)) return undefined
  checkSum(block, offset)
  const magic = ascii(block.subarray(257, 265))
  const gnu = magic === 'ustar  \0'
  const ustar = magic.startsWith('ustar')
  const prefix = ustar && !gnu ? terminated(block.subarray(345, 500)) : new Uint8Array(0)
  const number = (start: number, end: number, field: string) =>
    parseNumber(block.subarray(start, end), field, offset)
  return {
    name: withPrefix(prefix, terminated(block.subarray(0, 100))),
    mode: number(100, 108, 'mode') & 0o7777,
    uid: number(108, 116, 'uid'),
    gid: number(116, 124, 'gid'),
    size: number(124, 136, 'size'),
    mtime: number(136, 148, 'mtime'),
    typeflag: String.fromCharCode(block[156] ?? 0),
    linkname: terminated(block.subarray(157, 257)),
    devmajor: ustar ? number(329, 337, 'devmajor') : 0,
    devminor: ustar ? number(337, 345, 'devminor') : 0,
    gnu,
  }
}

/** Bytes are summed as unsigned, and by some old programs as signed; the sum's own field counts as blanks. */
function checkSum(block: Uint8Array, offset: number): void {
  let unsigned = 0
  let signed = 0
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : (block[i] ?? 0)
    unsigned += byte
    signed += byte < 0x80 ? byte : byte - 0x100
  }
  const stored = storedSum(block, offset)
  if (stored !== unsigned && stored !== signed)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `${offset === 0 ? 'this is no tar archive' : `no tar header at byte ${offset}`}: the checksum of its header is ${stored}, expected ${unsigned}`,
      { offset },
    )
}

function storedSum(block: Uint8Array, offset: number): number {
  try {
    return parseNumber(block.subarray(148, 156), 'checksum', offset)
  } catch (error) {
    if (offset !== 0 || !isDrydiskError(error)) throw error
    throw new DrydiskError('ERR_CORRUPT', `this is no tar archive: ${error.message}`, { offset }, error)
  }
}

/** Octal digits, or where the first bit is set a big-endian number in two's complement (GNU, star). */
export function parseNumber(field: Uint8Array, name: string, offset: number): number {
  const first = field[0] ?? 0
  if (first & 0x80) {
    const negative = (first & 0x40) !== 0
    let value = BigInt(first & 0x7f) - (negative ? 0x80n : 0n)
    for (const byte of field.subarray(1)) value = value * 256n + BigInt(byte)
    const number = Number(value)
    if (Number.isSafeInteger(number) && (!negative || name === 'mtime')) return number
  } else {
    const text = ascii(field)
      .replace(/[\0 ]+$/, '')
      .replace(/^[\0 ]+/, '')
    if (text === '') return 0
    if (/^[0-7]+$/.test(text)) return Number.parseInt(text, 8)
  }
  throw new DrydiskError('ERR_CORRUPT', `the ${name} of the tar header at byte ${offset} is no number`, {
    offset,
  })
}

export function ascii(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes)
}

/** Up to the first NUL byte. */
export function terminated(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0)
  return end < 0 ? bytes : bytes.subarray(0, end)
}

function withPrefix(prefix: Uint8Array, name: Uint8Array): Uint8Array {
  if (prefix.length === 0) return name.slice()
  const whole = new Uint8Array(prefix.length + 1 + name.length)
  whole.set(prefix)
  whole[prefix.length] = 0x2f
  whole.set(name, prefix.length + 1)
  return whole
}
