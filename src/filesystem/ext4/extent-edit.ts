import { DrydiskError } from '../../errors.ts'
import type { BlockNumber, BlockRun, Ext4Context } from './context.ts'
import {
  ENTRY_SIZE,
  ExtentNode,
  type ExtentRecord,
  encodeExtents,
  encodeIndex,
  MAX_EXTENT_DEPTH,
  MAX_UNWRITTEN_LENGTH,
  MAX_WRITTEN_LENGTH,
} from './extent-node.ts'
import { checkNode, findPath, leafOf, markChecked, type PathStep, rootNode } from './extent-tree.ts'
import type { Inode } from './inode.ts'
import { inodeSeed } from './inode-seed.ts'

const NOTHING = new Uint8Array(0)

/** Maps a run of blocks that were a hole. Joins neighbours that continue each other. `ENOSPC` leaves the tree as it was. */
export async function insertExtent(ctx: Ext4Context, inode: Inode, extent: ExtentRecord): Promise<void> {
  const path = await findPath(ctx, inode, extent.logical)
  const { node, slot } = leafOf(path)
  await replaceExtents(ctx, inode, path, node, slot + 1, slot + 1, [extent])
}

/** Turns unwritten blocks, all within one extent, into written ones: the extent is cut in up to three. */
export async function markWritten(
  ctx: Ext4Context,
  inode: Inode,
  logical: number,
  count: number,
): Promise<void> {
  const path = await findPath(ctx, inode, logical)
  const { node, slot } = leafOf(path)
  const extent = node.extent(slot)
  const pieces = [
    part(extent, extent.logical, logical),
    { ...part(extent, logical, logical + count), unwritten: false },
    part(extent, logical + count, extent.logical + extent.count),
  ]
  await replaceExtents(ctx, inode, path, node, slot, slot + 1, pieces)
}

/** Unmaps the logical blocks from `first` up to `end`, and frees what was there. */
export async function removeExtents(
  ctx: Ext4Context,
  inode: Inode,
  first: number,
  end: number,
): Promise<void> {
  // From the right, a leaf at a time, as truncating does: so the tree shrinks without moving anything.
  let limit = end
  while (limit > first) {
    const path = await findPath(ctx, inode, limit - 1)
    const { node, slot, from } = leafOf(path)
    if (slot < 0) {
      // The leaf has nothing before the limit; an earlier one may.
      if (from >= limit) break
      limit = from
      continue
    }
    let low = slot
    while (low >= 0 && endOf(node.extent(low)) > first) low--
    low++
    const freed: BlockRun[] = []
    const kept: ExtentRecord[] = []
    for (let at = low; at <= slot; at++) {
      const extent = node.extent(at)
      const cutFrom = Math.max(extent.logical, first)
      const cutTo = Math.min(endOf(extent), limit)
      if (cutFrom >= cutTo) kept.push(extent)
      else {
        kept.push(part(extent, extent.logical, cutFrom), part(extent, cutTo, endOf(extent)))
        freed.push(part(extent, cutFrom, cutTo))
      }
    }
    limit = low > 0 ? first : from
    if (freed.length > 0) await replaceExtents(ctx, inode, path, node, low, slot + 1, kept)
    for (const { block, count } of freed) {
      await ctx.allocator.free({ block, count })
      inode.addBlocks(-count)
    }
  }
  await collapse(ctx, inode)
  ctx.inodes.markDirty(inode)
}

/** Where to look for blocks for `logical`: where they would continue the extent before (ext4_ext_find_goal). */
export async function extentGoal(ctx: Ext4Context, inode: Inode, logical: number): Promise<BlockNumber> {
  const { node, slot } = leafOf(await findPath(ctx, inode, logical))
  if (slot >= 0) {
    const { block, logical: start } = node.extent(slot)
    const goal = block + (logical - start)
    if (goal < ctx.superblock.s_blocks_count) return goal
  }
  return ctx.allocator.goalFor(inode)
}

function endOf(extent: ExtentRecord): number {
  return extent.logical + extent.count
}

