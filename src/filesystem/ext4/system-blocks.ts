import { RangeSet } from '../../bytes/range-set.ts'
import type { Geometry } from './geometry.ts'
import type { GroupDescriptors } from './group-descriptors.ts'
import type { Superblock } from './superblock.ts'

/**
 * The blocks that hold the filesystem itself: superblocks, descriptors, bitmaps and inode tables. Whatever a bitmap or a
 * file claims, they are never handed out and never freed.
 */
export async function systemBlocks(
  superblock: Superblock,
  geometry: Geometry,
  descriptors: GroupDescriptors,
): Promise<RangeSet> {
  const blocks = new RangeSet()
  for (let group = 0; group < geometry.groups; group++) {
    const base = geometry.groupFirstBlock(group)
    blocks.add(base, base + Math.min(geometry.groupBaseBlocks(group), geometry.groupBlocks(group)))
    const descriptor = await descriptors.read(group)
    for (const [block, count] of [
      [descriptor.bg_block_bitmap, 1],
      [descriptor.bg_inode_bitmap, 1],
      [descriptor.bg_inode_table, geometry.inodeTableBlocks],
    ] as const)
      blocks.add(block, block + count)
  }
  if (superblock.has('mmp')) blocks.add(superblock.s_mmp_block, superblock.s_mmp_block + 1)
  return blocks
}
