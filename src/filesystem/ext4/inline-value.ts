import { DrydiskError } from '../../errors.ts'
import type { Inode } from './inode.ts'
import { entriesSize, sameName, XATTR_INDEX, type XattrEntry } from './xattr-entry.ts'
import { fitsInode, readInodeXattrs, writeInodeXattrs, XATTR_HEADER_SIZE } from './xattr-inode.ts'

/** `system.data`: the attribute that holds what of inline data does not fit into i_block. */
const INLINE_NAME = { index: XATTR_INDEX.SYSTEM, name: Uint8Array.of(0x64, 0x61, 0x74, 0x61) }

/**
 * The value of `system.data`, which follows the 60 bytes of i_block in inline data; a copy. `undefined` where the
 * attribute is missing: an inode with inline data has it even when it is empty.
 */
export function getInlineValue(inode: Inode): Uint8Array | undefined {
  return readInodeXattrs(inode).find(entry => sameName(entry, INLINE_NAME))?.value
}

/**
 * Sets `system.data` (with `undefined`, removes it). The caller marks the inode changed. `ENOSPC`, with nothing changed,
 * where the inode has no room.
 */
export function setInlineValue(inode: Inode, value: Uint8Array | undefined): void {
  const others = readInodeXattrs(inode).filter(entry => !sameName(entry, INLINE_NAME))
  const entries = value === undefined ? others : [...others, inlineEntry(value)]
  if (!fitsInode(inode, entries))
    throw new DrydiskError(
      'ENOSPC',
      `inode ${inode.ino} has no room for ${value?.length ?? 0} bytes of inline data`,
      { inode: inode.ino },
    )
  writeInodeXattrs(inode, entries)
}

/** The most bytes that `system.data` can have besides the other attributes of the inode; -1 where not even none. */
export function inlineValueCapacity(inode: Inode): number {
  const others = readInodeXattrs(inode).filter(entry => !sameName(entry, INLINE_NAME))
  const taken = XATTR_HEADER_SIZE + entriesSize([...others, inlineEntry(new Uint8Array(0))])
  const room = inode.extraSpace.length - taken
  return room < 0 ? -1 : room & ~3
}

function inlineEntry(value: Uint8Array): XattrEntry {
  return { ...INLINE_NAME, value, inum: 0, size: value.length, hash: 0 }
}
