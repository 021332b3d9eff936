import { printable } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import type { Dinode } from './dinode.ts'
import { lookupName } from './directory.ts'
import { addEntry, removeEntry, replaceEntry, setParent } from './directory-edit/directory-edit.ts'
import { corrupt } from './errors.ts'
import {
  dropLinkCount,
  requireLinkable,
  requireOrdinaryName,
  requireSameProject,
  requireUnprotected,
  touch,
  touchChange,
} from './links.ts'
import { dropLink, findName, requireEmpty, requireEntry } from './namespace.ts'
import { destroyInode } from './new-inode.ts'
import type { XfsWriter } from './writer.ts'

const DOT_DOT = Uint8Array.of(0x2e, 0x2e)

async function parentOf(writer: XfsWriter, directory: Dinode): Promise<InodeNumber> {
  return lookupName(writer, directory, DOT_DOT)
}

/** Whether a directory is `ancestor` or lies below it, by the `..` of each step. */
async function isWithin(writer: XfsWriter, directory: Dinode, ancestor: Dinode): Promise<boolean> {
  const seen = new Set<InodeNumber>()
  let at = directory
  while (at.ino !== ancestor.ino) {
    if (at.ino === writer.volume.superblock.sb_rootino) return false
    if (seen.has(at.ino))
      throw corrupt('directory', `directory ${at.ino} lies below itself by its '..'`, { inode: at.ino })
    seen.add(at.ino)
    at = await writer.inodes.require(await parentOf(writer, at), 'directory')
  }
  return true
}

/** As rename(2). The checks come in the order of vfs_rename and lock_rename. */
export async function rename(
  writer: XfsWriter,
  fromDirectory: InodeNumber,
  fromName: Uint8Array,
  toDirectory: InodeNumber,
  toName: Uint8Array,
): Promise<void> {
  const found = await findMove(writer, fromDirectory, fromName, toDirectory, toName)
  if (found.replaced?.ino === found.inode.ino) return
  const from = await writer.inodes.edit(fromDirectory)
  const to = await writer.inodes.edit(toDirectory)
  const inode = await writer.inodes.edit(found.inode.ino)
  const replaced = found.replaced && (await writer.inodes.edit(found.replaced.ino))
  const isDirectory = inode.type === 'directory'

  if (replaced) await replaceEntry(writer, to, toName, inode.ino, inode.type)
  else await addEntry(writer, to, toName, inode.ino, inode.type)
  await removeEntry(writer, from, fromName, { ino: inode.ino })
  if (isDirectory) {
    if (from.ino !== to.ino) await setParent(writer, inode, to.ino)
    dropLinkCount(from)
    to.di_nlink++
  }
  touchChange(writer, inode)
  touch(writer, from)
  touch(writer, to)
  if (replaced?.type === 'directory') {
    dropLinkCount(to)
    await destroyInode(writer, replaced)
  } else if (replaced) await dropLink(writer, replaced)
}

/** What is to be moved where, and what is there; all of it as it is. */
async function findMove(
  writer: XfsWriter,
  fromDirectory: InodeNumber,
  fromName: Uint8Array,
  toDirectory: InodeNumber,
  toName: Uint8Array,
): Promise<{ readonly inode: Dinode; readonly replaced: Dinode | undefined }> {
  const from = await writer.inodes.require(fromDirectory, 'directory')
  const to = await writer.inodes.require(toDirectory, 'directory')
  requireOrdinaryName(fromName, 'EBUSY')
  requireOrdinaryName(toName, 'EBUSY')
  const replaced = await findName(writer, to, toName)
  const inode = await writer.inodes.read((await requireEntry(writer, from, fromName)).ino)
  if (inode.type === 'directory' && (await isWithin(writer, to, inode)))
    throw new DrydiskError('EINVAL', `'${printable(fromName)}' cannot be moved into itself`, {
      inode: inode.ino,
    })
  if (replaced?.ino === inode.ino) return { inode, replaced }
  if (replaced?.type === 'directory' && (await isWithin(writer, from, replaced)))
    throw new DrydiskError('ENOTEMPTY', `'${printable(toName)}' is not empty`, { inode: replaced.ino })
  if (replaced) await requireReplaceable(writer, inode, replaced, toName)
  await requireMovable(writer, from, inode, to, replaced)
  return { inode, replaced }
}

async function requireReplaceable(
  writer: XfsWriter,
  inode: Dinode,
  replaced: Dinode,
  name: Uint8Array,
): Promise<void> {
  const [moved, target] = [inode.type === 'directory', replaced.type === 'directory']
  if (moved && !target)
    throw new DrydiskError('ENOTDIR', `'${printable(name)}' is not a directory`, { inode: replaced.ino })
  if (!moved && target)
    throw new DrydiskError('EISDIR', `'${printable(name)}' is a directory`, { inode: replaced.ino })
  if (target) await requireEmpty(writer, replaced, name)
}

async function requireMovable(
  writer: XfsWriter,
  from: Dinode,
  inode: Dinode,
  to: Dinode,
  replaced: Dinode | undefined,
): Promise<void> {
  requireUnprotected(from, false)
  requireUnprotected(inode, false)
  requireUnprotected(to, replaced === undefined)
  if (replaced) requireUnprotected(replaced, false)
  requireSameProject(to, inode)
  if (inode.type !== 'directory' || from.ino === to.ino) return
  if (!replaced) requireLinkable(to)
  // A directory with a second name elsewhere would leave that one's link count wrong.
  const parent = await parentOf(writer, inode)
  if (parent !== from.ino)
    throw corrupt(
      'directory',
      `directory ${inode.ino} is in directory ${from.ino}, but its '..' leads to ${parent}`,
      { inode: inode.ino },
    )
}
