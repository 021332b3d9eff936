import { DrydiskError } from '../../errors.ts'
import type { BlockNumber, Ext4Context } from './context.ts'
import { blockCount, type DirectoryBlock, directoryBlock } from './directory-block.ts'
import { directoryHash, hashName } from './directory-hash.ts'
import { type BlockPlace, findInLeaf } from './directory-linear.ts'
import { IndexNode } from './htree-node.ts'
import type { Inode } from './inode.ts'

/** One step of the way from the root to a leaf. */
export interface IndexFrame {
  readonly logical: number
  readonly block: BlockNumber
  readonly node: IndexNode
  /** The entry that the way takes. */
  at: number
}

/** The way to the leaf where a name belongs. */
export interface IndexPath {
  readonly hash: number
  /** The root first; at most three. */
  readonly frames: IndexFrame[]
}

async function innerFrame(ctx: Ext4Context, directory: Inode, logical: number): Promise<IndexFrame> {
  const { block } = await directoryBlock(ctx, directory, logical)
  const node = IndexNode.inner(ctx, { directory, logical }, await ctx.blocks.read(block))
  return { logical, block, node, at: 0 }
}

/** Walks down to the leaf for a name. `ERR_CORRUPT` where the index cannot be trusted. */
export async function probe(ctx: Ext4Context, directory: Inode, name: Uint8Array): Promise<IndexPath> {
  const { block } = await directoryBlock(ctx, directory, 0)
  const { node, info } = IndexNode.root(ctx, directory, await ctx.blocks.read(block))
  const hash = hashName(directoryHash(ctx.superblock, info.hashVersion), name)
  const root: IndexFrame = { logical: 0, block, node, at: node.search(hash) }
  const frames = [root]
  let frame = root
  for (let level = 0; level < info.indirectLevels; level++) {
    frame = await innerFrame(ctx, directory, frame.node.block(frame.at))
    frame.at = frame.node.search(hash)
    frames.push(frame)
  }
  return { hash, frames }
}

export function deepest(path: IndexPath): IndexFrame {
  const frame = path.frames[path.frames.length - 1]
  if (!frame) throw new Error('an htree path has its root at least')
  return frame
}

/** The leaf that the path leads to. */
export function leafOfPath(ctx: Ext4Context, directory: Inode, path: IndexPath): Promise<DirectoryBlock> {
  const { node, at } = deepest(path)
  return directoryBlock(ctx, directory, node.block(at))
}

/** Moves the path on to the next leaf; false where that can hold no name of the same hash. */
async function advance(ctx: Ext4Context, directory: Inode, path: IndexPath): Promise<boolean> {
  const { frames } = path
  let level = frames.length - 1
  while (level >= 0) {
    const frame = frames[level]
    if (frame && frame.at + 1 < frame.node.count) {
      frame.at++
      // An entry's lowest bit says that its first names share the hash of the last names before it.
      if ((frame.node.hash(frame.at) & ~1) >>> 0 !== path.hash) return false
      break
    }
    level--
  }
  if (level < 0) return false
  for (level++; level < frames.length; level++) {
    const parent = frames[level - 1]
    if (!parent) return false
    frames[level] = await innerFrame(ctx, directory, parent.node.block(parent.at))
  }
  return true
}

/** Finds a name by the index alone; collisions may spread over several leaves. */
export async function findIndexed(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
): Promise<BlockPlace | undefined> {
  const path = await probe(ctx, directory, name)
  const bound = blockCount(ctx, directory)
  for (let leaves = 0; leaves <= bound; leaves++) {
    const leaf = await leafOfPath(ctx, directory, path)
    const place = findInLeaf(ctx, directory, leaf, await ctx.blocks.read(leaf.block), name)
    if (place) return place
    if (!(await advance(ctx, directory, path))) return undefined
  }
  throw new DrydiskError(
    'ERR_CORRUPT',
    `the htree of directory ${directory.ino} leads to more leaves than the directory has blocks; run e2fsck -D`,
    { inode: directory.ino },
  )
}
