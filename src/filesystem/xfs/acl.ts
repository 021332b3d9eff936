import { bigEndian } from '../../bytes/byte-view.ts'
import { type Acl, hasId, NO_ID, xattrAcl } from '../posix-acl.ts'
import { corrupt } from './errors.ts'

/** struct xfs_acl and xfs_acl_entry, big-endian (xfs_format.h). */
const HEADER = 4
const ENTRY = 12

/** The stored form of an ACL to that of getxattr(2). */
export function xattrOfStoredAcl(stored: Uint8Array, ino: number): Uint8Array {
  const from = bigEndian(stored, 'xfs ACL')
  const count = stored.length < HEADER ? -1 : from.u32(0)
  if (stored.length !== HEADER + count * ENTRY)
    throw corrupt('acl', `inode ${ino} has an ACL of ${stored.length} bytes for ${count} entries`, {
      inode: ino,
    })
  return xattrAcl(
    Array.from({ length: count }, (_, index) => {
      const at = HEADER + index * ENTRY
      const tag = from.u32(at)
      return { tag, perm: from.u16(at + 8), id: hasId(tag) ? from.u32(at + 4) : NO_ID }
    }),
  )
}

/** The form on disk. Entries that name nobody have ACL_UNDEFINED_ID there as well. */
export function storedAcl(acl: Acl): Uint8Array {
  const bytes = new Uint8Array(HEADER + acl.length * ENTRY)
  const view = bigEndian(bytes, 'xfs ACL')
  view.setU32(0, acl.length)
  for (const [index, { tag, perm, id }] of acl.entries()) {
    const at = HEADER + index * ENTRY
    view.setU32(at, tag)
    view.setU32(at + 4, id)
    view.setU16(at + 8, perm)
  }
  return bytes
}

/** XFS_ACL_MAX_ENTRIES: in version 4 an ACL was in the inode or in one leaf. */
export function mostAclEntries(isV5: boolean): number {
  return isV5 ? Math.floor((65_536 - HEADER) / ENTRY) : 25
}
