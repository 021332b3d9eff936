import { MOST_LEVELS } from './btree.ts'
import {
  type BtreeBlock,
  btreeCrcOffset,
  mostRootEntries,
  newBtreeBlock,
  rootInInode,
} from './btree-block.ts'
import type { TreeRoot, TreeStore } from './btree-edit-store.ts'
import type { BtreeKey } from './btree-kinds.ts'
import { corrupt } from './errors.ts'

/** A block on the way from the root to a record, and which of its entries is meant. */
export interface Step {
  /** `undefined` for the root in an inode. */
  readonly pointer: number | undefined
  readonly level: number
  index: number
}

/** A block, and where. */
export interface Place<Record> {
  readonly pointer: number
  readonly block: BtreeBlock<Record>
}

/** The blocks of one tree by their pointers. Nothing is kept: a block is read anew for every use. */
export class BtreeBlocks<Record> {
  readonly #store: TreeStore<Record>

  constructor(store: TreeStore<Record>) {
    this.#store = store
  }

  wrong(what: string): Error {
    const { kind, owner, root } = this.#store
    const whose = root.in === 'inode' ? `inode ${owner}` : `allocation group ${owner}`
    return corrupt(kind.name, `the ${kind.name} of ${whose} ${what}`, { owner })
  }

  /** The root, to begin a path with. */
  async root(): Promise<Step> {
    const { root, kind } = this.#store
    if (root.in === 'inode') {
      const { level, count } = rootInInode(kind, root.literal().bytes)
      if (level < 1 || level >= MOST_LEVELS || count < 1)
        throw this.wrong(`has a root of ${count} entries on level ${level}`)
      return { pointer: undefined, level, index: 0 }
    }
    const { pointer, levels } = await root.read()
    if (levels < 1 || levels > MOST_LEVELS)
      throw this.wrong(`has ${levels} levels, expected 1 to ${MOST_LEVELS}`)
    return { pointer, level: levels - 1, index: 0 }
  }

  /** Not to be changed. */
  async read({ pointer, level }: Step, isRoot = false): Promise<BtreeBlock<Record>> {
    const { volume, kind, owner, root } = this.#store
    if (pointer !== undefined)
      return volume.btreeBlock(kind, this.#store.volumeBlock(pointer), { level, owner, isRoot })
    if (root.in !== 'inode') throw new Error('a root without a block')
    return rootInInode(kind, root.literal().bytes)
  }

  /** To be changed until the transaction ends. */
  async edit(step: Step, isRoot = false): Promise<BtreeBlock<Record>> {
    const { volume, kind } = this.#store
    if (step.pointer !== undefined) {
      // Before it is read: from then on it stays in memory.
      const seal = { at: 0, length: volume.geometry.blockSize, crcAt: btreeCrcOffset(kind.pointers) }
      await volume.buffers.edit([this.#store.volumeBlock(step.pointer)], seal)
    }
    return this.read(step, isRoot)
  }

  /** A new block without entries and siblings. */
  async create(level: number, near: number, inUse: readonly (number | undefined)[]): Promise<Place<Record>> {
    const { volume, kind, owner, blocks } = this.#store
    const pointer = await blocks.allocateBlock(near)
    // A forged free list may have blocks of this very tree.
    if (inUse.includes(pointer)) throw this.wrong(`was given block ${pointer}, which it has already`)
    const block = this.#store.volumeBlock(pointer)
    const seal = { at: 0, length: volume.geometry.blockSize, crcAt: btreeCrcOffset(kind.pointers) }
    const bytes = volume.buffers.fresh([block], seal)
    volume.trust(bytes)
    const daddr = volume.geometry.diskAddress(block)
    return { pointer, block: newBtreeBlock(kind, bytes, { level, daddr, owner }, volume.superblock) }
  }

  async release(pointer: number): Promise<void> {
    await this.#store.blocks.freeBlock(pointer)
  }

  async setRoot(root: TreeRoot): Promise<void> {
    if (this.#store.root.in === 'header') await this.#store.root.write(root)
  }

  /** The child that an entry of a block points to, found to be between the keys of its parent. */
  async child(parent: BtreeBlock<Record>, index: number, change = false): Promise<Place<Record>> {
    const pointer = parent.pointer(index)
    const step = { pointer, level: parent.level - 1, index: 0 }
    const block = await (change ? this.edit(step) : this.read(step))
    if (block.key(0) < parent.key(index))
      throw this.wrong(`has block ${pointer} begin before its parent says`)
    if (index + 1 < parent.count && block.key(block.count - 1) >= parent.key(index + 1))
      throw this.wrong(`has block ${pointer} end behind what its parent says`)
    return { pointer, block }
  }

  /** From the root to the leaf that has the last record whose key is not above; the leaf's index is -1 when it has none. */
  async pathTo(key: BtreeKey | undefined): Promise<Step[]> {
    const path: Step[] = []
    let step = await this.root()
    let block = await this.read(step, true)
    for (;;) {
      const floor = key === undefined ? 0 : block.floor(key)
      path.push(step)
      if (block.level === 0) {
        step.index = floor
        return path
      }
      step.index = Math.max(0, floor)
      const child = await this.child(block, step.index)
      step = { pointer: child.pointer, level: child.block.level, index: 0 }
      block = child.block
    }
  }

  /** The record beside that of a path: on its leaf, or the nearest of the leaf beside. */
  async beside(path: readonly Step[], direction: -1 | 1): Promise<Record | undefined> {
    for (let depth = path.length - 1; depth >= 0; depth--) {
      const step = path[depth]
      if (step === undefined) return undefined
      let block = await this.read(step, depth === 0)
      let index = step.index + direction
      if (index < 0 || index >= block.count) continue
      while (block.level > 0) {
        block = (await this.child(block, index)).block
        index = direction > 0 ? 0 : block.count - 1
      }
      return block.record(index)
    }
    return undefined
  }

  /** Entries that fit into the root in an inode of so many bytes. */
  mostRootEntries(bytes: number): number {
    return mostRootEntries(this.#store.kind, bytes)
  }
}
