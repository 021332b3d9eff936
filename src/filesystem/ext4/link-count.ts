import { DrydiskError } from '../../errors.ts'
import type { Ext4Context } from './context.ts'
import { isIndexed } from './directory-block.ts'
import type { Inode } from './inode.ts'

/** EXT4_LINK_MAX: as many names has an inode, and as many links a directory without dir_nlink. */
const LINK_MAX = 65_000

/** `EMLINK` when a file can have no more names. */
export function requireLinkable(inode: Inode): void {
  if (inode.linksCount >= LINK_MAX)
    throw new DrydiskError(
      'EMLINK',
      `inode ${inode.ino} has ${inode.linksCount} links, the most there can be`,
      {
        inode: inode.ino,
      },
    )
}

/** With dir_nlink a directory with an index may have any number of subdirectories: its link count is 1 then. */
function countsWithoutLimit(ctx: Ext4Context, directory: Inode): boolean {
  return ctx.superblock.has('dir_nlink') && isIndexed(ctx, directory)
}

/** `EMLINK` when a directory can have no more subdirectories. */
export function requireSubdirectory(ctx: Ext4Context, directory: Inode): void {
  if (!countsWithoutLimit(ctx, directory)) requireLinkable(directory)
}

/** A subdirectory more (fs/ext4/namei.c, ext4_inc_count). */
export function addSubdirectory(ctx: Ext4Context, directory: Inode): void {
  const links = directory.linksCount + 1
  // 1 says "not counted", and so stays 1.
  const uncounted = countsWithoutLimit(ctx, directory) && (links > LINK_MAX || links === 2)
  directory.linksCount = uncounted ? 1 : links
  ctx.inodes.markDirty(directory)
}

/** A subdirectory less (ext4_dec_count): a count of 2 or less never falls. */
export function dropSubdirectory(ctx: Ext4Context, directory: Inode): void {
  if (directory.linksCount > 2) directory.linksCount--
  ctx.inodes.markDirty(directory)
}
