import type { ByteView } from '../../../bytes/byte-view.ts'
import { ATTR_NAMESPACE, type AttrEntry } from '../attr-entry.ts'

/** struct xfs_attr_sf_hdr and xfs_attr_sf_entry */
const HEADER = 4
const ENTRY = 3
/** Lengths and the count are bytes. */
const MOST = 255

/** An attribute with its value beside it. */
export interface ShortEntry extends AttrEntry {
  readonly value: Uint8Array
}

/** Bytes that these attributes take in an inode; `undefined` for what cannot be there, however large the inode. */
export function shortSize(entries: readonly AttrEntry[]): number | undefined {
  let size = HEADER
  for (const { name, value } of entries) {
    if (!(value instanceof Uint8Array) || value.length > MOST || name.length > MOST) return undefined
    size += ENTRY + name.length + value.length
  }
  return entries.length > MOST ? undefined : size
}

/** Makes the fork one with these attributes, which fit (struct xfs_attr_shortform). */
export function writeShort(literal: ByteView, entries: readonly ShortEntry[]): void {
  literal.bytes.fill(0)
  let at = HEADER
  for (const { flags, name, value } of entries) {
    literal.setU8(at, name.length)
    literal.setU8(at + 1, value.length)
    literal.setU8(at + 2, flags & ATTR_NAMESPACE)
    literal.bytes.set(name, at + ENTRY)
    literal.bytes.set(value, at + ENTRY + name.length)
    at += ENTRY + name.length + value.length
  }
  literal.setU16(0, at)
  literal.setU8(2, entries.length)
}