/** The part of an extent from one logical block up to another; empty (count 0) where they meet. */
function part(extent: ExtentRecord, from: number, to: number): ExtentRecord {
  return { ...extent, logical: from, count: to - from, block: extent.block + (from - extent.logical) }
}

function join(left: ExtentRecord, right: ExtentRecord): ExtentRecord | undefined {
  const count = left.count + right.count
  if (
    left.unwritten !== right.unwritten ||
    endOf(left) !== right.logical ||
    left.block + left.count !== right.block ||
    count > (left.unwritten ? MAX_UNWRITTEN_LENGTH : MAX_WRITTEN_LENGTH)
  )
    return undefined
  return { ...left, count }
}

/** Puts `pieces` in the place of the leaf's entries from slot `from` up to `to`, joined with each other and the neighbours. */
async function replaceExtents(
  ctx: Ext4Context,
  inode: Inode,
  path: readonly PathStep[],
  leaf: ExtentNode,
  from: number,
  to: number,
  pieces: readonly ExtentRecord[],
): Promise<void> {
  const solid = pieces.filter(piece => piece.count > 0)
  const left = from > 0 ? leaf.extent(from - 1) : undefined
  const right = to < leaf.entries ? leaf.extent(to) : undefined
  const joined: ExtentRecord[] = left === undefined ? [] : [left]
  for (const piece of right === undefined ? solid : [...solid, right]) {
    const last = joined.at(-1)
    const both = last === undefined ? undefined : join(last, piece)
    if (both === undefined) joined.push(piece)
    else joined[joined.length - 1] = both
  }
  // A neighbour that stayed as it was is left out of the edit.
  let start = left === undefined ? from : from - 1
  let end = right === undefined ? to : to + 1
  if (left !== undefined && joined[0] === left) {
    joined.shift()
    start++
  }
  if (right !== undefined && joined.at(-1) === right) {
    joined.pop()
    end--
  }
  await spliceLeaf(ctx, inode, path, start, end - start, encodeExtents(joined))
}

/** Changes the entries of a leaf. All blocks that splits need are allocated first, so ENOSPC changes nothing. */
async function spliceLeaf(
  ctx: Ext4Context,
  inode: Inode,
  path: readonly PathStep[],
  at: number,
  remove: number,
  insert: Uint8Array,
): Promise<void> {
  let added = insert.length / ENTRY_SIZE - remove
  let needed = 0
  for (let level = path.length - 1; level >= 0; level--) {
    const node = path[level]?.node
    if (node === undefined || node.entries + added <= node.max) break
    needed++
    added = 1
    if (level === 0 && node.depth >= MAX_EXTENT_DEPTH)
      throw new DrydiskError(
        'EFBIG',
        `inode ${inode.ino}: its extent tree is already ${node.depth} levels deep`,
        {
          inode: inode.ino,
        },
      )
  }
  const spare = await allocateNodes(ctx, inode, leafOf(path).block, needed)
  await spliceNode(ctx, inode, path, path.length - 1, at, remove, insert, spare)
}

async function allocateNodes(
  ctx: Ext4Context,
  inode: Inode,
  near: BlockNumber | undefined,
  count: number,
): Promise<BlockNumber[]> {
  const blocks: BlockNumber[] = []
  try {
    while (blocks.length < count)
      blocks.push((await ctx.allocator.allocate(near ?? ctx.allocator.goalFor(inode), 1)).block)
  } catch (error) {
    for (const block of blocks) await ctx.allocator.free({ block, count: 1 })
    throw error
  }
  inode.addBlocks(count)
  return blocks
}

