import { bigEndian, littleEndian } from '../../bytes/byte-view.ts'
import { corrupt } from './errors.ts'

/** struct xfs_acl and xfs_acl_entry, big-endian (xfs_format.h). */
const HEADER = 4
const ENTRY = 12
/** POSIX_ACL_XATTR_VERSION: the form of getxattr(2), little-endian, with entries of 8 bytes. */
const XATTR_VERSION = 2
const XATTR_ENTRY = 8
/** ACL_USER and ACL_GROUP: only these have an id; the others show ACL_UNDEFINED_ID (posix_acl_to_xattr). */
const NAMED: readonly number[] = [0x02, 0x08]
const NO_ID = 0xffff_ffff

/** The stored form of an ACL to that of getxattr(2). */
export function xattrOfStoredAcl(stored: Uint8Array, ino: number): Uint8Array {
  const from = bigEndian(stored, 'xfs ACL')
  const count = stored.length < HEADER ? -1 : from.u32(0)
  if (stored.length !== HEADER + count * ENTRY)
    throw corrupt('acl', `inode ${ino} has an ACL of ${stored.length} bytes for ${count} entries`, {
      inode: ino,
    })
  const out = new Uint8Array(HEADER + count * XATTR_ENTRY)
  const to = littleEndian(out, 'ACL')
  to.setU32(0, XATTR_VERSION)
  for (let index = 0; index < count; index++) {
    const [at, target] = [HEADER + index * ENTRY, HEADER + index * XATTR_ENTRY]
    const tag = from.u32(at)
    to.setU16(target, tag)
    to.setU16(target + 2, from.u16(at + 8))
    to.setU32(target + 4, NAMED.includes(tag) ? from.u32(at + 4) : NO_ID)
  }
  return out
}
