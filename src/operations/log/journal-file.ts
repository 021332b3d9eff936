import { littleEndian } from '../../bytes/byte-view.ts'
import { LruCache } from '../../bytes/lru-cache.ts'
import { concatBytes } from '../../config/text.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { GuestFs, GuestPath } from '../../guest/guest-fs.ts'
import { loadDecompressor } from '../../image/compression/codec.ts'
import { zstdFrame } from '../../image/compression/zstd-frame.ts'
import { displayPath } from '../guest-files.ts'
import { GuestFileWindow } from './guest-file-window.ts'
import {
  dataPayload,
  ENTRY_ARRAY_ITEMS,
  ENTRY_ITEMS,
  type EntryObject,
  HEADER_READ,
  type JournalHeader,
  OBJECT_DATA,
  OBJECT_ENTRY,
  OBJECT_ENTRY_ARRAY,
  OBJECT_HEADER_SIZE,
  parseEntry,
  parseJournalHeader,
  parseObjectHeader,
} from './journal-format.ts'

/** journald writes entries of 1024 fields at most (ENTRY_FIELD_COUNT_MAX). */
const MAX_ENTRY = 1 << 16
/** Of one field. journald's own limit is larger; what is longer is cut. */
const MAX_FIELD = 1 << 20
/** Of one file: a journal of this size would have 4 GiB at least. */
const MAX_ENTRIES = 1 << 26
/** Bytes of the fields that entries share. */
const CACHED_FIELDS = 16 << 20
/** Bytes of the fields of one entry together; further ones are left out. */
const MAX_FIELDS = 2 << 20

/** `NAME=value` of an entry; the value is bytes. */
export interface JournalField {
  readonly name: string
  readonly value: Uint8Array
  /** What the value could not be decompressed from. */
  readonly unread?: string
}

/** An entry of a journal of systemd. */
export interface JournalEntry extends EntryObject {
  readonly fields: readonly JournalField[]
}

/** One journal file, read by its entry arrays. The hash tables are not needed for that. */
export class JournalFile {
  readonly path: string
  readonly #window: GuestFileWindow
  readonly #header: JournalHeader
  readonly #fields = new LruCache<number, JournalField>(CACHED_FIELDS)
  /** Offsets of the entries, in order. */
  readonly entries: readonly number[]

  private constructor(
    path: string,
    window: GuestFileWindow,
    header: JournalHeader,
    entries: readonly number[],
  ) {
    this.path = path
    this.#window = window
    this.#header = header
    this.entries = entries
  }

  static async open(guest: GuestFs, path: GuestPath): Promise<JournalFile> {
    const shown = displayPath(path)
    const { size } = await guest.stat(path)
    const window = new GuestFileWindow(guest, path, size)
    const header = parseJournalHeader(await window.read(0, Math.min(size, HEADER_READ)), shown)
    return new JournalFile(shown, window, header, await entryOffsets(window, header))
  }

  /** One entry with its fields. Fields that are damaged are left out. */
  async entry(offset: number): Promise<JournalEntry> {
    const bytes = await readObject(this.#window, offset, OBJECT_ENTRY, ENTRY_ITEMS, MAX_ENTRY)
    const entry = parseEntry(bytes.bytes, this.#header.compact)
    const fields: JournalField[] = []
    let size = 0
    for (const item of entry.items) {
      if (size > MAX_FIELDS) break
      const field = await this.#field(item).catch((error: unknown) => {
        if (isDrydiskError(error)) return undefined
        throw error
      })
      if (!field) continue
      fields.push(field)
      size += field.value.length
    }
    return { ...entry, fields }
  }

