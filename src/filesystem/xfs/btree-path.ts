import { MOST_LEVELS } from './btree.ts'
import { type BtreeBlock, mostRootEntries, newBtreeBlock, rootInInode } from './btree-block.ts'
import type { TreeRoot, TreeStore } from './btree-edit-store.ts'
import { btreeCrcOffset } from './btree-header.ts'
import type { BtreeKey } from './btree-kinds.ts'
import type { Seal } from './buffers.ts'
import { corrupt } from './errors.ts'
import { after, type Soon } from './soon.ts'

/** A block on the way from the root to a record, and which of its entries is meant. */
export interface Step<Record> {
  /** `undefined` for the root in an inode. */
  readonly pointer: number | undefined
  /** As it was read, or as it is changed: see `BtreeBlocks.edit`. */
  block: BtreeBlock<Record>
  index: number
}

/** A block, and where. */
export interface Place<Record> {
  readonly pointer: number
  readonly block: BtreeBlock<Record>
}

/** The blocks of one tree by their pointers. */
export class BtreeBlocks<Record> {
  readonly #store: TreeStore<Record>
  readonly #seal: Seal

  constructor(store: TreeStore<Record>) {
    const { volume, kind } = store
    this.#store = store
    this.#seal = { at: 0, length: volume.geometry.blockSize, crcAt: btreeCrcOffset(kind.pointers) }
  }

  wrong(what: string): Error {
    const { kind, owner, root } = this.#store
    const whose = root.in === 'inode' ? `inode ${owner}` : `allocation group ${owner}`
    return corrupt(kind.name, `the ${kind.name} of ${whose} ${what}`, { owner })
  }

  /** The root, to begin a path with. */
  root(): Soon<Step<Record>> {
    const { root, kind } = this.#store
    if (root.in === 'header') return after(root.read(), place => this.#rootAt(place))
    const block = rootInInode(kind, root.literal())
    const { level, count } = block
    if (level < 1 || level >= MOST_LEVELS || count < 1)
      throw this.wrong(`has a root of ${count} entries on level ${level}`)
    return { pointer: undefined, block, index: 0 }
  }

  #rootAt({ pointer, levels }: TreeRoot): Soon<Step<Record>> {
    if (levels < 1 || levels > MOST_LEVELS)
      throw this.wrong(`has ${levels} levels, expected 1 to ${MOST_LEVELS}`)
    return after(this.read(pointer, levels - 1, true), block => ({ pointer, block, index: 0 }))
  }

  /** Not to be changed. */
  read(pointer: number, level: number, isRoot = false): Soon<BtreeBlock<Record>> {
    const { volume, kind, owner } = this.#store
    const reference = { level, owner, isRoot }
    const block = this.#store.volumeBlock(pointer)
    return volume.heldBtreeBlock(kind, block, reference) ?? volume.btreeBlock(kind, block, reference)
  }

  /** To be changed until the transaction ends. */
  editAt(pointer: number, level: number, isRoot = false): Soon<BtreeBlock<Record>> {
    return after(this.#openForChange(pointer), () =>
      after(this.read(pointer, level, isRoot), block => this.#checkSiblings(pointer, block, isRoot)),
    )
  }

  /** The block of a step, to be changed until the transaction ends. Only now is it sure to be the one in memory. */
  edit(step: Step<Record>, isRoot = false): Soon<BtreeBlock<Record>> {
    const { root, kind } = this.#store
    const { pointer } = step
    if (pointer === undefined) {
      if (root.in !== 'inode') throw new Error('a root without a block')
      step.block = rootInInode(kind, root.literal())
      return step.block
    }
    return after(this.#openForChange(pointer), bytes => {
      if (bytes === step.block.bytes) return this.#checkSiblings(pointer, step.block, isRoot)
      return after(this.read(pointer, step.block.level, isRoot), block => {
        step.block = block
        return this.#checkSiblings(pointer, block, isRoot)
      })
    })
  }

