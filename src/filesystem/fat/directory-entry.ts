import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import type { Timestamp } from '../filesystem.ts'
import { DAY, fromFatTime, toFatTime } from './timestamp.ts'

export const ENTRY_SIZE = 32

export const ATTR = {
  READ_ONLY: 0x01,
  HIDDEN: 0x02,
  SYSTEM: 0x04,
  VOLUME_ID: 0x08,
  DIRECTORY: 0x10,
  ARCHIVE: 0x20,
  /** Read-only, hidden, system and volume id together mark a piece of a long name. */
  LONG_NAME: 0x0f,
} as const

/** First byte of an entry that is free. */
export const DELETED = 0xe5
/** Stands for a first byte of 0xE5 (a Kanji lead byte) that is part of a name. */
const ESCAPED_E5 = 0x05

/** `long-name`: a piece of the long name of the short entry that follows. `end`: nothing follows in the directory. */
export type EntryKind = 'end' | 'deleted' | 'long-name' | 'label' | 'short'

export function kindOf(bytes: Uint8Array, at: number): EntryKind {
  const first = bytes[at]
  if (first === 0) return 'end'
  if (first === DELETED) return 'deleted'
  const attributes = bytes[at + 11] ?? 0
  if ((attributes & 0x3f) === ATTR.LONG_NAME) return 'long-name'
  return (attributes & ATTR.VOLUME_ID) !== 0 ? 'label' : 'short'
}

/** A short entry: the inode of FAT. Fields as in fatgen103, "FAT 32 Byte Directory Entry Structure". */
export class ShortEntry {
  readonly bytes: Uint8Array
  readonly #view: ByteView

  /** @param bytes 32; what is set is set in them. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.#view = littleEndian(bytes, 'FAT directory entry')
  }

  /** 11 bytes; the escape of 0xE5 resolved. */
  get DIR_Name(): Uint8Array {
    const name = this.bytes.slice(0, 11)
    if (name[0] === ESCAPED_E5) name[0] = DELETED
    return name
  }
  set DIR_Name(name: Uint8Array) {
    this.bytes.set(name.subarray(0, 11))
    if (name[0] === DELETED) this.bytes[0] = ESCAPED_E5
  }

  get DIR_Attr(): number {
    return this.#view.u8(11)
  }
  set DIR_Attr(attributes: number) {
    this.#view.setU8(11, attributes)
  }

  /** Windows NT's case flags. */
  get DIR_NTRes(): number {
    return this.#view.u8(12)
  }
  set DIR_NTRes(flags: number) {
    this.#view.setU8(12, flags)
  }

  get isDirectory(): boolean {
    return (this.DIR_Attr & ATTR.DIRECTORY) !== 0
  }

  get DIR_FileSize(): number {
    return this.#view.u32(28)
  }
  set DIR_FileSize(size: number) {
    this.#view.setU32(28, size)
  }

  /** @param bits of the FAT: the high half is FAT32's alone (elsewhere it belongs to OS/2's extended attributes). */
  cluster(bits: number): number {
    const high = bits === 32 ? this.#view.u16(20) & 0x0fff : 0
    return high * 0x1_0000 + this.#view.u16(26)
  }
  setCluster(cluster: number, bits: number): void {
    if (bits === 32) this.#view.setU16(20, cluster >>> 16)
    this.#view.setU16(26, cluster & 0xffff)
  }

  get modified(): Timestamp {
    return fromFatTime({ date: this.#view.u16(24), time: this.#view.u16(22), tenths: 0 })
  }
  set modified(time: Timestamp) {
    const { date, time: within } = toFatTime(time)
    this.#view.setU16(24, date)
    this.#view.setU16(22, within)
  }

  /** A day. */
  get accessed(): Timestamp {
    return fromFatTime({ date: this.#view.u16(18), time: 0, tenths: 0 })
  }
  set accessed(time: Timestamp) {
    this.#view.setU16(18, toFatTime(time - (((time % DAY) + DAY) % DAY)).date)
  }

  /** `undefined` where the maker kept none. */
  get created(): Timestamp | undefined {
    const date = this.#view.u16(16)
    const tenths = Math.min(199, this.#view.u8(13))
    return date === 0 ? undefined : fromFatTime({ date, time: this.#view.u16(14), tenths })
  }
  set created(time: Timestamp) {
    const { date, time: within, tenths } = toFatTime(time)
    this.#view.setU16(16, date)
    this.#view.setU16(14, within)
    this.#view.setU8(13, tenths)
  }
}

/** An entry of a new file or directory, all times alike. */
export function newEntry(name: Uint8Array, attributes: number, time: Timestamp): ShortEntry {
  const entry = new ShortEntry(new Uint8Array(ENTRY_SIZE))
  entry.DIR_Name = name
  entry.DIR_Attr = attributes
  entry.modified = time
  entry.accessed = time
  entry.created = time
  return entry
}
