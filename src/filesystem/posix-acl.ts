import { littleEndian } from '../bytes/byte-view.ts'
import { DrydiskError } from '../errors.ts'

/** e_tag of an entry (linux/posix_acl.h, ACL_*). */
const TAG = { USER_OBJ: 0x1, USER: 0x2, GROUP_OBJ: 0x4, GROUP: 0x8, MASK: 0x10, OTHER: 0x20 } as const

/** POSIX_ACL_XATTR_VERSION: the form that getxattr(2) and setxattr(2) use. All entries are 8 bytes long. */
const XATTR_VERSION = 2
const HEADER = 4
const ENTRY = 8
/** ACL_UNDEFINED_ID: of entries that name nobody. */
export const NO_ID = 0xffff_ffff

export interface AclEntry {
  readonly tag: number
  /** rwx bits */
  readonly perm: number
  /** Of a named user or group; else 0xffffffff. */
  readonly id: number
}

/** The permissions of one file: entries in the order that `requireValid` demands. */
export type Acl = readonly AclEntry[]

/** Whether an entry of that kind names a user or a group. */
export function hasId(tag: number): boolean {
  return tag === TAG.USER || tag === TAG.GROUP
}

/** The form of setxattr(2); no entries mean no ACL. `EINVAL` for what setxattr(2) refuses, `ENOTSUP` for another version. */
export function parseXattrAcl(bytes: Uint8Array): Acl {
  if (bytes.length < HEADER || (bytes.length - HEADER) % ENTRY !== 0)
    throw new DrydiskError('EINVAL', `an ACL of ${bytes.length} bytes, expected 4 and 8 for each entry`)
  const view = littleEndian(bytes, 'acl')
  if (view.u32(0) !== XATTR_VERSION)
    throw new DrydiskError('ENOTSUP', `an ACL of version ${view.u32(0)}, expected ${XATTR_VERSION}`)
  const entries: AclEntry[] = []
  for (let at = HEADER; at < bytes.length; at += ENTRY) {
    const tag = view.u16(at)
    entries.push({ tag, perm: view.u16(at + 2), id: hasId(tag) ? view.u32(at + 4) : NO_ID })
  }
  if (entries.length > 0) requireValid(entries)
  return entries
}

/** The form of getxattr(2). */
export function xattrAcl(acl: Acl): Uint8Array {
  const bytes = new Uint8Array(HEADER + acl.length * ENTRY)
  const view = littleEndian(bytes, 'acl')
  view.setU32(0, XATTR_VERSION)
  for (const [index, { tag, perm, id }] of acl.entries()) {
    view.setU16(HEADER + index * ENTRY, tag)
    view.setU16(HEADER + index * ENTRY + 2, perm)
    view.setU32(HEADER + index * ENTRY + 4, id)
  }
  return bytes
}

/** The owner, named users, the group, named groups, a mask (needed with named ones), others (linux/posix_acl.c, posix_acl_valid). */
function requireValid(acl: Acl): void {
  const order: readonly number[] = [TAG.USER_OBJ, TAG.USER, TAG.GROUP_OBJ, TAG.GROUP, TAG.MASK, TAG.OTHER]
  const ranks = acl.map(({ tag }) => order.indexOf(tag))
  const count = (tag: number) => acl.filter(entry => entry.tag === tag).length
  const named = count(TAG.USER) + count(TAG.GROUP)
  const valid =
    ranks.every((rank, index) => rank >= 0 && rank >= (ranks[index - 1] ?? 0)) &&
    acl.every(({ tag, perm, id }) => perm <= 7 && (!hasId(tag) || id !== NO_ID)) &&
    count(TAG.USER_OBJ) === 1 &&
    count(TAG.GROUP_OBJ) === 1 &&
    count(TAG.OTHER) === 1 &&
    (named > 0 ? count(TAG.MASK) === 1 : count(TAG.MASK) <= 1)
  if (!valid)
    throw new DrydiskError(
      'EINVAL',
      'not a valid ACL: expected owner, named users, group, named groups, mask (needed with named ones), others',
    )
}

/** The permission bits that an ACL amounts to, and whether they say all that it says (posix_acl_equiv_mode). */
export function modeOfAcl(acl: Acl): { readonly bits: number; readonly equivalent: boolean } {
  let bits = 0
  let mask: number | undefined
  for (const { tag, perm } of acl) {
    if (tag === TAG.USER_OBJ) bits |= (perm & 7) << 6
    else if (tag === TAG.GROUP_OBJ) bits |= (perm & 7) << 3
    else if (tag === TAG.OTHER) bits |= perm & 7
    else if (tag === TAG.MASK) mask = perm & 7
  }
  if (mask !== undefined) bits = (bits & ~0o70) | (mask << 3)
  return { bits, equivalent: mask === undefined && !acl.some(({ tag }) => hasId(tag)) }
}

/** The ACL after chmod(2): the group's bits go to the mask where there is one (posix_acl_chmod). */
export function aclAfterChmod(acl: Acl, mode: number): Acl {
  const masked = acl.some(({ tag }) => tag === TAG.MASK)
  return acl.map(entry => {
    const perm = classBits(entry.tag, masked, mode)
    return perm === undefined ? entry : { ...entry, perm }
  })
}

/** What a new inode gets from its directory's default ACL: both the ACL and the mode keep what they share (posix_acl_create). */
export function inheritAcl(defaultAcl: Acl, mode: number): { readonly acl: Acl; readonly mode: number } {
  const masked = defaultAcl.some(({ tag }) => tag === TAG.MASK)
  const acl = defaultAcl.map(entry => {
    const perm = classBits(entry.tag, masked, mode)
    return perm === undefined ? entry : { ...entry, perm: entry.perm & perm }
  })
  return { acl, mode: (mode & ~0o777) | modeOfAcl(acl).bits }
}

/** The bits of a mode that stand for an entry, or `undefined` where none do. */
function classBits(tag: number, masked: boolean, mode: number): number | undefined {
  if (tag === TAG.USER_OBJ) return (mode >>> 6) & 7
  if (tag === (masked ? TAG.MASK : TAG.GROUP_OBJ)) return (mode >>> 3) & 7
  if (tag === TAG.OTHER) return mode & 7
  return undefined
}
