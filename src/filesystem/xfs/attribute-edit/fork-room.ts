import { type Dinode, FORMAT } from '../dinode.ts'
import { VERSION2 } from '../features.ts'
import type { Superblock } from '../superblock.ts'

/** Units of di_forkoff. */
const UNIT = 8
const EXTENT = 16
/** struct xfs_bmdr_block, and a key and a pointer for each record of a root in an inode. */
const ROOT = { header: 4, record: 16 } as const
/** Records that a root in a data fork, and in an attribute fork, has room for at least (MINDBTPTRS, MINABTPTRS). */
const LEAST = { data: 3, attribute: 2 } as const

function rootBytes(records: number): number {
  return ROOT.header + records * ROOT.record
}

/** The boundary between the forks moves as they need; else (version 4, attr=1) it stays where it was first put. */
export function movesForks({ isV5, sb_features2 }: Superblock): boolean {
  return isV5 || (sb_features2 & VERSION2.ATTR2) !== 0
}

/**
 * Where an attribute fork begins that nothing is known about but that the inode can have no short form of it
 * (xfs_default_attroffset).
 */
export function defaultForkoff({ di_format, literalSize }: Dinode, { sb_inodesize }: Superblock): number {
  if (di_format === FORMAT.DEV) return 1
  const bytes =
    sb_inodesize === 256 ? literalSize - rootBytes(LEAST.attribute) : rootBytes(6 * LEAST.attribute)
  return Math.floor(bytes / UNIT)
}

/**
 * Where the attribute fork begins when it takes so many bytes in the inode: where it is, when that will do, else as far back as can
 * be (xfs_attr_shortform_bytesfit).
 * @returns units of 8 bytes; 0 when they do not fit beside the data.
 */
export function forkoffFor(inode: Dinode, superblock: Superblock, bytes: number): number {
  const { di_format, di_forkoff, literalSize } = inode
  if (bytes > literalSize) return 0
  const offset = Math.floor((literalSize - bytes) / UNIT)
  if (di_format === FORMAT.DEV) return offset >= 1 ? 1 : 0
  if (di_forkoff !== 0 && bytes <= literalSize - di_forkoff * UNIT) return di_forkoff
  if (!movesForks(superblock)) return 0
  // The root of a tree of extents keeps the room that it has.
  if (di_format === FORMAT.BTREE && di_forkoff !== 0) return 0
  const least = Math.ceil(Math.max(dataBytes(inode, superblock), rootBytes(LEAST.data)) / UNIT)
  const most = Math.floor((literalSize - rootBytes(LEAST.attribute)) / UNIT)
  const forkoff = Math.min(offset, most)
  return forkoff >= least ? forkoff : 0
}

/** Bytes that the data fork needs. */
function dataBytes(inode: Dinode, superblock: Superblock): number {
  const { di_format, di_forkoff, di_size, dataExtents, data } = inode
  if (di_format === FORMAT.LOCAL) return di_size
  if (di_format === FORMAT.BTREE) return rootBytes(data.literal.u16(2))
  const bytes = dataExtents * EXTENT
  // Many extents become a tree, rather than keep the attributes out of the inode.
  return di_forkoff === 0 && bytes > defaultForkoff(inode, superblock) * UNIT ? rootBytes(LEAST.data) : bytes
}
