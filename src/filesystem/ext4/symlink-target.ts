import { DrydiskError } from '../../errors.ts'
import type { Ext4Context } from './context.ts'
import { readData } from './file-data.ts'
import { INODE_FLAG, type Inode } from './inode.ts'

/** Bytes of i_block: a target shorter than this (with the kernel's NUL it must fit) lies in the inode. */
const FAST_LIMIT = 60

/** Whether i_block holds the target itself (ext4_inode_is_fast_symlink). */
export function isFastSymlink(ctx: Ext4Context, inode: Inode): boolean {
  if (inode.type !== 'symlink') return false
  if (inode.hasFlag(INODE_FLAG.INLINE_DATA) || inode.hasFlag(INODE_FLAG.EXTENTS)) return false
  if (inode.size >= FAST_LIMIT) return false
  // With ea_inode, i_blocks also counts the blocks of values that lie elsewhere; the size alone decides.
  if (ctx.superblock.has('ea_inode')) return true
  const xattrSectors = inode.fileAcl === 0 ? 0 : ctx.blockSize / 512
  return inode.sectors <= xattrSectors
}

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
