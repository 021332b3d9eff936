import { DrydiskError } from '../../errors.ts'
import { initMapping } from './block-mapping.ts'
import type { Ext4Context } from './context.ts'
import { FAST_SYMLINK_LIMIT, isFastSymlink } from './data-access.ts'
import { readData } from './file-data.ts'
import { writeContent } from './file-write.ts'
import { INODE_FLAG, type Inode } from './inode.ts'

/** PATH_MAX - 1: what symlink(2) takes. */
const MAX_TARGET = 4095

/** The target's bytes. `EINVAL` for what is not a symlink, `ERR_CORRUPT` for a target that no kernel would follow. */
export async function readTarget(ctx: Ext4Context, inode: Inode): Promise<Uint8Array> {
  if (inode.type !== 'symlink')
    throw new DrydiskError('EINVAL', `inode ${inode.ino} is not a symbolic link`, { inode: inode.ino })
  const size = inode.size
  if (size === 0 || size > ctx.blockSize)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `symlink inode ${inode.ino}: a target of ${size} bytes, expected 1 to ${ctx.blockSize}; run e2fsck`,
      { inode: inode.ino, size },
    )
  if (isFastSymlink(ctx, inode) && !inode.hasFlag(INODE_FLAG.ENCRYPT)) return inode.iBlock.slice(0, size)
  const target = new Uint8Array(size)
  await readData(ctx, inode, 0, target)
  return target
}

/**
 * Gives a new symlink its target and size: in i_block where it fits, else in a block. `ENAMETOOLONG` for more than a
 * block (with the kernel's NUL) or 4095 bytes, `ENOENT` for an empty one, `ENOSPC`.
 */
export async function storeTarget(ctx: Ext4Context, inode: Inode, target: Uint8Array): Promise<void> {
  if (target.length === 0)
    throw new DrydiskError('ENOENT', 'a symbolic link needs a target', { inode: inode.ino })
  const limit = Math.min(MAX_TARGET, ctx.blockSize - 1)
  if (target.length > limit)
    throw new DrydiskError(
      'ENAMETOOLONG',
      `the target of a symbolic link has ${target.length} bytes; this filesystem takes up to ${limit}`,
      { inode: inode.ino },
    )
  if (target.includes(0))
    throw new DrydiskError('EINVAL', 'the target of a symbolic link has a NUL byte', { inode: inode.ino })
  if (target.length < FAST_SYMLINK_LIMIT) {
    inode.setFlag(INODE_FLAG.EXTENTS, false)
    inode.iBlock.fill(0)
    inode.iBlock.set(target)
    inode.size = target.length
    ctx.inodes.markDirty(inode)
    return
  }
  initMapping(ctx, inode)
  await writeContent(ctx, inode, 0, target)
}
