import { printable } from '../../bytes/names.ts'
import { DrydiskError, type ErrorCode } from '../../errors.ts'
import type { DeviceNumber, FileType, InodeNumber, NewInode } from '../filesystem.ts'
import type { Ext4Context } from './context.ts'
import { storeDeviceNumber } from './device-number.ts'
import {
  type EntryPlace,
  insertName,
  isDots,
  isEmptyDirectory,
  removeEntry,
  requireEntry,
  requireName,
  requireNewName,
} from './directory.ts'
import { initialiseBlockDirectory } from './directory-linear.ts'
import { initialiseInlineDirectory } from './inline-directory.ts'
import { INODE_FLAG, type Inode } from './inode.ts'
import { addSubdirectory, dropSubdirectory, requireLinkable, requireSubdirectory } from './link-count.ts'
import { destroyInode, destroyOnError, isProtected, newInode, PROJINHERIT } from './new-inode.ts'
import { storeTarget } from './symlink-target.ts'

/** The directory's content changed: its times become now. */
export function touchDirectory(ctx: Ext4Context, directory: Inode): void {
  const now = ctx.now()
  directory.mtime = now
  directory.ctime = now
  directory.version++
  ctx.inodes.markDirty(directory)
}

/** `EPERM` where the flags of a directory, or of what a name leads to, keep names from changing. */
export function requireUnprotected(inode: Inode, appending: boolean): void {
  const flag = isProtected(inode, appending)
  if (flag !== undefined)
    throw new DrydiskError('EPERM', `inode ${inode.ino} is ${flag}: its names cannot change`, {
      inode: inode.ino,
    })
}

/** Names that a system call refuses to remove or rename, with the code that it gives for `.` and `..`. */
export function requireOrdinaryName(name: Uint8Array, code: ErrorCode): void {
  requireName(name)
  if (isDots(name)) throw new DrydiskError(code, `'${printable(name)}' cannot be removed or renamed`)
}

export function typeOfInode(inode: Inode): FileType {
  const { type } = inode
  if (type === undefined)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `inode ${inode.ino}: mode 0${inode.mode.toString(8)} has no file type; run e2fsck`,
      { inode: inode.ino },
    )
  return type
}

/** Makes an inode, lets `complete` give it its content, and names it. On an error nothing stays. */
async function make(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  type: FileType,
  attributes: NewInode,
  complete: (inode: Inode) => Promise<void>,
): Promise<InodeNumber> {
  await requireNewName(ctx, directory, name)
  requireUnprotected(directory, true)
  if (type === 'directory') requireSubdirectory(ctx, directory)
  const inode = await newInode(ctx, directory, type, attributes)
  await destroyOnError(ctx, inode, async () => {
    await complete(inode)
    await insertName(ctx, directory, name, inode.ino, type)
  })
  if (type === 'directory') {
    inode.linksCount = 2
    addSubdirectory(ctx, directory)
  }
  touchDirectory(ctx, directory)
  return inode.ino
}

export async function create(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  attributes: NewInode,
): Promise<InodeNumber> {
  return make(ctx, directory, name, 'file', attributes, async () => {})
}

export async function mkdir(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  attributes: NewInode,
): Promise<InodeNumber> {
  return make(ctx, directory, name, 'directory', attributes, async inode => {
    if (!initialiseInlineDirectory(ctx, inode, directory.ino))
      await initialiseBlockDirectory(ctx, inode, directory.ino)
  })
}

/** The mode of a symlink is 0o777, whatever is asked for: nothing looks at it. */
export async function symlink(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  target: Uint8Array,
  attributes: NewInode,
): Promise<InodeNumber> {
  const { time } = attributes
  return make(ctx, directory, name, 'symlink', { ...attributes, mode: 0o777 }, async inode => {
    await storeTarget(ctx, inode, target)
    // Storing the target is no later change of the symlink.
    if (time !== undefined) {
      inode.mtime = time
      inode.ctime = time
    }
  })
}

