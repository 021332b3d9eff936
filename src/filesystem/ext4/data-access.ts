import { DrydiskError } from '../../errors.ts'
import type { Ext4Context } from './context.ts'
import { LOGICAL_END } from './extent-node.ts'
import { indirectLimit } from './indirect-map.ts'
import { INODE_FLAG, type Inode } from './inode.ts'

/** EXT4_COMPRBLK_FL: some clusters of the file are compressed (the e2compr patches; no kernel in use reads them). */
const COMPRBLK_FL = 0x200

/** `ERR_UNSUPPORTED` for an inode whose blocks do not hold its content as it is. */
export function requireReadable(inode: Inode): void {
  const why = inode.hasFlag(INODE_FLAG.ENCRYPT)
    ? 'encrypted (fscrypt), and drydisk has no key'
    : inode.hasFlag(COMPRBLK_FL)
      ? 'compressed (e2compr)'
      : undefined
  if (why !== undefined)
    throw new DrydiskError('ERR_UNSUPPORTED', `inode ${inode.ino}: its content is ${why}`, {
      inode: inode.ino,
    })
}

/** `EISDIR` and `EINVAL` for inodes that have no bytes to read or write. */
export function requireContent(inode: Inode): void {
  const { type } = inode
  if (type === 'file' || type === 'symlink') return
  if (type === 'directory')
    throw new DrydiskError('EISDIR', `inode ${inode.ino} is a directory`, { inode: inode.ino })
  throw new DrydiskError('EINVAL', `inode ${inode.ino} has no content: it is a ${type ?? 'freed inode'}`, {
    inode: inode.ino,
  })
}

/** As `requireContent`, for callers that have a path's inode in hand: a symlink's target is no content of a file. */
export function requireFile(inode: Inode): void {
  requireContent(inode)
  if (inode.type === 'symlink')
    throw new DrydiskError('EINVAL', `inode ${inode.ino} is a symlink, not a file`, { inode: inode.ino })
}

/** As the kernel, which lets not even root write these. */
export function requireWritable(ctx: Ext4Context, inode: Inode, appendsOnly: boolean): void {
  if (!ctx.writable)
    throw new DrydiskError('EROFS', `inode ${inode.ino}: the filesystem is open for reading only`, {
      inode: inode.ino,
    })
  requireReadable(inode)
  const why = inode.hasFlag(INODE_FLAG.IMMUTABLE)
    ? 'is immutable; clear the flag first (chattr -i)'
    : inode.hasFlag(INODE_FLAG.VERITY)
      ? 'is protected by fs-verity: its content cannot change'
      : inode.hasFlag(INODE_FLAG.APPEND) && !appendsOnly
        ? 'is append-only; clear the flag first (chattr -a)'
        : undefined
  if (why !== undefined) throw new DrydiskError('EPERM', `inode ${inode.ino} ${why}`, { inode: inode.ino })
}

/**
 * Blocks that a file may span: 2^32 - 1 with extents, what three levels of pointer blocks reach without
 * (fs/ext4/super.c, ext4_max_size and ext4_max_bitmap_size).
 */
export function maxFileBlocks(ctx: Ext4Context, inode: Inode): number {
  // Inline content that outgrows the inode moves to an extent tree where the filesystem has extents.
  const extents =
    inode.hasFlag(INODE_FLAG.EXTENTS) ||
    (inode.hasFlag(INODE_FLAG.INLINE_DATA) && ctx.superblock.has('extent'))
  return extents ? LOGICAL_END - 1 : Math.min(indirectLimit(ctx.blockSize), LOGICAL_END - 1)
}

/** `EINVAL` for what is no byte offset. */
export function requireOffset(inode: Inode, offset: number): void {
  if (!(Number.isSafeInteger(offset) && offset >= 0))
    throw new DrydiskError('EINVAL', `inode ${inode.ino}: ${offset} is no byte offset`, {
      inode: inode.ino,
      offset,
    })
}

/** `EFBIG` when a file cannot have `size` bytes. */
export function requireSize(ctx: Ext4Context, inode: Inode, size: number): void {
  const limit = maxFileBlocks(ctx, inode) * ctx.blockSize
  if (size > limit)
    throw new DrydiskError(
      'EFBIG',
      `inode ${inode.ino}: ${size} bytes are more than the ${limit} that it can have`,
      {
        inode: inode.ino,
        size,
        limit,
      },
    )
}

/** Bytes of i_block. A target that leaves room for the kernel's NUL lies there. */
export const FAST_SYMLINK_LIMIT = 60

/** Whether i_block holds a symlink's target itself (ext4_inode_is_fast_symlink). */
export function isFastSymlink(ctx: Ext4Context, inode: Inode): boolean {
  if (inode.type !== 'symlink') return false
  if (inode.hasFlag(INODE_FLAG.INLINE_DATA) || inode.hasFlag(INODE_FLAG.EXTENTS)) return false
  if (inode.size >= FAST_SYMLINK_LIMIT) return false
  // With ea_inode, i_blocks also counts the blocks of values that lie elsewhere; the size alone decides.
  if (ctx.superblock.has('ea_inode')) return true
  const xattrSectors = inode.fileAcl === 0 ? 0 : ctx.blockSize / 512
  return inode.sectors <= xattrSectors
}
