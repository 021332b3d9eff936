import { printable } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import { type Acl, aclAfterChmod, inheritAcl, modeOfAcl, parseXattrAcl, xattrAcl } from '../posix-acl.ts'
import type { Ext4Context } from './context.ts'
import { INODE_FLAG, type Inode } from './inode.ts'
import { parseStoredAcl, storedAcl } from './stored-acl.ts'
import { fullName, sameName, splitName, XATTR_INDEX, type XattrEntry } from './xattr-entry.ts'
import { readEntries, removeEntry, storeEntry } from './xattr-store.ts'
import { readLargeValue } from './xattr-value-inode.ts'

export { freeXattrs } from './xattr-store.ts'

/** XATTR_NAME_MAX and XATTR_SIZE_MAX (linux/limits.h). */
const MAX_NAME = 255
const MAX_VALUE = 65_536

const ACCESS = { index: XATTR_INDEX.POSIX_ACL_ACCESS, name: new Uint8Array(0) }
const DEFAULT = { index: XATTR_INDEX.POSIX_ACL_DEFAULT, name: new Uint8Array(0) }

/** Full names in on-disk order; without what is the filesystem's own (`system.data`, encryption contexts). */
export async function listXattrs(ctx: Ext4Context, inode: Inode): Promise<string[]> {
  const names: string[] = []
  for (const entry of await readEntries(ctx, inode)) {
    const name = fullName(entry)
    if (name !== undefined) names.push(name)
  }
  return names
}

/** A copy of the value, `undefined` when there is none. ACLs in the form of getxattr(2). */
export async function getXattr(
  ctx: Ext4Context,
  inode: Inode,
  name: string,
): Promise<Uint8Array | undefined> {
  const entry = (await readEntries(ctx, inode)).find(other => fullName(other) === name)
  if (entry === undefined) return undefined
  const value = await readValue(ctx, inode, entry)
  return isAcl(entry) ? xattrAcl(parseStoredAcl(value, `${name} of inode ${inode.ino}`)) : value
}

function readValue(ctx: Ext4Context, inode: Inode, entry: XattrEntry): Promise<Uint8Array> | Uint8Array {
  return entry.inum === 0 ? entry.value : readLargeValue(ctx, inode, entry)
}

function isAcl({ index }: Pick<XattrEntry, 'index'>): boolean {
  return index === XATTR_INDEX.POSIX_ACL_ACCESS || index === XATTR_INDEX.POSIX_ACL_DEFAULT
}

function requireChangeable(ctx: Ext4Context, inode: Inode): void {
  if (!ctx.writable)
    throw new DrydiskError('EROFS', `inode ${inode.ino}: the filesystem is open for reading only`, {
      inode: inode.ino,
    })
  for (const [flag, word] of [
    [INODE_FLAG.IMMUTABLE, 'immutable (chattr -i)'],
    [INODE_FLAG.APPEND, 'append-only (chattr -a)'],
  ] as const)
    if (inode.hasFlag(flag))
      throw new DrydiskError('EPERM', `inode ${inode.ino} is ${word}: its attributes cannot change`, {
        inode: inode.ino,
      })
}

/**
 * Sets an attribute; ctime becomes now. An access ACL also sets the permission bits, and is not stored where those say
 * it all. `ENOSPC` where it does not fit, `ERANGE` above 65536 bytes, `ENOTSUP` for a namespace that ext4 has not,
 * `EPERM` for `user.` attributes on what is neither file nor directory, as in Linux.
 */
