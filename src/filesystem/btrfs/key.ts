/** The key of an item: ordered by objectid, type and offset, all unsigned (on-disk format, "Key"). */
export interface Key {
  readonly objectid: bigint
  readonly type: number
  readonly offset: bigint
}

export const ITEM = {
  INODE_ITEM: 1,
  INODE_REF: 12,
  INODE_EXTREF: 13,
  XATTR_ITEM: 24,
  DIR_ITEM: 84,
  DIR_INDEX: 96,
  EXTENT_DATA: 108,
  EXTENT_CSUM: 128,
  ROOT_ITEM: 132,
  ROOT_BACKREF: 144,
  ROOT_REF: 156,
  BLOCK_GROUP_ITEM: 192,
  CHUNK_ITEM: 228,
} as const

/** Objectids that the format gives a meaning (include/uapi/linux/btrfs_tree.h). */
export const OBJECTID = {
  EXTENT_TREE: 2n,
  FS_TREE: 5n,
  CSUM_TREE: 7n,
  BLOCK_GROUP_TREE: 11n,
  /** All chunk items have it. */
  FIRST_CHUNK_TREE: 256n,
  /** The first subvolume's number, and the inode number of every subvolume's root directory. */
  FIRST_FREE: 256n,
  /** All checksum items have it. */
  EXTENT_CSUM: 0xffff_ffff_ffff_fff6n,
} as const

/** The largest value of a key's objectid and offset. */
export const MOST = 0xffff_ffff_ffff_ffffn

/** The highest objectid of a subvolume (BTRFS_LAST_FREE_OBJECTID). */
const LAST_FREE = 0xffff_ffff_ffff_ff00n

/** Whether a tree with that number holds files: the top level, or a subvolume. */
export function isSubvolumeId(id: bigint): boolean {
  return id === OBJECTID.FS_TREE || (id >= OBJECTID.FIRST_FREE && id <= LAST_FREE)
}

export function compareKeys(a: Key, b: Key): number {
  if (a.objectid !== b.objectid) return a.objectid < b.objectid ? -1 : 1
  if (a.type !== b.type) return a.type - b.type
  if (a.offset !== b.offset) return a.offset < b.offset ? -1 : 1
  return 0
}

export function keyText(key: Key): string {
  return `(${key.objectid} ${key.type} ${key.offset})`
}
