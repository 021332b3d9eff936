import { byteKey, decodeUtf8, toBytes } from '../../bytes/names.ts'
import { ATTR, ATTR_NAMESPACE } from './attr-entry.ts'

/** Where POSIX ACLs are, in the namespace of the root (xfs_format.h). */
const ACLS: readonly (readonly [xattr: string, stored: string])[] = [
  ['system.posix_acl_access', 'SGI_ACL_FILE'],
  ['system.posix_acl_default', 'SGI_ACL_DEFAULT'],
]

const NAMESPACES: readonly (readonly [prefix: string, flags: number])[] = [
  ['user.', 0],
  ['trusted.', ATTR.ROOT],
  ['security.', ATTR.SECURE],
]

/** What an attribute is found by. */
export interface AttributeKey {
  /** Of the namespace alone. */
  readonly flags: number
  readonly name: Uint8Array
}

/** What a name with its namespace, as listxattr(2) gives it, is stored as; `undefined` for namespaces that XFS has not. */
export function attributeKey(text: string): AttributeKey | undefined {
  const acl = ACLS.find(([xattr]) => xattr === text)
  if (acl !== undefined) return { flags: ATTR.ROOT, name: toBytes(acl[1]) }
  const space = NAMESPACES.find(([prefix]) => text.startsWith(prefix) && text.length > prefix.length)
  return space && { flags: space[1], name: toBytes(text.slice(space[0].length)) }
}

/**
 * The reverse; `undefined` for attributes that are the filesystem's own. Linux shows ACLs to the root in their stored form as
 * well, as trusted.SGI_ACL_*: that is left out.
 */
export function attributeText({ flags, name }: AttributeKey): string | undefined {
  const space = NAMESPACES.find(([, bits]) => bits === (flags & ATTR_NAMESPACE))
  if ((flags & ATTR.INCOMPLETE) !== 0 || space === undefined) return undefined
  const text = decodeUtf8(name) ?? byteKey(name)
  const acl = space[1] === ATTR.ROOT ? ACLS.find(([, stored]) => stored === text) : undefined
  return acl?.[0] ?? `${space[0]}${text}`
}

/** Which ACL an attribute is, by its name with its namespace. */
export function aclOf(text: string): 'access' | 'default' | undefined {
  if (text === ACLS[0]?.[0]) return 'access'
  return text === ACLS[1]?.[0] ? 'default' : undefined
}