export async function setXattr(
  ctx: Ext4Context,
  inode: Inode,
  name: string,
  value: Uint8Array,
): Promise<void> {
  const key = splitName(name)
  if (key === undefined || key.index === XATTR_INDEX.RICHACL)
    throw new DrydiskError(
      'ENOTSUP',
      `'${printable(name)}': ext4 has attributes that start with user. trusted. security. and the POSIX ACLs`,
    )
  if (key.name.length > MAX_NAME || value.length > MAX_VALUE)
    throw new DrydiskError(
      'ERANGE',
      `an attribute with a name of ${key.name.length} and a value of ${value.length} bytes: at most ${MAX_NAME} and ${MAX_VALUE}`,
      { inode: inode.ino },
    )
  requireChangeable(ctx, inode)
  if (key.index === XATTR_INDEX.USER && inode.type !== 'file' && !inode.isDirectory)
    throw new DrydiskError(
      'EPERM',
      `inode ${inode.ino} is a ${inode.type}: only files and directories have user. attributes`,
      {
        inode: inode.ino,
      },
    )
  if (isAcl(key)) await setAcl(ctx, inode, key.index, parseXattrAcl(value))
  else await storeEntry(ctx, inode, key, value)
  inode.ctime = ctx.now()
  ctx.inodes.markDirty(inode)
}

/** `ENODATA` when there is none. */
export async function removeXattr(ctx: Ext4Context, inode: Inode, name: string): Promise<void> {
  requireChangeable(ctx, inode)
  const entry = (await readEntries(ctx, inode)).find(other => fullName(other) === name)
  if (entry === undefined)
    throw new DrydiskError('ENODATA', `inode ${inode.ino} has no attribute '${printable(name)}'`, {
      inode: inode.ino,
    })
  await removeEntry(ctx, inode, entry)
  inode.ctime = ctx.now()
  ctx.inodes.markDirty(inode)
}

async function setAcl(ctx: Ext4Context, inode: Inode, index: number, acl: Acl): Promise<void> {
  const name = index === XATTR_INDEX.POSIX_ACL_ACCESS ? ACCESS : DEFAULT
  if (inode.type === 'symlink')
    throw new DrydiskError('ENOTSUP', `inode ${inode.ino} is a symlink, which has no ACL`, {
      inode: inode.ino,
    })
  if (name === DEFAULT && !inode.isDirectory && acl.length > 0)
    throw new DrydiskError('EACCES', `inode ${inode.ino} is no directory: only those have a default ACL`, {
      inode: inode.ino,
    })
  const mode = name === ACCESS && acl.length > 0 ? modeOfAcl(acl) : undefined
  if (acl.length === 0 || mode?.equivalent) await removeEntry(ctx, inode, name)
  else await storeEntry(ctx, inode, name, storedAcl(acl))
  if (mode) inode.mode = (inode.mode & ~0o777) | mode.bits
}

async function readAcl(
  ctx: Ext4Context,
  inode: Inode,
  key: Pick<XattrEntry, 'index' | 'name'>,
): Promise<Acl | undefined> {
  const entry = (await readEntries(ctx, inode)).find(other => sameName(other, key))
  if (entry === undefined) return undefined
  return parseStoredAcl(await readValue(ctx, inode, entry), `ACL of inode ${inode.ino}`)
}

/** Sets the permission bits (0 to 0o7777), and in an access ACL those that stand for them. ctime is the caller's. */
export async function chmodInode(ctx: Ext4Context, inode: Inode, permissions: number): Promise<void> {
  const acl = await readAcl(ctx, inode, ACCESS)
  if (acl) await storeEntry(ctx, inode, ACCESS, storedAcl(aclAfterChmod(acl, permissions)))
  inode.mode = (inode.mode & 0xf000) | (permissions & 0o7777)
  ctx.inodes.markDirty(inode)
}

/**
 * Gives a new inode what its directory's default ACL says, as Linux does when it is made: an access ACL and fewer
 * permission bits, and to a directory the default ACL itself. Nothing for symlinks.
 */
export async function inheritAcls(ctx: Ext4Context, directory: Inode, inode: Inode): Promise<void> {
  if (inode.type === 'symlink') return
  const inherited = await readAcl(ctx, directory, DEFAULT)
  if (inherited === undefined) return
  if (inode.isDirectory) await storeEntry(ctx, inode, DEFAULT, storedAcl(inherited))
  const { acl, mode } = inheritAcl(inherited, inode.mode)
  if (!modeOfAcl(acl).equivalent) await storeEntry(ctx, inode, ACCESS, storedAcl(acl))
  inode.mode = mode
  ctx.inodes.markDirty(inode)
}
