import { ITEM, MOST } from './key.ts'
import type { Tree } from './tree.ts'

/** Where a directory hangs, in the same tree. */
export interface InodeRef {
  readonly parent: bigint
  readonly name: Uint8Array
}

/** The one name of a directory (on-disk format, "INODE_REF" and "INODE_EXTREF"). */
export async function parentDirectory(tree: Tree, ino: bigint): Promise<InodeRef | undefined> {
  const from = { objectid: ino, type: ITEM.INODE_REF, offset: 0n }
  const to = { objectid: ino, type: ITEM.INODE_EXTREF, offset: MOST }
  for await (const { key, data } of tree.range(from, to)) {
    if (key.type === ITEM.INODE_REF) return { parent: key.offset, name: data.slice(10, data.u16(8)) }
    // The key of an extended reference has a hash where that of a plain one has the parent.
    return { parent: data.big(0), name: data.slice(18, data.u16(16)) }
  }
  return undefined
}
