import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import type { Storage } from '../../device/storage.ts'
import { corrupt } from './corruption.ts'
import { TWO_32 } from './geometry.ts'
import { AUTOCLEAR, type Header } from './header.ts'
import { EXTENSION } from './header-extensions.ts'
import { OFFSET_HIGH, OFFSET_LOW } from './l2-table.ts'

const FIXED_LENGTH = 24
/** Byte offset of the flags in a directory entry. */
const FLAGS = 12
const MAX_BITMAPS = 65_535
const MAX_NAME = 1023

export const BITMAP_FLAG = { inUse: 1, auto: 2, extraDataCompatible: 4 } as const

/** A persistent dirty bitmap, as its directory entry describes it. */
export interface Bitmap {
  readonly name: string
  /** Bytes of guest disk that one bit stands for. */
  readonly granularity: number
  readonly flags: number
  /** Byte offset in the file of the 32-bit flags. */
  readonly flagsOffset: number
  readonly bitmap_table_offset: number
  /** Entries of the bitmap table. */
  readonly bitmap_table_size: number
}

export interface BitmapDirectory {
  readonly offset: number
  readonly length: number
  readonly bitmaps: readonly Bitmap[]
}

/**
 * Reads the bitmap directory; `undefined` when the image has none, or has one that its autoclear bit calls inconsistent
 * and which must therefore be ignored. Errors: `ERR_CORRUPT`.
 */
export async function readBitmapDirectory(
  storage: Storage,
  header: Header,
): Promise<BitmapDirectory | undefined> {
  const extension = header.extensions.find(({ type }) => type === EXTENSION.bitmaps)
  const consistent = (header.autoclear_features & AUTOCLEAR.bitmaps) !== 0n
  if (!consistent) return undefined
  const fail = (what: string): Error =>
    corrupt(storage.name, `bitmap directory: ${what}`, { structure: 'bitmap directory' })
  if (extension === undefined)
    throw fail('the autoclear bit promises one, and the header extension is missing')
  const fields = bigEndian(extension.data, 'bitmaps extension')
  const count = fields.u32(0)
  const length = fields.u64(8)
  const offset = fields.u64(16)
  if (count < 1 || count > MAX_BITMAPS) throw fail(`${count} bitmaps; 1 to ${MAX_BITMAPS} are possible`)
  if (offset % header.geometry.clusterSize !== 0) throw fail(`its offset ${offset} is no cluster boundary`)
  if (length > storage.size - offset || length < count * FIXED_LENGTH || length > MAX_BITMAPS * 4096)
    throw fail(`${length} bytes at ${offset} for ${count} bitmaps do not fit the file`)
  const bytes = new Uint8Array(length)
  await storage.read(offset, bytes)
  const view = bigEndian(bytes, 'bitmap directory')
  const bitmaps: Bitmap[] = []
  let at = 0
  for (; at < length && bitmaps.length < count; ) {
    const bitmap = parseEntry(view, at, offset)
    const end = at + FIXED_LENGTH + view.u32(at + 20) + view.u16(at + 18)
    if (end > length) throw fail(`the entry at byte ${at} reaches past its end`)
    if (
      bitmap.bitmap_table_offset % header.geometry.clusterSize !== 0 ||
      bitmap.bitmap_table_size * 8 > storage.size
    )
      throw fail(
        `"${bitmap.name}" has a table of ${bitmap.bitmap_table_size} entries at ${bitmap.bitmap_table_offset}`,
      )
    bitmaps.push(bitmap)
    at = Math.ceil(end / 8) * 8
  }
  if (bitmaps.length !== count || at !== Math.ceil(length / 8) * 8)
    throw fail(`${count} bitmaps in ${length} bytes were promised, ${bitmaps.length} in ${at} found`)
  return { offset, length, bitmaps }
}

function parseEntry(view: ByteView, at: number, directoryOffset: number): Bitmap {
  const nameLength = view.u16(at + 18)
  const extra = view.u32(at + 20)
  const granularityBits = view.u8(at + 17)
  if (nameLength > MAX_NAME || granularityBits > 63)
    throw corrupt(
      'image',
      `bitmap directory: an entry with a name of ${nameLength} bytes and granularity bits ${granularityBits}`,
    )
  return {
    name: new TextDecoder().decode(view.slice(at + FIXED_LENGTH + extra, nameLength)),
    granularity: 2 ** granularityBits,
    flags: view.u32(at + FLAGS),
    flagsOffset: directoryOffset + at + FLAGS,
    bitmap_table_offset: view.u64(at),
    bitmap_table_size: view.u32(at + 8),
  }
}

/** Host offsets of the clusters that hold a bitmap's bits, with 0 for those that are all zeros or all ones. */
export function* bitmapClusters(table: Uint8Array): IterableIterator<number> {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
  for (let at = 0; at + 8 <= table.length; at += 8)
    yield (view.getUint32(at) & OFFSET_HIGH) * TWO_32 + ((view.getUint32(at + 4) & OFFSET_LOW) >>> 0)
}
