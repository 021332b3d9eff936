import { DrydiskError } from '../../errors.ts'
import { LzmaDecoder, type LzmaWindow } from './lzma.ts'

/** A chunk unpacks to 2 MiB at most. */
const MAX_CHUNK = 2 << 20
/** Slides of the window keep positions modulo 16, which contexts depend on; and there are few of them. */
const LEAST_SLACK = 8 << 20

/**
 * Unpacks LZMA2 (xz's lzma2_decoder.c describes the control byte of a chunk): chunks that are packed by LZMA or plain, until a zero.
 * @param dictionary how far back matches may refer, in bytes.
 * @returns how many bytes of `from` it took.
 */
export function* unpackLzma2(
  from: Uint8Array,
  start: number,
  dictionary: number,
): Generator<Uint8Array, number> {
  const decoder = new LzmaDecoder()
  const window: LzmaWindow = { bytes: new Uint8Array(1 << 16), out: 0, origin: 0 }
  let needsDictionary = true
  let needsProperties = true
  let at = start
  const u16 = (offset: number) => ((from[offset] ?? 0) << 8) | (from[offset + 1] ?? 0)
  for (;;) {
    const control = from[at]
    if (control === undefined) throw damaged('ends too early')
    if (control === 0) return at + 1 - start
    if (control >= 0xe0 || control === 1) {
      needsDictionary = false
      needsProperties = true
      window.origin = window.out
    } else if (needsDictionary) throw damaged('begins without a reset of its dictionary')
    const isPacked = control >= 0x80
    if (!isPacked && control > 2) throw damaged(`has a chunk of kind ${control}`)
    const size = isPacked ? ((control & 0x1f) << 16) + u16(at + 1) + 1 : u16(at + 1) + 1
    const packed = isPacked ? u16(at + 3) + 1 : size
    const reset = isPacked ? (control >> 5) & 3 : 0
    const data = at + (isPacked ? (reset >= 2 ? 6 : 5) : 3)
    if (data + packed > from.length) throw damaged('ends within a chunk')
    makeRoom(window, size, dictionary)
    const first = window.out
    if (isPacked) {
      if (reset >= 2) {
        needsProperties = false
        if (!decoder.setProperties(from[at + 5] ?? 0xff)) throw damaged(`has properties ${from[at + 5]}`)
      } else if (needsProperties) throw damaged('begins without properties')
      if (reset >= 1) decoder.resetState()
      const wrong = decoder.decode(from.subarray(data, data + packed), window, first + size, dictionary)
      if (wrong !== undefined) throw damaged(wrong)
    } else {
      window.bytes.set(from.subarray(data, data + packed), first)
      window.out += packed
    }
    at = data + packed
    yield window.bytes.slice(first, window.out)
  }
}

/** Room for a chunk behind what matches may refer to. The window is as large as its content needs: a dictionary may be claimed and not used. */
function makeRoom(window: LzmaWindow, size: number, dictionary: number): void {
  if (window.out + size <= window.bytes.length) return
  const most = Math.ceil(dictionary / 16) * 16 + Math.max(LEAST_SLACK, Math.ceil(dictionary / 64) * 16)
  if (window.out + size > most) {
    const shift = Math.floor((window.out - dictionary) / 16) * 16
    window.bytes.copyWithin(0, shift, window.out)
    window.out -= shift
    window.origin -= shift
    return
  }
  const bytes = new Uint8Array(Math.min(most, Math.max(window.bytes.length * 2, window.out + MAX_CHUNK)))
  bytes.set(window.bytes.subarray(0, window.out))
  window.bytes = bytes
}

function damaged(how: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `LZMA2 data ${how}`)
}
