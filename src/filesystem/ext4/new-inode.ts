import { DrydiskError } from '../../errors.ts'
import type { FileType, NewInode } from '../filesystem.ts'
import { initMapping } from './block-mapping.ts'
import type { Ext4Context } from './context.ts'
import { freeData } from './file-write.ts'
import { FILE_TYPE_BITS, INODE_FLAG, type Inode } from './inode.ts'
import { freeXattrs, inheritAcls } from './xattr.ts'

const ROOT_INO = 2

/** EXT4_PROJINHERIT_FL: what is made in the directory belongs to the directory's project. */
export const PROJINHERIT = 0x2000_0000

/**
 * Flags that a new inode takes from its directory (fs/ext4/ext4.h, EXT4_FL_INHERITED): SECRM, UNRM, COMPR, SYNC, NODUMP,
 * NOATIME, NOCOMPR, JOURNAL_DATA, NOTAIL, DIRSYNC, DAX, PROJINHERIT. CASEFOLD is not among them here: such a directory
 * takes no names.
 */
const INHERITED =
  0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x400 | 0x4000 | 0x8000 | 0x1_0000 | 0x200_0000 | PROJINHERIT
/** Of these, what means nothing for a file: DIRSYNC, PROJINHERIT (EXT4_REG_FLMASK). */
const NOT_FOR_FILES = 0x1_0000 | PROJINHERIT
/** NODUMP, NOATIME (EXT4_OTHER_FLMASK). */
const FOR_OTHERS = 0x40 | 0x80

function inheritedFlags(directory: Inode, type: FileType): number {
  const flags = directory.flags & INHERITED
  if (type === 'directory') return flags
  return type === 'file' ? flags & ~NOT_FOR_FILES : flags & FOR_OTHERS
}

/**
 * Makes an inode in a directory, with no name yet and no content: mode and owner exactly as given, but for what a default
 * ACL of the directory takes from the mode. One link.
 */
export async function newInode(
  ctx: Ext4Context,
  directory: Inode,
  type: FileType,
  attributes: NewInode,
): Promise<Inode> {
  const mode = FILE_TYPE_BITS[type] | (attributes.mode & 0o7777)
  const inode = await ctx.inodes.allocate(directory.ino, mode)
  inode.mode = mode
  inode.uid = attributes.uid
  inode.gid = attributes.gid
  inode.linksCount = 1
  const time = attributes.time ?? ctx.now()
  inode.atime = time
  inode.mtime = time
  inode.ctime = time
  inode.crtime = time
  inode.setFlag(inheritedFlags(directory, type), true)
  if (directory.hasFlag(PROJINHERIT) && ctx.superblock.has('project')) inode.projid = directory.projid
  ctx.inodes.markDirty(inode)
  if (type === 'file' || type === 'directory') initMapping(ctx, inode)
  await destroyOnError(ctx, inode, () => inheritAcls(ctx, directory, inode))
  return inode
}

/** Frees a new inode again when what completes it fails. */
export async function destroyOnError(
  ctx: Ext4Context,
  inode: Inode,
  complete: () => Promise<void>,
): Promise<void> {
  try {
    await complete()
  } catch (error) {
    await destroyInode(ctx, inode)
    throw error
  }
}

/** Frees an inode that no name leads to, with content and attributes. */
export async function destroyInode(ctx: Ext4Context, inode: Inode): Promise<void> {
  if (inode.ino === ROOT_INO)
    throw new DrydiskError(
      'ERR_CORRUPT',
      'the root directory has a name, by which it cannot be removed; run e2fsck',
      {
        inode: inode.ino,
      },
    )
  await freeData(ctx, inode)
  await freeXattrs(ctx, inode)
  inode.linksCount = 0
  await ctx.inodes.free(inode)
}

/** Refuses to change an inode, or the names in a directory, that is immutable or append-only: not even root may. */
export function isProtected(inode: Inode, appending: boolean): string | undefined {
  if (inode.hasFlag(INODE_FLAG.IMMUTABLE)) return 'immutable (chattr -i)'
  return inode.hasFlag(INODE_FLAG.APPEND) && !appending ? 'append-only (chattr -a)' : undefined
}
