import type { BlockSource } from '../btree-edit-store.ts'
import { ForkTree } from '../btree-fork.ts'
import type { Dinode } from '../dinode.ts'
import { corrupt } from '../errors.ts'
import type { FsBlock, Geometry } from '../geometry.ts'
import type { XfsWriter } from '../writer.ts'
import { forkOf, type WhichFork } from './fork-state.ts'

/** The tree of a fork's extents. Its blocks are the inode's, and counted there. */
export function forkTree(writer: XfsWriter, inode: Dinode, which: WhichFork): ForkTree {
  const { volume, space } = writer
  const owner = {
    owner: BigInt(inode.ino),
    offset: 0,
    attribute: which === 'attribute',
    bmbt: true,
    unwritten: false,
  }
  const blocks: BlockSource = {
    async allocateBlock(near) {
      const { start } = await space.allocate({ goal: near, wanted: 1, owner })
      countBlocks(inode, 1)
      return start
    },
    async freeBlock(pointer) {
      await space.free({ start: pointer, count: 1 }, owner)
      countBlocks(inode, -1)
    },
  }
  return new ForkTree(volume, inode.ino, () => forkOf(inode, which).literal, blocks)
}

/** Adds to di_nblocks, or takes from it. */
export function countBlocks(inode: Dinode, blocks: number): void {
  const now = inode.di_nblocks + blocks
  if (now < 0)
    throw corrupt('inode', `inode ${inode.ino} counts ${inode.di_nblocks} blocks, and has more`, {
      inode: inode.ino,
    })
  inode.di_nblocks = now
}

/** Where an inode's blocks are looked for when it has none. */
export function nearInode(geometry: Geometry, ino: number): FsBlock {
  const place = geometry.inodePlace(ino)
  return place === undefined ? 0 : geometry.fsBlock(place.agno, place.agbno)
}