export async function mknod(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  type: 'character-device' | 'block-device' | 'fifo' | 'socket',
  device: DeviceNumber,
  attributes: NewInode,
): Promise<InodeNumber> {
  return make(ctx, directory, name, type, attributes, async inode => {
    if (type === 'character-device' || type === 'block-device') storeDeviceNumber(inode, device)
  })
}

/** A directory that passes its project on takes nothing of another project (fs/ext4/namei.c, ext4_link). */
export function requireSameProject(ctx: Ext4Context, directory: Inode, inode: Inode): void {
  if (ctx.superblock.has('project') && directory.hasFlag(PROJINHERIT) && directory.projid !== inode.projid)
    throw new DrydiskError(
      'EXDEV',
      `inode ${inode.ino} is of project ${inode.projid}, and directory ${directory.ino} takes only ${directory.projid}`,
      { inode: inode.ino },
    )
}

export async function link(
  ctx: Ext4Context,
  inode: Inode,
  directory: Inode,
  name: Uint8Array,
): Promise<void> {
  await requireNewName(ctx, directory, name)
  if (inode.isDirectory)
    throw new DrydiskError('EPERM', `inode ${inode.ino} is a directory: it has one name`, {
      inode: inode.ino,
    })
  requireUnprotected(directory, true)
  requireUnprotected(inode, false)
  requireSameProject(ctx, directory, inode)
  requireLinkable(inode)
  await insertName(ctx, directory, name, inode.ino, typeOfInode(inode))
  inode.linksCount++
  inode.ctime = ctx.now()
  ctx.inodes.markDirty(inode)
  touchDirectory(ctx, directory)
}

/** Takes one name from what is no directory; with the last one it goes. */
export async function dropLink(ctx: Ext4Context, inode: Inode): Promise<void> {
  inode.ctime = ctx.now()
  if (inode.linksCount <= 1) await destroyInode(ctx, inode)
  else {
    inode.linksCount--
    ctx.inodes.markDirty(inode)
  }
}

/** An inode that a name leads to. `ERR_CORRUPT` for the inode of an attribute's value: that has none. */
export async function namedInode(ctx: Ext4Context, ino: InodeNumber): Promise<Inode> {
  const inode = await ctx.inodes.read(ino)
  if (inode.hasFlag(INODE_FLAG.EA_INODE))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `inode ${ino} has a name but holds an attribute's value; run e2fsck`,
      {
        inode: ino,
      },
    )
  return inode
}

/** The entry of a name, and the inode that it leads to. */
export async function resolveName(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
): Promise<{ readonly place: EntryPlace; readonly inode: Inode }> {
  const place = await requireEntry(ctx, directory, name)
  return { place, inode: await namedInode(ctx, place.ino) }
}

export async function unlink(ctx: Ext4Context, directory: Inode, name: Uint8Array): Promise<void> {
  requireOrdinaryName(name, 'EISDIR')
  const { place, inode } = await resolveName(ctx, directory, name)
  if (inode.isDirectory)
    throw new DrydiskError('EISDIR', `'${printable(name)}' is a directory`, { inode: inode.ino })
  requireUnprotected(directory, false)
  requireUnprotected(inode, false)
  await removeEntry(ctx, directory, place)
  touchDirectory(ctx, directory)
  await dropLink(ctx, inode)
}

export async function requireEmpty(ctx: Ext4Context, directory: Inode, name: Uint8Array): Promise<void> {
  if (!(await isEmptyDirectory(ctx, directory)))
    throw new DrydiskError('ENOTEMPTY', `'${printable(name)}' is not empty`, { inode: directory.ino })
}

export async function rmdir(ctx: Ext4Context, directory: Inode, name: Uint8Array): Promise<void> {
  requireOrdinaryName(name, 'EINVAL')
  const { place, inode } = await resolveName(ctx, directory, name)
  if (!inode.isDirectory)
    throw new DrydiskError('ENOTDIR', `'${printable(name)}' is not a directory`, { inode: inode.ino })
  await requireEmpty(ctx, inode, name)
  requireUnprotected(directory, false)
  requireUnprotected(inode, false)
  await removeEntry(ctx, directory, place)
  dropSubdirectory(ctx, directory)
  touchDirectory(ctx, directory)
  await destroyInode(ctx, inode)
}
