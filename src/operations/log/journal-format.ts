import { littleEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'

/** Structures of a systemd journal: https://systemd.io/JOURNAL_FILE_FORMAT, names as there. */

/** `LPKSHHRH`. */
export const SIGNATURE = [0x4c, 0x50, 0x4b, 0x53, 0x48, 0x48, 0x52, 0x48]
/** Up to and without n_data, which older files do not have. */
const HEADER_SIZE_MIN = 208

export const HEADER_READ = HEADER_SIZE_MIN
export const OBJECT_HEADER_SIZE = 16

/** HEADER_INCOMPATIBLE_*: what compresses is told by each object again. */
const KEYED_HASH = 4
export const COMPACT = 16
const KNOWN = 1 | 2 | KEYED_HASH | 8 | COMPACT

export interface JournalHeader {
  readonly compact: boolean
  readonly header_size: number
  readonly n_entries: number
  readonly entry_array_offset: number
}

/** `ERR_CORRUPT` where it is no journal, `ERR_UNSUPPORTED` for a flag that is not known. */
export function parseJournalHeader(bytes: Uint8Array, path: string): JournalHeader {
  if (bytes.length < HEADER_SIZE_MIN || SIGNATURE.some((byte, i) => bytes[i] !== byte))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `${path} is no journal of systemd: it does not begin with LPKSHHRH`,
      { path },
    )
  const view = littleEndian(bytes, 'journal header')
  const incompatible_flags = view.u32(12)
  const unknown = (incompatible_flags & ~KNOWN) >>> 0
  if (unknown !== 0)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${path}: incompatible flags 0x${unknown.toString(16)} of this journal are not known`,
      { path },
    )
  const header_size = view.u64(88)
  if (header_size < HEADER_SIZE_MIN || header_size % 8 !== 0)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `${path}: the header of this journal says that it has ${header_size} bytes`,
      { path },
    )
  return {
    compact: (incompatible_flags & COMPACT) !== 0,
    header_size,
    n_entries: view.u64(152),
    entry_array_offset: view.u64(176),
  }
}

export const OBJECT_DATA = 1
export const OBJECT_ENTRY = 3
export const OBJECT_ENTRY_ARRAY = 6

export interface ObjectHeader {
  readonly type: number
  /** OBJECT_COMPRESSED_*: 1 xz, 2 lz4, 4 zstd. */
  readonly flags: number
  readonly size: number
}

export function parseObjectHeader(bytes: Uint8Array): ObjectHeader {
  const view = littleEndian(bytes, 'journal object')
  return { type: view.u8(0), flags: view.u8(1), size: view.u64(8) }
}

export const ENTRY_ITEMS = 64

export interface EntryObject {
  readonly seqnum: bigint
  /** Microseconds since 1970. */
  readonly realtime: number
  readonly monotonic: bigint
  readonly boot_id: string
  /** Offsets of data objects. */
  readonly items: readonly number[]
}

export function parseEntry(bytes: Uint8Array, compact: boolean): EntryObject {
  const view = littleEndian(bytes, 'journal entry')
  const items: number[] = []
  const step = compact ? 4 : 16
  for (let at = ENTRY_ITEMS; at + step <= bytes.length; at += step) {
    const offset = compact ? view.u32(at) : view.u64(at)
    if (offset !== 0) items.push(offset)
  }
  return {
    seqnum: view.big(16),
    realtime: view.u64(24),
    monotonic: view.big(32),
    boot_id: hex(bytes.subarray(40, 56)),
    items,
  }
}

export const ENTRY_ARRAY_ITEMS = 24

/** Where the payload of a data object begins. */
export function dataPayload(compact: boolean): number {
  return compact ? 72 : 64
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}
