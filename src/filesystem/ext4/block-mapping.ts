import { DrydiskError } from '../../errors.ts'
import type { BlockNumber, Ext4Context } from './context.ts'
import { LOGICAL_END } from './extent-node.ts'
import { mapExtents } from './extent-tree.ts'
import { mapIndirect } from './indirect-map.ts'
import { INODE_FLAG, type Inode } from './inode.ts'
import type { MappedRun } from './mapped-run.ts'

export type { MappedRun } from './mapped-run.ts'

/**
 * Where the blocks of an inode from `logical` are, as one run of at least 1 block. For files, directories, slow
 * symlinks and the filesystem's own inodes; the caller knows that i_block is a map (not inline data, not a device).
 * `ERR_CORRUPT` for a damaged map, `ERR_INVALID_ARGUMENT` for a block number that no file has.
 */
export async function mapBlocks(ctx: Ext4Context, inode: Inode, logical: number): Promise<MappedRun> {
  if (!(Number.isInteger(logical) && logical >= 0 && logical < LOGICAL_END))
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `block ${logical} of inode ${inode.ino}: not below 2^32`, {
      inode: inode.ino,
    })
  return inode.hasFlag(INODE_FLAG.EXTENTS)
    ? mapExtents(ctx, inode, logical)
    : mapIndirect(ctx, inode, logical)
}

/** The block at `logical`, or `undefined` where it reads as zeros. */
export async function mapOne(
  ctx: Ext4Context,
  inode: Inode,
  logical: number,
): Promise<BlockNumber | undefined> {
  const run = await mapBlocks(ctx, inode, logical)
  return run.kind === 'data' ? run.block : undefined
}
