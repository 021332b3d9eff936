import type { BtreeBlock } from './btree-block.ts'
import type { BtreeBlocks, Place } from './btree-path.ts'

/** Two blocks side by side under one parent. */
export interface Pair<Record> {
  /** The left one's entry in the parent. */
  readonly leftIndex: number
  readonly left: Place<Record>
  readonly right: Place<Record>
}

export function requireLinked<Record>(
  tree: BtreeBlocks<Record>,
  left: Place<Record>,
  right: Place<Record>,
): void {
  if (left.block.rightSibling !== right.pointer || right.block.leftSibling !== left.pointer)
    throw tree.wrong(
      `has blocks ${left.pointer} and ${right.pointer} side by side that do not name each other`,
    )
}

/** The block behind another on its level, wherever its parent is, to be changed. */
async function behind<Record>(
  tree: BtreeBlocks<Record>,
  { pointer, block }: Place<Record>,
): Promise<Place<Record> | undefined> {
  const next = block.rightSibling
  if (next === undefined) return undefined
  const place = { pointer: next, block: await tree.editAt(next, block.level) }
  requireLinked(tree, { pointer, block }, place)
  // So that no ring of blocks passes.
  if (block.count > 0 && place.block.key(0) <= block.key(block.count - 1))
    throw tree.wrong(`has block ${next} behind block ${pointer}, and it begins before that ends`)
  return place
}

/** Names a new block as the one behind another. */
export async function linkBehind<Record>(
  tree: BtreeBlocks<Record>,
  left: Place<Record>,
  created: Place<Record>,
): Promise<void> {
  const next = await behind(tree, left)
  created.block.leftSibling = left.pointer
  created.block.rightSibling = next?.pointer
  left.block.rightSibling = created.pointer
  if (next !== undefined) next.block.leftSibling = created.pointer
}

/** Names a block no more: the one before it is followed by the one behind it. */
export async function unlink<Record>(
  tree: BtreeBlocks<Record>,
  left: Place<Record>,
  right: Place<Record>,
): Promise<void> {
  const next = await behind(tree, right)
  left.block.rightSibling = next?.pointer
  if (next !== undefined) next.block.leftSibling = left.pointer
}

/** Moves entries between two blocks until the left one has so many. */
export function spread<Record>(left: BtreeBlock<Record>, right: BtreeBlock<Record>, leftCount: number): void {
  if (left.count > leftCount) left.moveEndTo(right, left.count - leftCount)
  else if (left.count < leftCount) right.moveStartTo(left, leftCount - left.count)
}

/**
 * Makes room in two blocks, and puts an entry at a place counted over both. They get the same number, except that what is put
 * at the end leaves the left one as full as can be: a tree that is filled in order comes out dense.
 */
export function spreadWith<Record>(
  { left: { block: left }, right: { block: right } }: Pair<Record>,
  at: number,
  put: (block: BtreeBlock<Record>, index: number) => void,
): void {
  const old = left.count + right.count
  const least = left.most >>> 1
  const leftCount = at === old ? Math.min(left.most, old + 1 - least) : (old + 2) >>> 1
  const isLeft = at < leftCount
  const stay = isLeft ? leftCount - 1 : leftCount
  spread(left, right, stay)
  if (isLeft) put(left, at)
  else put(right, at - stay)
}