  async #field(offset: number): Promise<JournalField | undefined> {
    const known = this.#fields.get(offset)
    if (known) return known
    const start = dataPayload(this.#header.compact)
    const { bytes, flags } = await readObject(this.#window, offset, OBJECT_DATA, start, start + MAX_FIELD)
    const { payload, unread } = await decompress(bytes.subarray(start), flags)
    const equals = payload.indexOf(0x3d)
    if (equals <= 0 && unread === undefined) return undefined
    const field: JournalField =
      unread === undefined
        ? { name: latin(payload.subarray(0, equals)), value: payload.slice(equals + 1) }
        : { name: '', value: new Uint8Array(0), unread }
    this.#fields.set(offset, field, field.value.length + 64)
    return field
  }
}

/** Arrays link forward in the file, and so do the entries in them: what does not is damage, and where reading ends. */
async function entryOffsets(window: GuestFileWindow, header: JournalHeader): Promise<number[]> {
  const offsets: number[] = []
  const step = header.compact ? 4 : 8
  let last = 0
  let previous = 0
  for (let array = header.entry_array_offset; array > previous && array % 8 === 0; ) {
    previous = array
    const head = await tryRead(window, array, ENTRY_ARRAY_ITEMS)
    if (!head) return offsets
    const { type, size } = parseObjectHeader(head)
    if (type !== OBJECT_ENTRY_ARRAY || size < ENTRY_ARRAY_ITEMS || array + size > window.size) return offsets
    const next = littleEndian(head, 'journal entry array').u64(16)
    // In pieces: an array may be as large as the file.
    for (let at = ENTRY_ARRAY_ITEMS; at + step <= size; ) {
      const length = Math.min(1 << 16, Math.floor((size - at) / step) * step)
      const items = littleEndian(await window.read(array + at, length), 'journal entry array')
      for (let i = 0; i < length; i += step) {
        const offset = header.compact ? items.u32(i) : items.u64(i)
        // The rest of the last array is not used yet.
        if (offset === 0 || offset <= last || offsets.length >= Math.min(header.n_entries, MAX_ENTRIES))
          return offsets
        offsets.push(offset)
        last = offset
      }
      at += length
    }
    array = next
  }
  return offsets
}

async function tryRead(
  window: GuestFileWindow,
  offset: number,
  length: number,
): Promise<Uint8Array | undefined> {
  return offset + length <= window.size ? window.read(offset, length) : undefined
}

async function readObject(
  window: GuestFileWindow,
  offset: number,
  type: number,
  least: number,
  most: number,
): Promise<{ bytes: Uint8Array; flags: number }> {
  const header = parseObjectHeader(await window.read(offset, OBJECT_HEADER_SIZE))
  if (offset % 8 !== 0 || header.type !== type || header.size < least)
    throw new DrydiskError('ERR_CORRUPT', `there is no journal object of type ${type} at ${offset}`, {
      offset,
    })
  return { bytes: await window.read(offset, Math.min(header.size, most)), flags: header.flags }
}

/** The content of a data object: `NAME=value`, or what it is compressed with where that is not read. */
async function decompress(
  payload: Uint8Array,
  flags: number,
): Promise<{ payload: Uint8Array; unread?: string }> {
  if (flags & 4) {
    const frame = zstdFrame(payload, 0)
    const size = frame?.contentSize
    if (size === undefined || size > MAX_FIELD) return { payload: new Uint8Array(0), unread: 'zstd' }
    const inflate = await loadDecompressor('zstd', false, 'part')
    return { payload: inflate(payload, size) }
  }
  if (flags & 2) {
    // Its size comes first (compress_blob_lz4).
    const size = littleEndian(payload, 'LZ4 data').u64(0)
    if (size > MAX_FIELD) return { payload: new Uint8Array(0), unread: 'lz4' }
    const { decompressLz4 } = await import('../../bytes/compression/lz4.ts')
    const content = new Uint8Array(size)
    if (decompressLz4(payload.subarray(8), content) !== size)
      throw new DrydiskError('ERR_CORRUPT', `LZ4 data holds less than the ${size} bytes that it says`)
    return { payload: content }
  }
  if (flags & 1) {
    const { unpackXz } = await import('../../bytes/compression/xz.ts')
    const pieces: Uint8Array[] = []
    let size = 0
    for (const piece of unpackXz(payload)) {
      pieces.push(piece)
      size += piece.length
      if (size > MAX_FIELD) return { payload: new Uint8Array(0), unread: 'xz' }
    }
    return { payload: concatBytes(pieces) }
  }
  return { payload }
}

function latin(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, 256))
}
