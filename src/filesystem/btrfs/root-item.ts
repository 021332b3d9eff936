import type { ByteView } from '../../bytes/byte-view.ts'
import { corrupt } from './errors.ts'
import type { NodeReference } from './node.ts'
import { MOST_LEVEL } from './superblock.ts'

/** The item of a tree in the root tree (on-disk format, "ROOT_ITEM"); it begins with an inode item, which nothing uses. */
export interface RootItem {
  readonly root: NodeReference
  /** Inode number of the root directory; 256 of every subvolume. */
  readonly rootDirid: bigint
  /** 0: the tree is being deleted. */
  readonly refs: number
  readonly flags: bigint
}

/** The part that every version of Linux wrote. */
const LEAST_SIZE = 239

export function parseRootItem(view: ByteView, id: bigint): RootItem {
  if (view.length < LEAST_SIZE)
    throw corrupt(
      'root item',
      `the root item of tree ${id} has ${view.length} bytes, expected ${LEAST_SIZE} or more`,
    )
  const level = view.u8(238)
  if (level > MOST_LEVEL)
    throw corrupt('root item', `tree ${id} has level ${level}, and ${MOST_LEVEL} is the highest`)
  return {
    root: { bytenr: view.u64(176), level, generation: view.u64(160) },
    rootDirid: view.big(168),
    flags: view.big(208),
    refs: view.u32(216),
  }
}

/** Where a subvolume hangs in its parent (ROOT_REF and ROOT_BACKREF): a directory there, and the name in it. */
export interface RootRef {
  readonly dirid: bigint
  readonly name: Uint8Array
}

export function parseRootRef(view: ByteView): RootRef {
  return { dirid: view.big(0), name: view.slice(18, view.u16(16)) }
}
