import { RangeSet } from '../../bytes/range-set.ts'
import { DrydiskError } from '../../errors.ts'
import type { BlockNumber } from './context.ts'
import type { Geometry } from './geometry.ts'
import type { GroupDescriptors } from './group-descriptors.ts'
import type { Superblock } from './superblock.ts'

/** Adds a run. `ERR_CORRUPT` when two of them overlap: writing one would destroy the other. */
function claim(blocks: RangeSet, group: number, what: string, start: BlockNumber, count: number): void {
  if (blocks.intersects(start, start + count))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `ext4 group ${group}: the ${what} at block ${start} overlaps other metadata of the filesystem; run e2fsck`,
      { structure: 'group descriptor', group, block: start },
    )
  blocks.add(start, start + count)
}

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
    const count = Math.min(geometry.groupBaseBlocks(group), geometry.groupBlocks(group))
    if (count > 0) claim(blocks, group, 'superblock', base, count)
    const descriptor = await descriptors.read(group)
    claim(blocks, group, 'block bitmap', descriptor.bg_block_bitmap, 1)
    claim(blocks, group, 'inode bitmap', descriptor.bg_inode_bitmap, 1)
    claim(blocks, group, 'inode table', descriptor.bg_inode_table, geometry.inodeTableBlocks)
  }
  if (superblock.has('mmp')) blocks.add(superblock.s_mmp_block, superblock.s_mmp_block + 1)
  return blocks
}