async function spliceNode(
  ctx: Ext4Context,
  inode: Inode,
  path: readonly PathStep[],
  level: number,
  at: number,
  remove: number,
  insert: Uint8Array,
  spare: BlockNumber[],
): Promise<void> {
  const step = stepAt(path, level)
  const node = await editable(ctx, inode, step)
  const old = node.entries
  const total = old - remove + insert.length / ENTRY_SIZE

  if (total === 0 && step.block !== undefined) {
    await ctx.allocator.free({ block: step.block, count: 1 })
    inode.addBlocks(-1)
    await spliceNode(ctx, inode, path, level - 1, stepAt(path, level - 1).slot, 1, NOTHING, spare)
    return
  }
  if (total <= node.max) {
    node.splice(at, remove, insert)
    if (total === 0) node.depth = 0
    seal(ctx, inode, node, step.block)
    if (at === 0 && total > 0) await correctKeys(ctx, inode, path, level, node.key(0))
    return
  }

  const all = new Uint8Array(total * ENTRY_SIZE)
  all.set(node.raw(0, at))
  all.set(insert, at * ENTRY_SIZE)
  all.set(node.raw(at + remove, old), at * ENTRY_SIZE + insert.length)
  const block = spare.pop()
  if (block === undefined) throw new RangeError('an extent tree edit needs more blocks than were counted')
  const fresh = ExtentNode.format(ctx.blocks.fresh(block), inode.ino, node.depth)
  if (step.block === undefined) {
    // The root is full: its entries move to a node of their own, and the tree is a level deeper.
    fresh.replaceAll(all)
    seal(ctx, inode, fresh, block)
    node.depth++
    node.replaceAll(encodeIndex(fresh.key(0), block))
    seal(ctx, inode, node, undefined)
    return
  }
  // A file that grows at its end fills its nodes; anything else leaves room on both sides.
  const appended = remove === 0 && at === old
  const left = appended ? old : Math.min(total >>> 1, node.max)
  node.replaceAll(all.subarray(0, left * ENTRY_SIZE))
  seal(ctx, inode, node, step.block)
  fresh.replaceAll(all.subarray(left * ENTRY_SIZE))
  seal(ctx, inode, fresh, block)
  if (at === 0) await correctKeys(ctx, inode, path, level, node.key(0))
  const up = stepAt(path, level - 1).slot + 1
  await spliceNode(ctx, inode, path, level - 1, up, 0, encodeIndex(fresh.key(0), block), spare)
}

/** An index entry's key is the first key of its child (fs/ext4/extents.c, ext4_ext_correct_indexes). */
async function correctKeys(
  ctx: Ext4Context,
  inode: Inode,
  path: readonly PathStep[],
  level: number,
  key: number,
): Promise<void> {
  for (let up = level - 1; up >= 0; up--) {
    const step = stepAt(path, up)
    const node = await editable(ctx, inode, step)
    node.setKey(step.slot, key)
    seal(ctx, inode, node, step.block)
    if (step.slot > 0) break
  }
}

/** Takes levels off the root that hold no more than fits in the inode (as e2fsck would: "could be shorter"). */
async function collapse(ctx: Ext4Context, inode: Inode): Promise<void> {
  for (;;) {
    const root = rootNode(ctx, inode)
    if (root.depth === 0 || root.entries !== 1) return
    const block = root.child(0)
    const child = new ExtentNode(await ctx.blocks.read(block), inode.ino)
    checkNode(ctx, inode, child, block, root.depth - 1)
    if (child.entries > root.max) return
    const entries = child.raw(0, child.entries).slice()
    root.depth--
    root.replaceAll(entries)
    await ctx.allocator.free({ block, count: 1 })
    inode.addBlocks(-1)
  }
}

function stepAt(path: readonly PathStep[], level: number): PathStep {
  const step = path[level]
  if (step === undefined) throw new RangeError('an extent path has a step for every level')
  return step
}

async function editable(ctx: Ext4Context, inode: Inode, step: PathStep): Promise<ExtentNode> {
  if (step.block === undefined) return step.node
  ctx.allocator.requireFileBlocks({ block: step.block, count: 1 })
  return new ExtentNode(await ctx.blocks.edit(step.block), inode.ino)
}

/** After every change of a node, before anything else is awaited. */
function seal(ctx: Ext4Context, inode: Inode, node: ExtentNode, block: BlockNumber | undefined): void {
  if (block === undefined) {
    ctx.inodes.markDirty(inode)
    return
  }
  if (ctx.metadataChecksums) node.setChecksum(inodeSeed(ctx, inode))
  markChecked(inode, node)
}

/** An empty tree: i_block becomes a root without entries. */
export function formatRoot(inode: Inode): void {
  ExtentNode.format(inode.iBlock, inode.ino, 0)
}
