import { equalBytes } from '../../bytes/compare.ts'
import { xattrOfStoredAcl } from './acl.ts'
import { ATTR, ATTR_NAMESPACE, type AttrEntry } from './attr-entry.ts'
import { attrLeafEntries, attrLeafShape } from './attr-leaf.ts'
import { type AttributeKey, aclOf, attributeKey, attributeText } from './attr-name.ts'
import { readRemoteValue } from './attr-remote.ts'
import { parseShortAttributes } from './attr-shortform.ts'
import { DaFork } from './da-block.ts'
import { hashLeaves } from './da-tree.ts'
import { type Dinode, FORMAT, type Fork } from './dinode.ts'
import { nameHash } from './dir-name.ts'
import { ForkMap } from './fork-map.ts'
import type { XfsVolume } from './volume.ts'

/** Names with their namespace. */
export async function listAttributes(volume: XfsVolume, inode: Dinode): Promise<string[]> {
  const names: string[] = []
  for await (const entry of entriesFrom(volume, inode, 0)) {
    const text = attributeText(entry)
    if (text !== undefined) names.push(text)
  }
  return names
}

/** `undefined` when there is none. */
export async function getAttribute(
  volume: XfsVolume,
  inode: Dinode,
  name: string,
): Promise<Uint8Array | undefined> {
  const key = attributeKey(name)
  const value = key && (await find(volume, inode, key))
  return value && aclOf(name) !== undefined ? xattrOfStoredAcl(value, inode.ino) : value
}

async function find(
  volume: XfsVolume,
  inode: Dinode,
  { flags, name }: AttributeKey,
): Promise<Uint8Array | undefined> {
  const { attributes } = inode
  if (attributes === undefined) return undefined
  const hash = nameHash(name)
  for await (const entry of entriesFrom(volume, inode, hash)) {
    if ((entry.hash ?? hash) > hash) return undefined
    if ((entry.flags & (ATTR_NAMESPACE | ATTR.INCOMPLETE)) !== flags || !equalBytes(entry.name, name))
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
