import type { FileType, NewInode } from '../filesystem.ts'
import { aclAfterChmod, inheritAcl, modeOfAcl, parseXattrAcl, xattrAcl } from '../posix-acl.ts'
import { setAttribute } from './attribute-edit/attribute-edit.ts'
import { getAttribute } from './attributes.ts'
import { DIFLAG, type Dinode, FORMAT } from './dinode.ts'
import { corrupt, unsupported } from './errors.ts'
import { emptyFork } from './fork/fork-edit.ts'
import { inheritFrom } from './inode-space/inherit.ts'
import { after, inTurn, type Soon } from './soon.ts'
import type { XfsWriter } from './writer.ts'

/** st_mode's file types. */
const MODE_TYPES: Readonly<Record<FileType, number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  'character-device': 0o020000,
  'block-device': 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
}

const ACCESS = 'system.posix_acl_access'
const DEFAULT = 'system.posix_acl_default'

/**
 * Makes an inode in a directory, with one link, no name and no content yet: mode and owner exactly as given. Its times are those
 * of its making, and all of them the caller's to set when it is complete.
 */
export function newInode(
  writer: XfsWriter,
  directory: Dinode,
  type: FileType,
  { mode, uid, gid }: NewInode,
): Soon<Dinode> {
  return after(writer.inodeAllocator.allocate(directory.ino, MODE_TYPES[type] | (mode & 0o7777)), inode => {
    inheritFrom(directory, inode)
    inode.di_mode = mode
    inode.di_uid = uid
    inode.di_gid = gid
    inode.di_nlink = 1
    return inode
  })
}

/**
 * Gives a new inode what its directory's default ACL says, as Linux does when it is made: an access ACL and fewer permission
 * bits, and to a directory the default ACL itself. Nothing for symlinks.
 */
export function inheritAcls(writer: XfsWriter, directory: Dinode, inode: Dinode): Soon<void> {
  return inode.type === 'symlink' || directory.di_forkoff === 0
    ? undefined
    : inheritDefault(writer, directory, inode)
}

async function inheritDefault(writer: XfsWriter, directory: Dinode, inode: Dinode): Promise<void> {
  const inherited = await getAttribute(writer.volume, directory, DEFAULT)
  if (inherited === undefined) return
  if (inode.type === 'directory') await setAttribute(writer, inode, DEFAULT, inherited)
  const { acl, mode } = inheritAcl(parseXattrAcl(inherited), inode.di_mode)
  if (!modeOfAcl(acl).equivalent) await setAttribute(writer, inode, ACCESS, xattrAcl(acl))
  inode.di_mode = mode
}

/** Sets the permission bits (0 to 0o7777), and in an access ACL those that stand for them. ctime is the caller's. */
export async function chmodInode(writer: XfsWriter, inode: Dinode, permissions: number): Promise<void> {
  const acl = await getAttribute(writer.volume, inode, ACCESS)
  if (acl !== undefined)
    await setAttribute(writer, inode, ACCESS, xattrAcl(aclAfterChmod(parseXattrAcl(acl), permissions)))
  inode.di_mode = permissions
}

/** Frees an inode that no name leads to, with content and attributes. */
export function destroyInode(writer: XfsWriter, inode: Dinode): Soon<void> {
  const { sb_rootino } = writer.volume.superblock
  if (inode.ino === sb_rootino)
    throw corrupt('inode', 'the root directory has a name, by which it cannot be removed', {
      inode: inode.ino,
    })
  if ((inode.di_flags & DIFLAG.REALTIME) !== 0 && inode.di_nblocks > 0)
    throw unsupported(
      `the content of inode ${inode.ino} is on the real-time device, which is not in this volume: the file cannot be removed`,
      { inode: inode.ino },
    )
  return inTurn([
    () => emptyFork(writer, inode, 'data'),
    // Attributes in the inode go with it.
    () => (inode.di_aformat === FORMAT.LOCAL ? undefined : emptyFork(writer, inode, 'attribute')),
    () => {
      inode.di_nlink = 0
      return writer.inodeAllocator.free(inode)
    },
  ])
}
