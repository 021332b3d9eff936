import { printable, toBytes } from '../../../bytes/names.ts'
import { DrydiskError } from '../../../errors.ts'
import { modeOfAcl, parseXattrAcl } from '../../posix-acl.ts'
import { mostAclEntries, storedAcl, xattrOfStoredAcl } from '../acl.ts'
import { type AttributeKey, aclOf, attributeKey, attributeText } from '../attr-name.ts'
import type { Dinode } from '../dinode.ts'
import type { XfsWriter } from '../writer.ts'
import { dropAttribute, storeAttribute } from './attribute-store.ts'

export { emptyAttributes } from './attribute-store.ts'

/** XATTR_NAME_MAX, with the namespace, and XATTR_SIZE_MAX (linux/limits.h). */
const MOST_NAME = 255
const MOST_VALUE = 65_536

/**
 * Sets an attribute of an inode that is open for change; its times are the caller's. An access ACL also sets the permission bits,
 * and is not stored where those say it all. `ENOSPC` where it does not fit, `ERANGE` above 65536 bytes or
 * for a name of more than 255, `ENOTSUP` for a namespace
 * that XFS has not, `EPERM` for `user.` attributes on what is neither file nor directory, as in Linux.
 */
export async function setAttribute(
  writer: XfsWriter,
  inode: Dinode,
  name: string,
  value: Uint8Array,
): Promise<void> {
  const key = attributeKey(name)
  if (key === undefined)
    throw new DrydiskError(
      'ENOTSUP',
      `'${printable(name)}': xfs has attributes that start with user. trusted. security. and the POSIX ACLs`,
    )
  const nameLength = toBytes(name).length
  if (nameLength > MOST_NAME || value.length > MOST_VALUE)
    throw new DrydiskError(
      'ERANGE',
      `an attribute with a name of ${nameLength} and a value of ${value.length} bytes: at most ${MOST_NAME} and ${MOST_VALUE}`,
      { inode: inode.ino },
    )
  if (key.flags === 0 && inode.type !== 'file' && inode.type !== 'directory')
    throw new DrydiskError(
      'EPERM',
      `inode ${inode.ino} is a ${inode.type}: only files and directories have user. attributes`,
      { inode: inode.ino },
    )
  const acl = aclOf(name)
  if (acl !== undefined) return setAcl(writer, inode, acl, key, value)
  if (aclOf(attributeText(key) ?? '') !== undefined) requireStoredAcl(value, inode, name)
  await storeAttribute(writer, inode, key, value)
}

/** An ACL by its stored name has to be one, or it is damage. */
function requireStoredAcl(value: Uint8Array, { ino }: Dinode, name: string): void {
  try {
    parseXattrAcl(xattrOfStoredAcl(value, ino))
  } catch (cause) {
    throw new DrydiskError(
      'EINVAL',
      `'${name}' is where xfs keeps an ACL, and the value is none`,
      { inode: ino },
      cause,
    )
  }
}

/** `ENODATA` when there is none. */
export async function removeAttribute(writer: XfsWriter, inode: Dinode, name: string): Promise<void> {
  const key = attributeKey(name)
  if (key === undefined || !(await dropAttribute(writer, inode, key)))
    throw new DrydiskError('ENODATA', `inode ${inode.ino} has no attribute '${printable(name)}'`, {
      inode: inode.ino,
    })
}

/** As xfs_set_acl of Linux: no entries mean no ACL. */
async function setAcl(
  writer: XfsWriter,
  inode: Dinode,
  which: 'access' | 'default',
  key: AttributeKey,
  value: Uint8Array,
): Promise<void> {
  const acl = parseXattrAcl(value)
  const wrong = (code: 'ENOTSUP' | 'EACCES' | 'ERANGE', what: string) =>
    new DrydiskError(code, `inode ${inode.ino} ${what}`, { inode: inode.ino })
  if (inode.type === 'symlink') throw wrong('ENOTSUP', 'is a symlink, which has no ACL')
  if (which === 'default' && inode.type !== 'directory' && acl.length > 0)
    throw wrong('EACCES', 'is no directory: only those have a default ACL')
  const most = mostAclEntries(writer.volume.superblock.isV5)
  if (acl.length > most)
    throw wrong('ERANGE', `cannot have an ACL of ${acl.length} entries: ${most} are the most`)
  const mode = which === 'access' && acl.length > 0 ? modeOfAcl(acl) : undefined
  if (acl.length === 0 || mode?.equivalent) await dropAttribute(writer, inode, key)
  else await storeAttribute(writer, inode, key, storedAcl(acl))
  if (mode !== undefined) inode.di_mode = (inode.di_mode & ~0o777) | mode.bits
}
