import { MOST_LEVELS } from './btree.ts'
import { newRootInInode } from './btree-block.ts'
import type { TreeStore } from './btree-edit-store.ts'
import type { BtreeBlocks, Step } from './btree-path.ts'

/**
 * Puts a level on top: the root in a header becomes the only child of a new one; what is in the root in an inode moves into a
 * new block. The path, which begins at the root, gets the new step.
 */
export async function growRoot<Record>(
  store: TreeStore<Record>,
  tree: BtreeBlocks<Record>,
  path: Step<Record>[],
): Promise<void> {
  const [step] = path
  if (step === undefined) throw new Error('a path without a root')
  const level = step.block.level + 1
  if (level >= MOST_LEVELS) throw tree.wrong(`would have more than ${MOST_LEVELS} levels`)
  const root = await tree.edit(step, true)
  const inUse = path.map(each => each.pointer)
  if (store.root.in === 'header') {
    const { pointer } = step
    if (pointer === undefined) throw new Error('a root in a header without a block')
    const created = await tree.create(level, pointer, inUse)
    created.block.insertChild(0, pointer, root)
    await store.root.write({ pointer: created.pointer, levels: level + 1 })
    path.unshift({ ...created, index: 0 })
    return
  }
  const created = await tree.create(root.level, root.pointer(0), inUse)
  root.moveStartTo(created.block, root.count)
  const { kind } = store
  const block = newRootInInode(kind, store.root.literal(), level)
  block.insertChild(0, created.pointer, created.block)
  path.splice(0, 1, { pointer: undefined, block, index: 0 }, { ...created, index: step.index })
}

/**
 * Takes levels away that are not needed: a root in a header with one child is that child; the only child of a root in an inode
 * moves into it when it fits, except that the root is never a leaf.
 * @param literalSize bytes that the literal area is to have; as many as it has when left out.
 */
export async function shrinkRoot<Record>(
  store: TreeStore<Record>,
  tree: BtreeBlocks<Record>,
  literalSize?: number,
): Promise<void> {
  for (;;) {
    const step = await tree.root()
    const root = step.block
    if (root.count !== 1 || root.level <= (store.root.in === 'header' ? 0 : 1)) return
    const child = await tree.child(root, 0)
    if (child.block.leftSibling !== undefined || child.block.rightSibling !== undefined)
      throw tree.wrong(`has one block below its root, ${child.pointer}, which names others beside it`)
    if (store.root.in === 'header') {
      await store.root.write({ pointer: child.pointer, levels: root.level })
      if (step.pointer !== undefined) await tree.release(step.pointer)
      continue
    }
    const literal = store.root.literal()
    const fit = tree.mostRootEntries(Math.min(literalSize ?? literal.length, literal.length))
    if (child.block.count > fit) return
    const copy = await tree.editAt(child.pointer, child.block.level)
    copy.moveStartTo(newRootInInode(store.kind, literal, child.block.level), copy.count)
    await tree.release(child.pointer)
  }
}
