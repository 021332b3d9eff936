import { equalBytes } from '../../bytes/compare.ts'
import { byteKey, decodeUtf8, toBytes } from '../../bytes/names.ts'
import { xattrOfStoredAcl } from './acl.ts'
import { ATTR, ATTR_NAMESPACE, type AttrEntry } from './attr-entry.ts'
import { attrLeafEntries, attrLeafShape } from './attr-leaf.ts'
import { readRemoteValue } from './attr-remote.ts'
import { parseShortAttributes } from './attr-shortform.ts'
import { DaFork } from './da-block.ts'
import { hashLeaves } from './da-tree.ts'
import { type Dinode, FORMAT, type Fork } from './dinode.ts'
import { nameHash } from './dir-name.ts'
import { ForkMap } from './fork-map.ts'
import type { XfsVolume } from './volume.ts'

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

/** Names with their namespace. Linux shows ACLs to the root in their stored form as well, as trusted.SGI_ACL_*: that is left out. */
export async function listAttributes(volume: XfsVolume, inode: Dinode): Promise<string[]> {
  const names: string[] = []
  for await (const { flags, name } of entriesFrom(volume, inode, 0)) {
    const space = NAMESPACES.find(([, bits]) => bits === (flags & ATTR_NAMESPACE))
    if ((flags & ATTR.INCOMPLETE) !== 0 || space === undefined) continue
    const text = decodeUtf8(name) ?? byteKey(name)
    const acl = space[1] === ATTR.ROOT ? ACLS.find(([, stored]) => stored === text) : undefined
    names.push(acl?.[0] ?? `${space[0]}${text}`)
  }
  return names
}

/** `undefined` when there is none. */
export async function getAttribute(
  volume: XfsVolume,
  inode: Dinode,
  name: string,
): Promise<Uint8Array | undefined> {
  const acl = ACLS.find(([xattr]) => xattr === name)
  if (acl !== undefined) {
    const stored = await find(volume, inode, ATTR.ROOT, acl[1])
    return stored && xattrOfStoredAcl(stored, inode.ino)
  }
  const space = NAMESPACES.find(([prefix]) => name.startsWith(prefix))
  return space && find(volume, inode, space[1], name.slice(space[0].length))
}

async function find(
  volume: XfsVolume,
  inode: Dinode,
  flags: number,
  name: string,
): Promise<Uint8Array | undefined> {
  const { attributes } = inode
  if (attributes === undefined) return undefined
  const wanted = toBytes(name)
  const hash = nameHash(wanted)
  for await (const entry of entriesFrom(volume, inode, hash)) {
    if ((entry.hash ?? hash) > hash) return undefined
    if ((entry.flags & (ATTR_NAMESPACE | ATTR.INCOMPLETE)) !== flags || !equalBytes(entry.name, wanted))
      continue
    const { value } = entry
    return value instanceof Uint8Array
      ? value.slice()
      : readRemoteValue(forkOf(volume, inode, attributes), value)
  }
  return undefined
}

function forkOf(volume: XfsVolume, inode: Dinode, attributes: Fork): DaFork {
  return new DaFork(volume, inode.ino, new ForkMap(volume, inode, attributes), 1)
}

/** Attributes as stored; where there is a tree of them, from the leaf that a hash may be in. */
async function* entriesFrom(
  volume: XfsVolume,
  inode: Dinode,
  hash: number,
): AsyncIterable<AttrEntry & { hash?: number }> {
  const { attributes } = inode
  if (attributes === undefined) return
  if (attributes.format === FORMAT.LOCAL) {
    yield* parseShortAttributes(attributes.literal, inode.ino)
    return
  }
  if (attributes.format === FORMAT.EXTENTS && attributes.nextents === 0) return
  const fork = forkOf(volume, inode, attributes)
  for await (const { view } of hashLeaves(fork, 0, hash, attrLeafShape(fork)))
    yield* attrLeafEntries(fork, view)
}
