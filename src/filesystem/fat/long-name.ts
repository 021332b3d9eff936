import { littleEndian } from '../../bytes/byte-view.ts'
import { ATTR, ENTRY_SIZE } from './directory-entry.ts'

/** UTF-16 units of the longest name. */
export const MOST_UNITS = 255

/** LDIR_Ord of the piece with the name's end, which comes first. */
const LAST = 0x40
const UNITS_PER_ENTRY = 13
const MOST_ENTRIES = Math.ceil(MOST_UNITS / UNITS_PER_ENTRY)

/** Where the 13 units of LDIR_Name1, LDIR_Name2 and LDIR_Name3 stand. */
const UNIT_OFFSETS = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30] as const

/** Of the 11 bytes of a short name as they stand on disk; its long name carries it (fatgen103, ChkSum). */
export function shortNameChecksum(name: Uint8Array): number {
  let sum = 0
  for (const byte of name.subarray(0, 11)) sum = (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff
  return sum
}

/** Entries that a long name takes, its short entry not counted. */
export function longNameEntries(name: string): number {
  return Math.ceil(name.length / UNITS_PER_ENTRY)
}

/** The entries of a long name in the order in which they precede the short entry, 32 bytes each. */
export function buildLongName(name: string, checksum: number): Uint8Array[] {
  const count = longNameEntries(name)
  return Array.from({ length: count }, (_, index) => {
    const ordinal = count - index
    const bytes = new Uint8Array(ENTRY_SIZE)
    const view = littleEndian(bytes, 'FAT long name entry')
    view.setU8(0, ordinal | (index === 0 ? LAST : 0))
    view.setU8(11, ATTR.LONG_NAME)
    view.setU8(13, checksum)
    UNIT_OFFSETS.forEach((offset, within) => {
      const at = (ordinal - 1) * UNITS_PER_ENTRY + within
      // One NUL ends the name where it does not fill its last entry, and 0xFFFF fills the rest.
      view.setU16(offset, at < name.length ? name.charCodeAt(at) : at === name.length ? 0 : 0xffff)
    })
    return bytes
  })
}

/** Puts a long name together from its entries, as they are met. Anything out of order is dropped: it belongs to no file. */
export class LongNameReader {
  /** Index in the directory of the first entry. */
  #first = 0
  #expected = 0
  #checksum = 0
  #pieces: string[] = []

  reset(): void {
    this.#expected = 0
    this.#pieces = []
  }

  /** @param index of the entry in its directory. */
  add(index: number, bytes: Uint8Array): void {
    const view = littleEndian(bytes, 'FAT long name entry')
    const order = view.u8(0)
    const ordinal = order & 0x3f
    if ((order & LAST) !== 0) {
      this.reset()
      if (ordinal === 0 || ordinal > MOST_ENTRIES) return
      this.#first = index
      this.#checksum = view.u8(13)
    } else if (ordinal === 0 || ordinal !== this.#expected || view.u8(13) !== this.#checksum) {
      this.reset()
      return
    }
    let piece = ''
    for (const offset of UNIT_OFFSETS) {
      const unit = view.u16(offset)
      if (unit === 0) break
      piece += String.fromCharCode(unit)
    }
    this.#pieces.unshift(piece)
    this.#expected = ordinal - 1
    if (this.#expected === 0) this.#expected = -1
  }

  /**
   * The long name of the short entry that comes now; `undefined` where the entries before it belong to another name or are
   * incomplete, or where what they spell is no name (empty, `.`, `..`, with a slash or NUL in it).
   */
  take(name: Uint8Array): { readonly name: string; readonly first: number } | undefined {
    const complete = this.#expected === -1 && this.#checksum === shortNameChecksum(name)
    const whole = this.#pieces.every(
      (piece, index) => piece.length === UNITS_PER_ENTRY || index === this.#pieces.length - 1,
    )
    const text = this.#pieces.join('')
    const first = this.#first
    this.reset()
    const isName = text !== '' && text !== '.' && text !== '..' && !text.includes('/') && !text.includes('\0')
    return complete && whole && isName && text.length <= MOST_UNITS ? { name: text, first } : undefined
  }
}
