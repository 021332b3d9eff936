import { printable } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import type { Ext4Context } from './context.ts'
import {
  findEntry,
  insertName,
  readParent,
  removeEntry,
  requireAddable,
  requireEntry,
  retargetEntry,
  setDotDot,
} from './directory.ts'
import type { Inode } from './inode.ts'
import { addSubdirectory, dropSubdirectory, requireSubdirectory } from './link-count.ts'
import {
  dropLink,
  namedInode,
  requireEmpty,
  requireOrdinaryName,
  requireSameProject,
  requireUnprotected,
  resolveName,
  touchDirectory,
  typeOfInode,
} from './namespace.ts'
import { destroyInode } from './new-inode.ts'

const ROOT_INODE = 2

/** Whether a directory is `ancestor` or lies below it, by the `..` of each step. */
async function isWithin(ctx: Ext4Context, directory: Inode, ancestor: Inode): Promise<boolean> {
  const seen = new Set<InodeNumber>()
  let at = directory
  while (at.ino !== ancestor.ino) {
    if (at.ino === ROOT_INODE) return false
    if (seen.has(at.ino))
      throw new DrydiskError('ERR_CORRUPT', `directory ${at.ino} lies below itself by its '..'; run e2fsck`, {
        inode: at.ino,
      })
    seen.add(at.ino)
    at = await ctx.inodes.read(await readParent(ctx, at))
  }
  return true
}

/** As rename(2). The checks come in the order of vfs_rename and lock_rename. */
export async function rename(
  ctx: Ext4Context,
  from: Inode,
  fromName: Uint8Array,
  to: Inode,
  toName: Uint8Array,
): Promise<void> {
  requireOrdinaryName(fromName, 'EBUSY')
  requireOrdinaryName(toName, 'EBUSY')
  // The target first: a place that is no directory is an error before a source that is missing is one, as in rename(2).
  const target = await findEntry(ctx, to, toName)
  const { inode } = await resolveName(ctx, from, fromName)
  const replaced = target && (await namedInode(ctx, target.ino))
  if (inode.isDirectory && (await isWithin(ctx, to, inode)))
    throw new DrydiskError('EINVAL', `'${printable(fromName)}' cannot be moved into itself`, {
      inode: inode.ino,
    })
  if (replaced?.ino === inode.ino) return
  if (replaced?.isDirectory && (await isWithin(ctx, from, replaced)))
    throw new DrydiskError('ENOTEMPTY', `'${printable(toName)}' is not empty`, { inode: replaced.ino })
  if (replaced) await requireReplaceable(ctx, inode, replaced, toName)
  await requireMovable(ctx, from, inode, to, replaced)

  const type = typeOfInode(inode)
  if (target) await retargetEntry(ctx, to, target, inode.ino, type)
  else await insertName(ctx, to, toName, inode.ino, type)
  // Adding a name may have moved the old one.
  await removeEntry(ctx, from, await requireEntry(ctx, from, fromName))
  if (inode.isDirectory) {
    if (from.ino !== to.ino) await setDotDot(ctx, inode, to.ino)
    dropSubdirectory(ctx, from)
    addSubdirectory(ctx, to)
  }
  inode.ctime = ctx.now()
  ctx.inodes.markDirty(inode)
  touchDirectory(ctx, from)
  touchDirectory(ctx, to)
  if (replaced?.isDirectory) {
    dropSubdirectory(ctx, to)
    await destroyInode(ctx, replaced)
  } else if (replaced) await dropLink(ctx, replaced)
}

async function requireReplaceable(
  ctx: Ext4Context,
  inode: Inode,
  replaced: Inode,
  name: Uint8Array,
): Promise<void> {
  if (inode.isDirectory && !replaced.isDirectory)
    throw new DrydiskError('ENOTDIR', `'${printable(name)}' is not a directory`, { inode: replaced.ino })
  if (!inode.isDirectory && replaced.isDirectory)
    throw new DrydiskError('EISDIR', `'${printable(name)}' is a directory`, { inode: replaced.ino })
  if (replaced.isDirectory) await requireEmpty(ctx, replaced, name)
}

async function requireMovable(
  ctx: Ext4Context,
  from: Inode,
  inode: Inode,
  to: Inode,
  replaced: Inode | undefined,
): Promise<void> {
  requireUnprotected(from, false)
  requireUnprotected(inode, false)
  requireUnprotected(to, replaced === undefined)
  if (replaced) requireUnprotected(replaced, false)
  requireSameProject(ctx, to, inode)
  requireAddable(to)
  if (!inode.isDirectory || from.ino === to.ino) return
  if (!replaced) requireSubdirectory(ctx, to)
  // Its '..' is about to change: a directory that does not start as it should is refused before anything changed.
  // One that has a second name in another directory would leave that one's link count wrong (ext4_rename_dir_prepare).
  const parent = await readParent(ctx, inode)
  if (parent !== from.ino)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `directory ${inode.ino} is in directory ${from.ino}, but its '..' leads to ${parent}; run e2fsck`,
      { structure: 'directory', inode: inode.ino },
    )
}
