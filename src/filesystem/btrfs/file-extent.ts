import { corrupt, unsupported } from './errors.ts'
import type { Item } from './tree.ts'

/** Kinds of compression by the number in a file extent item. */
export const COMPRESSIONS = [undefined, 'zlib', 'lzo', 'zstd'] as const
export type Compression = 'zlib' | 'lzo' | 'zstd'

/** Compressed extents hold no more, before and after (BTRFS_MAX_UNCOMPRESSED and BTRFS_MAX_COMPRESSED of Linux). */
const MOST_COMPRESSED = 128 * 1024
const INLINE_HEADER = 21
const SIZE = 53

/** A run of a file's content that an item describes. */
export interface FileExtentItem {
  /** Byte offset in the file. */
  readonly fileOffset: number
  /** Bytes of the file. */
  readonly length: number
  readonly content: ExtentContent
}

export type ExtentContent =
  | { readonly kind: 'hole' }
  | {
      readonly kind: 'inline'
      readonly compression: Compression | undefined
      readonly bytes: Uint8Array
      readonly ramBytes: number
    }
  | StoredContent

/** A part of an extent on the disk. */
export interface StoredContent {
  readonly kind: 'regular' | 'prealloc'
  readonly compression: Compression | undefined
  /** Logical address. */
  readonly diskBytenr: number
  readonly diskNumBytes: number
  /** Bytes when decompressed. */
  readonly ramBytes: number
  /** Where in the decompressed extent the run begins. */
  readonly offset: number
}

/** On-disk format, "EXTENT_DATA". */
export function parseFileExtent({ key, data }: Item, sectorsize: number): FileExtentItem {
  const wrong = (what: string) =>
    corrupt('file extent', `inode ${key.objectid}: the extent at ${key.offset} ${what}`, {
      inode: key.objectid,
    })
  const number = data.u8(16)
  if (number >= COMPRESSIONS.length)
    throw unsupported(
      `inode ${key.objectid} has data of compression type ${number}, which drydisk does not know`,
    )
  const compression = COMPRESSIONS[number]
  if (data.u8(17) !== 0 || data.u16(18) !== 0)
    throw unsupported(`inode ${key.objectid} has encrypted or encoded data, which drydisk does not read`)
  const ramBytes = data.u64(8)
  if (compression !== undefined && ramBytes > MOST_COMPRESSED)
    throw wrong(`is compressed and holds ${ramBytes} bytes, expected ${MOST_COMPRESSED} at most`)
  const type = data.u8(20)
  if (type === 0) {
    if (key.offset !== 0n) throw wrong('is inline, which only the first can be')
    const bytes = data.slice(INLINE_HEADER, data.length - INLINE_HEADER)
    const held = compression === undefined ? bytes.length : ramBytes
    // What follows in its block reads as zeros.
    const length = Math.max(1, Math.ceil(held / sectorsize)) * sectorsize
    return { fileOffset: 0, length, content: { kind: 'inline', compression, bytes, ramBytes: held } }
  }
  if (type > 2) throw wrong(`is of type ${type}`)
  if (data.length < SIZE) throw wrong(`has ${data.length} bytes, expected ${SIZE}`)
  const [diskBytenr, diskNumBytes, offset, length] = [data.u64(21), data.u64(29), data.u64(37), data.u64(45)]
  const fileOffset = Number(key.offset)
  if (length === 0 || !Number.isSafeInteger(fileOffset + length))
    throw wrong(`has a length of ${length} bytes`)
  for (const value of [fileOffset, length, diskBytenr, diskNumBytes, offset])
    if (value % sectorsize !== 0)
      throw wrong(`has a field of ${value}, which is not a multiple of ${sectorsize}`)
  if (diskBytenr === 0) return { fileOffset, length, content: { kind: 'hole' } }
  if (compression !== undefined && (type === 2 || diskNumBytes > MOST_COMPRESSED))
    throw wrong('is compressed, and preallocated or too long')
  if (diskNumBytes === 0 || offset + length > (compression === undefined ? diskNumBytes : ramBytes))
    throw wrong(`shows bytes ${offset} to ${offset + length} of ${ramBytes} in ${diskNumBytes}`)
  return {
    fileOffset,
    length,
    content: {
      kind: type === 1 ? 'regular' : 'prealloc',
      compression,
      diskBytenr,
      diskNumBytes,
      ramBytes,
      offset,
    },
  }
}
