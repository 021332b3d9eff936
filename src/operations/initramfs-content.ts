import { isDrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { isPacked, unpacked } from './tar/decompress.ts'

/** More than an initramfs has. */
const MAX_PACKED = 512 << 20
/** More than one unpacks to. */
const MAX_UNPACKED = 2 ** 31
const PIECE = 4 << 20
/** Longest text that is sought. */
const MAX_TEXT = 256

/** Latin-1, so that text is found among other bytes. */
const decoder = new TextDecoder('latin1')

/**
 * Which of some texts an initramfs holds, in any of its files: archives without compression (microcode, mostly), then one that is plain
 * or packed by gzip, zstd, xz or lz4.
 * @param texts ASCII, up to 256 characters.
 * @param enough reading ends when so many of them are found.
 * @returns `undefined` where it is packed some other way (lzma, bzip2, lzo), damaged or larger than an initramfs is.
 */
export async function textsInInitramfs(
  guest: GuestFs,
  path: string,
  texts: readonly string[],
  enough = texts.length,
): Promise<string[] | undefined> {
  const { size } = await guest.stat(path)
  if (size > MAX_PACKED) return undefined
  const bytes = await guest.readFile(path)
  const found = new Set<string>()
  let before = ''
  const search = (piece: Uint8Array) => {
    const text = before + decoder.decode(piece)
    for (const one of texts) if (text.includes(one)) found.add(one)
    before = text.slice(-MAX_TEXT)
    return found.size >= enough
  }
  const packedAt = endOfArchives(bytes)
  if (search(bytes.subarray(0, packedAt))) return [...found]
  const packed = bytes.subarray(packedAt)
  if (packed.length === 0) return [...found]
  // Others are not known here, and what they hold would not be seen.
  if (!isPacked(packed)) return undefined
  const chunks = async function* () {
    for (let at = 0; at < packed.length; at += PIECE) yield packed.subarray(at, at + PIECE)
  }
  try {
    let length = 0
    for await (const piece of unpacked({ name: path, chunks })) {
      length += piece.length
      if (length > MAX_UNPACKED) return undefined
      if (search(piece)) break
    }
  } catch (error) {
    if (isDrydiskError(error, 'ERR_UNSUPPORTED', 'ERR_CORRUPT')) return undefined
    throw error
  }
  return [...found]
}

/**
 * Behind the cpio archives that a file begins with, and the zeros that follow each (newc; buffer-format.rst in Linux's
 * Documentation/driver-api/early-userspace).
 */
function endOfArchives(bytes: Uint8Array): number {
  let at = 0
  let end = 0
  const field = (index: number) =>
    Number.parseInt(decoder.decode(bytes.subarray(at + 6 + index * 8, at + 14 + index * 8)), 16)
  while (/^07070[12]$/.test(decoder.decode(bytes.subarray(at, at + 6)))) {
    const [fileSize, nameSize] = [field(6), field(11)]
    if (!(fileSize >= 0 && nameSize >= 1)) break
    const nameAt = at + 110
    const isTrailer = decoder.decode(bytes.subarray(nameAt, nameAt + 10)) === 'TRAILER!!!'
    at = align(align(nameAt + nameSize) + fileSize)
    if (!isTrailer) continue
    while (bytes[at] === 0) at++
    end = at
  }
  return Math.min(at >= bytes.length ? bytes.length : end, bytes.length)
}

function align(at: number): number {
  return Math.ceil(at / 4) * 4
}