  /** What is beside a block that is to be changed exists, and is another one; nothing is beside the root (xfs_btree_check_block). */
  #checkSiblings(pointer: number, block: BtreeBlock<Record>, isRoot: boolean): BtreeBlock<Record> {
    this.#checkSibling(pointer, block.leftSibling, isRoot)
    this.#checkSibling(pointer, block.rightSibling, isRoot)
    return block
  }

  #checkSibling(pointer: number, sibling: number | undefined, isRoot: boolean): void {
    if (sibling === undefined) return
    if (isRoot || sibling === pointer)
      throw this.wrong(`has block ${pointer} name block ${sibling} beside it`)
    this.#store.volumeBlock(sibling)
  }

  /** Before it is read, so that it stays in memory from then on. */
  #openForChange(pointer: number): Soon<Uint8Array> {
    const { buffers } = this.#store.volume
    const block = this.#store.volumeBlock(pointer)
    return buffers.editHeld(block, this.#seal) ?? buffers.edit([block], this.#seal)
  }

  /** A new block without entries and siblings. */
  async create(level: number, near: number, inUse: readonly (number | undefined)[]): Promise<Place<Record>> {
    const { volume, kind, owner, blocks } = this.#store
    const pointer = await blocks.allocateBlock(near)
    // A forged free list may have blocks of this very tree.
    if (inUse.includes(pointer)) throw this.wrong(`was given block ${pointer}, which it has already`)
    const block = this.#store.volumeBlock(pointer)
    const bytes = volume.buffers.fresh([block], this.#seal)
    volume.trust(bytes)
    const daddr = volume.geometry.diskAddress(block)
    return { pointer, block: newBtreeBlock(kind, bytes, { level, daddr, owner }, volume.superblock) }
  }

  async release(pointer: number): Promise<void> {
    await this.#store.blocks.freeBlock(pointer)
  }

  /** The child that an entry of a block points to, found to be between the keys of its parent. */
  child(parent: BtreeBlock<Record>, index: number, change = false): Soon<Place<Record>> {
    const pointer = parent.pointer(index)
    const level = parent.level - 1
    return after(change ? this.editAt(pointer, level) : this.read(pointer, level), block => {
      this.#requireBetween(parent, index, pointer, block)
      return { pointer, block }
    })
  }

  #requireBetween(
    parent: BtreeBlock<Record>,
    index: number,
    pointer: number,
    block: BtreeBlock<Record>,
  ): void {
    if (block.key(0) < parent.key(index))
      throw this.wrong(`has block ${pointer} begin before its parent says`)
    if (index + 1 < parent.count && block.key(block.count - 1) >= parent.key(index + 1))
      throw this.wrong(`has block ${pointer} end behind what its parent says`)
  }

  /** From the root to the leaf that has the last record whose key is not above; the leaf's index is -1 when it has none. */
  pathTo(key: BtreeKey): Soon<Step<Record>[]> {
    return after(this.root(), root => this.#down([], root, key))
  }

  #down(path: Step<Record>[], step: Step<Record>, key: BtreeKey): Soon<Step<Record>[]> {
    const { block } = step
    path.push(step)
    const floor = block.floor(key)
    step.index = block.level === 0 ? floor : Math.max(0, floor)
    if (block.level === 0) return path
    return after(this.child(block, step.index), child =>
      this.#down(path, { pointer: child.pointer, block: child.block, index: 0 }, key),
    )
  }

  /** The record beside that of a path: on its leaf, or the nearest of the leaf beside. */
  beside(path: readonly Step<Record>[], direction: -1 | 1): Soon<Record | undefined> {
    for (let depth = path.length - 1; depth >= 0; depth--) {
      const step = path[depth]
      const index = (step?.index ?? 0) + direction
      if (step !== undefined && index >= 0 && index < step.block.count)
        return this.#firstBelow(step.block, index, direction)
    }
    return undefined
  }

  /** The first record of what an entry has, or the last one, as seen from the other side. */
  #firstBelow(block: BtreeBlock<Record>, index: number, direction: -1 | 1): Soon<Record> {
    if (block.level === 0) return block.record(index)
    return after(this.child(block, index), child =>
      this.#firstBelow(child.block, direction > 0 ? 0 : child.block.count - 1, direction),
    )
  }

  /** Entries that fit into the root in an inode of so many bytes. */
  mostRootEntries(bytes: number): number {
    return mostRootEntries(this.#store.kind, bytes)
  }
}
