import { bigEndian } from '../../../bytes/byte-view.ts'
import { storeChecksum } from '../checksum.ts'
import type { Geometry } from '../geometry.ts'
import type { Superblock } from '../superblock.ts'
import { corruptLog } from './errors.ts'
import { DINODE_MAGIC } from './inode-item.ts'
import type { LogItem } from './transactions.ts'

/** Inodes of a whole chunk (XFS_INODES_PER_CHUNK); a sparse one has fewer. */
const CHUNK = 64
export const INODE_CRC = 100
const NULLAGINO = 0xffff_ffff

/** An inode-create log item, struct xfs_icreate_log: a run of blocks that became free inodes. Big-endian, unlike the others. */
export interface IcreateItem {
  readonly agno: number
  readonly agbno: number
  /** Inodes. */
  readonly count: number
  /** Blocks. */
  readonly length: number
  readonly gen: number
}

export function parseIcreateItem(item: LogItem, superblock: Superblock, geometry: Geometry): IcreateItem {
  const view = bigEndian(item.regions[0] ?? new Uint8Array(), 'XFS log inode-create item')
  const icreate = {
    agno: view.u32(4),
    agbno: view.u32(8),
    count: view.u32(12),
    length: view.u32(20),
    gen: view.u32(24),
  }
  const { agno, agbno, count, length } = icreate
  // A block of 64 KiB holds more than a chunk's inodes.
  const most = Math.max(CHUNK, superblock.sb_inopblock)
  if (
    view.u32(16) !== superblock.sb_inodesize ||
    count === 0 ||
    count > most ||
    length * superblock.sb_inopblock !== count ||
    agbno === 0 ||
    !geometry.isBlock(agno, agbno) ||
    !geometry.isBlock(agno, agbno + length - 1)
  )
    throw corruptLog(
      `${count} inodes of ${view.u32(16)} bytes are said to be made in ${length} blocks at ${agbno} of allocation group ${agno}`,
    )
  return icreate
}

/** The blocks as Linux initialises them (xfs_ialloc_inode_init). */
export function newInodes(
  { agno, agbno, count, length, gen }: IcreateItem,
  superblock: Superblock,
  geometry: Geometry,
): Uint8Array {
  const size = superblock.sb_inodesize
  const bytes = new Uint8Array(length * superblock.sb_blocksize)
  for (let i = 0; i < count; i++) {
    const inode = bytes.subarray(i * size, (i + 1) * size)
    const view = bigEndian(inode, 'XFS inode')
    view.setU16(0, DINODE_MAGIC)
    view.setU8(4, superblock.isV5 ? 3 : 2)
    view.setU32(92, gen)
    view.setU32(96, NULLAGINO)
    if (!superblock.isV5) continue
    view.setU64(152, geometry.inodeNumber(agno, agbno * superblock.sb_inopblock + i))
    inode.set(superblock.metaUuid, 160)
    storeChecksum(inode, INODE_CRC)
  }
  return bytes
}
