import { littleEndian } from '../../bytes/byte-view.ts'
import { GOOD_OLD_INODE_SIZE, type Inode } from './inode.ts'
import { entriesSize, parseEntries, writeEntries, XATTR_MAGIC, type XattrEntry } from './xattr-entry.ts'

/** struct ext4_xattr_ibody_header: only h_magic. Value offsets count from behind it. */
export const XATTR_HEADER_SIZE = 4

/** Extra fields that struct ext4_inode has today: 160 bytes less the first 128. */
const EXTRA_SIZE = 32

/** The attributes in the inode itself, in on-disk order; none where the inode has no room or no header. */
export function readInodeXattrs(inode: Inode): XattrEntry[] {
  if (inode.extraIsize === 0) return []
  const space = inode.extraSpace
  const where = `xattrs in inode ${inode.ino}`
  if (space.length < XATTR_HEADER_SIZE + 4 || littleEndian(space, where).u32(0) !== XATTR_MAGIC) return []
  return parseEntries(space, XATTR_HEADER_SIZE, XATTR_HEADER_SIZE, where)
}

/**
 * Puts the extra fields of an inode that never used them into use: without, the kernel looks for no attributes behind
 * them (fs/ext4/inode.c, ext4_iget).
 */
export function useExtraFields(inode: Inode): void {
  if (inode.extraIsize !== 0 || inode.bytes.length < GOOD_OLD_INODE_SIZE + EXTRA_SIZE) return
  inode.bytes.fill(0, GOOD_OLD_INODE_SIZE)
  inode.extraIsize = EXTRA_SIZE
}

/** Whether the inode has room for exactly these attributes. */
export function fitsInode(inode: Inode, entries: readonly XattrEntry[]): boolean {
  return inode.extraSpace.length >= XATTR_HEADER_SIZE + entriesSize(entries)
}

/** Replaces the attributes in the inode. They must fit. The caller marks the inode changed. */
export function writeInodeXattrs(inode: Inode, entries: readonly XattrEntry[]): void {
  const space = inode.extraSpace
  if (space.length < XATTR_HEADER_SIZE + 4) return
  littleEndian(space, `xattrs in inode ${inode.ino}`).setU32(0, XATTR_MAGIC)
  // In the inode only values in inodes of their own have a hash.
  writeEntries(space, XATTR_HEADER_SIZE, XATTR_HEADER_SIZE, entries, () => 0)
}
