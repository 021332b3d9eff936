import { DrydiskError } from '../../errors.ts'
import type { BlockNumber, BlockRun, Ext4Context } from './context.ts'
import { maxFileBlocks } from './data-access.ts'
import { extentGoal, formatRoot, insertExtent, markWritten, removeExtents } from './extent-edit.ts'
import { LOGICAL_END, MAX_WRITTEN_LENGTH } from './extent-node.ts'
import { mapExtents } from './extent-tree.ts'
import { insertIndirect, removeIndirect } from './indirect-edit.ts'
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

/** Makes i_block an empty map: an extent tree where the filesystem has extents, else a block map. */
export function initMapping(ctx: Ext4Context, inode: Inode): void {
  const extents = ctx.superblock.has('extent')
  inode.setFlag(INODE_FLAG.EXTENTS, extents)
  if (extents) formatRoot(inode)
  else inode.iBlock.fill(0)
  ctx.inodes.markDirty(inode)
}

/**
 * Sees to it that blocks from `logical` on are allocated and written: 1 to `count` of them, in one run.
 * `fresh`: their bytes in the volume mean nothing, and the caller fills all of them now. i_size is the caller's.
 * `ENOSPC` (nothing changed), `EFBIG`.
 */
export async function ensureBlocks(
  ctx: Ext4Context,
  inode: Inode,
  logical: number,
  count: number,
): Promise<{ readonly run: BlockRun; readonly fresh: boolean }> {
  if (logical >= maxFileBlocks(ctx, inode))
    throw new DrydiskError('EFBIG', `inode ${inode.ino} cannot have a block ${logical}`, { inode: inode.ino })
  const mapped = await mapBlocks(ctx, inode, logical)
  const most = Math.min(count, mapped.count)
  if (mapped.kind !== 'hole') ctx.allocator.requireFileBlocks({ block: mapped.block, count: most })
  if (mapped.kind === 'data') return { run: { block: mapped.block, count: most }, fresh: false }
  if (mapped.kind === 'unwritten') {
    await markWritten(ctx, inode, logical, most)
    return { run: { block: mapped.block, count: most }, fresh: true }
  }
  requireSectors(ctx, inode, most)
  if (!inode.hasFlag(INODE_FLAG.EXTENTS))
    return { run: await insertIndirect(ctx, inode, logical, most), fresh: true }
  const goal = await extentGoal(ctx, inode, logical)
  const run = await ctx.allocator.allocate(goal, Math.min(most, MAX_WRITTEN_LENGTH))
  try {
    await insertExtent(ctx, inode, { logical, count: run.count, block: run.block, unwritten: false })
  } catch (error) {
    await ctx.allocator.free(run)
    throw error
  }
  inode.addBlocks(run.count)
  ctx.inodes.markDirty(inode)
  return { run, fresh: true }
}

/** Unmaps the blocks from `logical` up to `end` and frees them; they read as zeros from now on. */
export async function unmapRange(
  ctx: Ext4Context,
  inode: Inode,
  logical: number,
  end: number,
): Promise<void> {
  if (end <= logical) return
  if (inode.hasFlag(INODE_FLAG.EXTENTS)) await removeExtents(ctx, inode, logical, end)
  else await removeIndirect(ctx, inode, logical, end)
}

/** Unmaps and frees everything from `logical` on. */
export async function unmapFrom(ctx: Ext4Context, inode: Inode, logical: number): Promise<void> {
  await unmapRange(ctx, inode, logical, LOGICAL_END)
}

/** Without huge_file, i_blocks counts sectors in 32 bits (fs/ext4/inode.c, ext4_inode_blocks_set). */
function requireSectors(ctx: Ext4Context, inode: Inode, blocks: number): void {
  if (ctx.superblock.has('huge_file')) return
  // Room for the blocks of the map itself, which grow far slower than the data.
  const sectors = inode.sectors + (blocks + 16) * (ctx.blockSize / 512)
  if (sectors > 0xffff_ffff)
    throw new DrydiskError(
      'EFBIG',
      `inode ${inode.ino}: without huge_file a file has at most 2 TiB; turn the feature on with tune2fs`,
      { inode: inode.ino },
    )
}
