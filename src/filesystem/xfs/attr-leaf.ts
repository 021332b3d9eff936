import type { ByteView } from '../../bytes/byte-view.ts'
import { ATTR, type AttrEntry } from './attr-entry.ts'
import type { DaFork } from './da-block.ts'
import type { LeafShape } from './da-tree.ts'

/** XFS_ATTR_LEAF_MAGIC and XFS_ATTR3_LEAF_MAGIC */
const MAGIC = [0xfbee, 0x3bee] as const
const ENTRY = 8

export function attrLeafMagic(isV5: boolean): number {
  return MAGIC[isV5 ? 1 : 0]
}

/** XFS_XATTR_SIZE_MAX */
const MOST_VALUE = 65_536

/** Attributes of a leaf in the order of their hashes (struct xfs_attr_leafblock). */
export function* attrLeafEntries(fork: DaFork, view: ByteView): Iterable<AttrEntry & { hash: number }> {
  const { isV5 } = fork.volume.superblock
  const [start, count] = isV5 ? [80, view.u16(56)] : [32, view.u16(12)]
  const end = start + count * ENTRY
  if (end > view.length) throw fork.corrupt(`a leaf of the attributes says that it has ${count} entries`)
  let last = 0
  for (let at = start; at < end; at += ENTRY) {
    const [hash, nameidx, flags] = [view.u32(at), view.u16(at + 4), view.u8(at + 6)]
    if (hash < last) throw fork.corrupt('the hashes of the attributes are out of order')
    last = hash
    if (nameidx < end) throw fork.corrupt(`an attribute begins at ${nameidx} of a block, among the entries`)
    yield { hash, flags, ...(flags & ATTR.LOCAL ? local(fork, view, nameidx) : remote(fork, view, nameidx)) }
  }
}

/** struct xfs_attr_leaf_name_local */
function local(fork: DaFork, view: ByteView, at: number): Pick<AttrEntry, 'name' | 'value'> {
  const [valuelen, namelen] = [view.u16(at), view.u8(at + 2)]
  if (namelen === 0) throw fork.corrupt('an attribute has no name')
  return { name: view.slice(at + 3, namelen), value: view.slice(at + 3 + namelen, valuelen) }
}

/** struct xfs_attr_leaf_name_remote */
function remote(fork: DaFork, view: ByteView, at: number): Pick<AttrEntry, 'name' | 'value'> {
  const [valueblk, valuelen, namelen] = [view.u32(at), view.u32(at + 4), view.u8(at + 8)]
  if (namelen === 0) throw fork.corrupt('an attribute has no name')
  if (valuelen > MOST_VALUE)
    throw fork.corrupt(`an attribute has a value of ${valuelen} bytes, and ${MOST_VALUE} are the most`)
  return { name: view.slice(at + 9, namelen), value: { valueblk, valuelen } }
}

export function attrLeafShape(fork: DaFork): LeafShape {
  return {
    magics: [attrLeafMagic(fork.volume.superblock.isV5)],
    check: view => {
      for (const _ of attrLeafEntries(fork, view));
    },
  }
}
