import type { FileSystemUsage } from '../filesystem.ts'
import { BLOCK_GROUP, type Chunk } from './chunk.ts'
import { MOST_NAME } from './dir-item.ts'
import { corrupt } from './errors.ts'
import { ITEM, OBJECTID } from './key.ts'
import type { BtrfsVolume } from './volume.ts'

/** What Linux never gives to a chunk, at the beginning of a device (BTRFS_DEVICE_RANGE_RESERVED). */
const RESERVED = 1 << 20
const COMPAT_RO_BLOCK_GROUP_TREE = 1n << 3n

/**
 * As statfs(2) of Linux counts: blocks of the device, by the number of copies that data has; what is stored twice is used twice;
 * available is what data can still take. Linux takes off a reserve as well, which it keeps in memory.
 */
export async function usage(volume: BtrfsVolume): Promise<FileSystemUsage> {
  const { superblock, map, subvolumes } = volume
  const inOwnTree = (superblock.compatRo & COMPAT_RO_BLOCK_GROUP_TREE) !== 0n
  const groups = await subvolumes.tree(inOwnTree ? OBJECTID.BLOCK_GROUP_TREE : OBJECTID.EXTENT_TREE)
  let [used, allocated, freeForData, copiesOfData] = [0, 0, 0, 1]
  for (const chunk of map.chunks) {
    const { logical, length, type } = chunk
    const item = await groups?.tree.find({
      objectid: BigInt(logical),
      type: ITEM.BLOCK_GROUP_ITEM,
      offset: BigInt(length),
    })
    if (item === undefined)
      throw corrupt('block group', `the chunk at ${logical} has no block group`, { logical })
    const inUse = Math.min(item.u64(0), length)
    const copies = copiesOf(chunk)
    used += inUse * copies
    allocated += length * copies
    if ((type & BLOCK_GROUP.DATA) === 0n) continue
    freeForData += length - inUse
    copiesOfData = copies
  }
  const { sectorsize, totalBytes } = superblock
  const blocks = (bytes: number) => Math.max(0, Math.floor(bytes / sectorsize))
  return {
    blockSize: sectorsize,
    blocks: blocks(totalBytes / copiesOfData),
    freeBlocks: blocks((totalBytes - used) / copiesOfData),
    availableBlocks: blocks(freeForData + Math.max(0, totalBytes - allocated - RESERVED) / copiesOfData),
    inodes: 0,
    freeInodes: 0,
    maxNameLength: MOST_NAME,
  }
}

const MIRRORED = BLOCK_GROUP.DUP | BLOCK_GROUP.RAID1 | BLOCK_GROUP.RAID1C3 | BLOCK_GROUP.RAID1C4

function copiesOf(chunk: Chunk): number {
  return (chunk.type & MIRRORED) === 0n ? 1 : chunk.stripes.length
}
