import { DrydiskError, isDrydiskError } from '../../errors.ts'
import { mapBlocks } from './block-mapping.ts'
import type { Ext4Volume } from './volume.ts'

const BAD_BLOCKS_INODE = 1

/**
 * Inode 1 holds the blocks that a disk cannot store (mke2fs -c). `ERR_CORRUPT` where the filesystem's own structures are
 * among them: e2fsck moves those away, and every change until then is built on them.
 */
export async function refuseBadMetadata(volume: Ext4Volume): Promise<void> {
  // The kernel never reads this inode, so that it is damaged as such keeps nobody from using the filesystem.
  const inode = await volume.inodeStore.readAny(BAD_BLOCKS_INODE).catch(() => undefined)
  if (inode === undefined || inode.iBlock.every(byte => byte === 0)) return
  const { blocksCount } = volume.geometry
  try {
    for (let logical = 0; logical < blocksCount; ) {
      const run = await mapBlocks(volume, inode, logical)
      if (run.kind !== 'hole') volume.allocator.requireFileBlocks({ block: run.block, count: run.count })
      logical += run.count
    }
  } catch (error) {
    if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
    throw new DrydiskError(
      'ERR_CORRUPT',
      `ext4: the list of bad blocks (inode 1): ${error.message}`,
      { inode: BAD_BLOCKS_INODE },
      error,
    )
  }
}
