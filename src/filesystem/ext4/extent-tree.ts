import type { BlockNumber, Ext4Context } from './context.ts'
import { corruptTree, ExtentNode, LOGICAL_END } from './extent-node.ts'
import type { Inode } from './inode.ts'
import { inodeSeed } from './inode-seed.ts'
import type { MappedRun } from './mapped-run.ts'

/** One level of the way from the root to a leaf. */
export interface PathStep {
  readonly node: ExtentNode
  /** `undefined` for the root, which lies in the inode. */
  readonly block: BlockNumber | undefined
  /**
   * In an index node: the entry that was followed (the first, when the block sought lies before all of them).
   * In a leaf: the last entry that starts at or before the block sought, or -1.
   */
  readonly slot: number
  /** Logical blocks that the node is for. */
  readonly from: number
  readonly to: number
}

/**
 * Nodes that passed their checks, by buffer, with the inode and depth they passed for: a node in the cache is checked
 * once. What an entry says of its place in the tree is checked on every descent, because that is the parent's word.
 */
const checked = new WeakMap<Uint8Array, string>()

/** After a change made here, a node need not be checked again. */
export function markChecked(inode: Inode, node: ExtentNode): void {
  checked.set(node.bytes, `${inode.ino}:${node.depth}`)
}

export function checkNode(
  ctx: Ext4Context,
  inode: Inode,
  node: ExtentNode,
  block: BlockNumber | undefined,
  depth: number,
): void {
  const label = `${inode.ino}:${depth}`
  if (block !== undefined && checked.get(node.bytes) === label && node.depth === depth) return
  const fault = node.headerFault(depth)
  if (fault !== undefined) throw corruptTree(inode.ino, block, fault)
  if (block !== undefined && ctx.metadataChecksums && !node.checksumMatches(inodeSeed(ctx, inode)))
    throw corruptTree(inode.ino, block, 'its checksum does not match')
  const entryFault = node.entriesFault(ctx.superblock)
  if (entryFault !== undefined) throw corruptTree(inode.ino, block, entryFault)
  if (block !== undefined) checked.set(node.bytes, label)
}

/** The root, checked. */
export function rootNode(ctx: Ext4Context, inode: Inode): ExtentNode {
  const root = new ExtentNode(inode.iBlock, inode.ino)
  checkNode(ctx, inode, root, undefined, root.depth)
  return root
}

/** From the root to the leaf where `logical` is or belongs. At most 6 steps. `ERR_CORRUPT` for a damaged tree. */
export async function findPath(ctx: Ext4Context, inode: Inode, logical: number): Promise<PathStep[]> {
  const steps: PathStep[] = []
  let node = rootNode(ctx, inode)
  let block: BlockNumber | undefined
  let from = 0
  let to = LOGICAL_END
  for (let depth = node.depth; ; depth--) {
    const fault = node.rangeFault(from, to)
    if (fault !== undefined) throw corruptTree(inode.ino, block, fault)
    const found = node.search(logical)
    if (depth === 0) {
      steps.push({ node, block, slot: found, from, to })
      return steps
    }
    const slot = Math.max(found, 0)
    steps.push({ node, block, slot, from, to })
    from = node.key(slot)
    if (slot + 1 < node.entries) to = node.key(slot + 1)
    block = node.child(slot)
    node = new ExtentNode(await ctx.blocks.read(block), inode.ino)
    checkNode(ctx, inode, node, block, depth - 1)
  }
}

/** The leaf of a path. */
export function leafOf(path: readonly PathStep[]): PathStep {
  const leaf = path[path.length - 1]
  if (leaf === undefined) throw new RangeError('an extent path has at least its root')
  return leaf
}

/** What is at `logical` in an extent-mapped inode. */
export async function mapExtents(ctx: Ext4Context, inode: Inode, logical: number): Promise<MappedRun> {
  const path = await findPath(ctx, inode, logical)
  const { node, slot, to } = leafOf(path)
  if (slot >= 0) {
    const extent = node.extent(slot)
    const skip = logical - extent.logical
    if (skip < extent.count)
      return {
        logical,
        count: extent.count - skip,
        kind: extent.unwritten ? 'unwritten' : 'data',
        block: extent.block + skip,
      }
  }
  // Without a next entry the hole is only known to reach the end of what this leaf is for.
  const end = slot + 1 < node.entries ? node.key(slot + 1) : to
  return { logical, count: end - logical, kind: 'hole', block: 0 }
}
