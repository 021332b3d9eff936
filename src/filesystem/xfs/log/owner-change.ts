import { bigEndian } from '../../../bytes/byte-view.ts'
import { storeChecksum } from '../checksum.ts'
import type { Geometry } from '../geometry.ts'
import { corruptLog } from './errors.ts'
import { ILOG, type InodeItem } from './inode-item.ts'

/** 'BMA3': a block of an extent tree of version 5, with its own address and owner. */
const BMA3 = 0x424d_4133
const HEADER = 72
const OWNER = 56
const CRC = 64
/** XFS_BTREE_MAXLEVELS */
const MOST_LEVELS = 9

interface Blocks {
  /** By address in basic blocks: one filesystem block. */
  read(blkno: number): Promise<Uint8Array>
  write(blkno: number, bytes: Uint8Array): Promise<void>
}

/** Gives the blocks of an inode's extent trees to it (Linux, xfs_bmbt_change_owner). */
export async function changeOwner(
  item: InodeItem,
  inode: Uint8Array,
  geometry: Geometry,
  blocks: Blocks,
): Promise<void> {
  const split = 176 + (inode[82] ?? 0) * 8
  if ((item.fields & ILOG.DOWNER) !== 0 && inode[5] === 3) {
    const root = inode.subarray(176, split === 176 ? inode.length : split)
    await changeTree(root, item.ino, geometry, blocks)
  }
  if ((item.fields & ILOG.AOWNER) !== 0 && inode[83] === 3)
    await changeTree(inode.subarray(split), item.ino, geometry, blocks)
}

async function changeTree(root: Uint8Array, ino: bigint, geometry: Geometry, blocks: Blocks): Promise<void> {
  const view = bigEndian(root, 'XFS extent tree root')
  const [level, count] = [view.u16(0), view.u16(2)]
  const most = Math.floor((root.length - 4) / 16)
  if (level === 0 || level > MOST_LEVELS || count > most)
    throw corruptLog(`inode ${ino} has an extent tree of level ${level} with ${count} records in its root`)
  const seen = new Set<number>()
  const visit = async (fsblock: number, below: number): Promise<void> => {
    const blkno = geometry.diskAddress(geometry.volumeBlock(fsblock))
    const bytes = await blocks.read(blkno)
    const block = bigEndian(bytes, 'XFS extent tree block')
    if (seen.has(blkno) || block.u32(0) !== BMA3 || block.u16(4) !== below)
      throw corruptLog(
        `the extent tree of inode ${ino} has no node of level ${below} at basic block ${blkno}`,
      )
    seen.add(blkno)
    block.setBig(OWNER, ino)
    storeChecksum(bytes, CRC)
    await blocks.write(blkno, bytes)
    const room = Math.floor((bytes.length - HEADER) / 16)
    if (below > 0)
      for (let i = 0; i < Math.min(block.u16(6), room); i++)
        await visit(block.u64(HEADER + room * 8 + i * 8), below - 1)
  }
  for (let i = 0; i < count; i++) await visit(view.u64(4 + most * 8 + i * 8), level - 1)
}
