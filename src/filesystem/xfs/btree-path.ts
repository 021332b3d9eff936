import { MOST_LEVELS } from './btree.ts'
import {
  type BtreeBlock,
  btreeCrcOffset,
  mostRootEntries,
  newBtreeBlock,
  rootInInode,
} from './btree-block.ts'
import type { TreeStore } from './btree-edit-store.ts'
import type { BtreeKey } from './btree-kinds.ts'
import { corrupt } from './errors.ts'

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

  constructor(store: TreeStore<Record>) {
    this.#store = store
  }

  wrong(what: string): Error {
    const { kind, owner, root } = this.#store
    const whose = root.in === 'inode' ? `inode ${owner}` : `allocation group ${owner}`
    return corrupt(kind.name, `the ${kind.name} of ${whose} ${what}`, { owner })
  }

  /** The root, to begin a path with. */
  async root(): Promise<Step<Record>> {
    const held = this.#heldRoot()
    if (held !== undefined) return held
    const { root } = this.#store
    if (root.in === 'inode') throw new Error('a root in an inode that is not in memory')
    const { pointer, levels } = await root.read()
    if (levels < 1 || levels > MOST_LEVELS)
      throw this.wrong(`has ${levels} levels, expected 1 to ${MOST_LEVELS}`)
    return { pointer, block: await this.read(pointer, levels - 1, true), index: 0 }
  }

  /** Most searches find all blocks in memory, and waiting for what is there takes longer than to search it. */
  #heldRoot(): Step<Record> | undefined {
    const { root, kind } = this.#store
    if (root.in === 'header') {
      const place = root.held?.()
      const block = place && this.#held(place.pointer, place.levels - 1, true)
      return place && block && { pointer: place.pointer, block, index: 0 }
    }
    const block = rootInInode(kind, root.literal())
    const { level, count } = block
    if (level < 1 || level >= MOST_LEVELS || count < 1)
      throw this.wrong(`has a root of ${count} entries on level ${level}`)
    return { pointer: undefined, block, index: 0 }
  }

  #held(pointer: number, level: number, isRoot = false): BtreeBlock<Record> | undefined {
    const { volume, kind, owner } = this.#store
    return volume.heldBtreeBlock(kind, this.#store.volumeBlock(pointer), { level, owner, isRoot })
  }

  /** Not to be changed. */
  async read(pointer: number, level: number, isRoot = false): Promise<BtreeBlock<Record>> {
    const { volume, kind, owner } = this.#store
    return volume.btreeBlock(kind, this.#store.volumeBlock(pointer), { level, owner, isRoot })
  }

  /** To be changed until the transaction ends. */
  async editAt(pointer: number, level: number, isRoot = false): Promise<BtreeBlock<Record>> {
    await this.#openForChange(pointer)
    const block = await this.read(pointer, level, isRoot)
    this.#requireSiblings(pointer, block, isRoot)
    return block
  }

  /** The block of a step, to be changed until the transaction ends. Only now is it sure to be the one in memory. */
  async edit(step: Step<Record>, isRoot = false): Promise<BtreeBlock<Record>> {
    const { root, kind } = this.#store
    if (step.pointer === undefined) {
      if (root.in !== 'inode') throw new Error('a root without a block')
      step.block = rootInInode(kind, root.literal())
    } else if ((await this.#openForChange(step.pointer)) !== step.block.bytes)
      step.block = await this.read(step.pointer, step.block.level, isRoot)
    if (step.pointer !== undefined) this.#requireSiblings(step.pointer, step.block, isRoot)
    return step.block
  }

  /** What is beside a block that is to be changed exists, and is another one; nothing is beside the root (xfs_btree_check_block). */
  #requireSiblings(
    pointer: number,
    { leftSibling, rightSibling }: BtreeBlock<Record>,
    isRoot: boolean,
  ): void {
    for (const sibling of [leftSibling, rightSibling]) {
      if (sibling === undefined) continue
      if (isRoot || sibling === pointer)
        throw this.wrong(`has block ${pointer} name block ${sibling} beside it`)
      this.#store.volumeBlock(sibling)
    }
  }

  /** Before it is read, so that it stays in memory from then on. */
  async #openForChange(pointer: number): Promise<Uint8Array> {
    const { volume, kind } = this.#store
    const seal = { at: 0, length: volume.geometry.blockSize, crcAt: btreeCrcOffset(kind.pointers) }
    return volume.buffers.edit([this.#store.volumeBlock(pointer)], seal)
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

  /** The child that an entry of a block points to, found to be between the keys of its parent. */
  async child(parent: BtreeBlock<Record>, index: number, change = false): Promise<Place<Record>> {
    const pointer = parent.pointer(index)
    const level = parent.level - 1
    const block = await (change ? this.editAt(pointer, level) : this.read(pointer, level))
    this.#requireBetween(parent, index, pointer, block)
    return { pointer, block }
  }

  #heldChild(parent: BtreeBlock<Record>, index: number): Place<Record> | undefined {
    const pointer = parent.pointer(index)
    const block = this.#held(pointer, parent.level - 1)
    if (block === undefined) return undefined
    this.#requireBetween(parent, index, pointer, block)
    return { pointer, block }
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
  async pathTo(key: BtreeKey): Promise<Step<Record>[]> {
    const path: Step<Record>[] = []
    let step = this.#heldRoot() ?? (await this.root())
    for (;;) {
      const { block } = step
      path.push(step)
      const floor = block.floor(key)
      step.index = block.level === 0 ? floor : Math.max(0, floor)
      if (block.level === 0) return path
      const child = this.#heldChild(block, step.index) ?? (await this.child(block, step.index))
      step = { pointer: child.pointer, block: child.block, index: 0 }
    }
  }

  /** The record beside that of a path: on its leaf, or the nearest of the leaf beside. */
  async beside(path: readonly Step<Record>[], direction: -1 | 1): Promise<Record | undefined> {
    for (const step of [...path].reverse()) {
      let { block } = step
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
