import { Btree } from './btree.ts'
import type { BtreeBlock } from './btree-block.ts'
import type { BlockSource, HeaderRoot, TreeStore } from './btree-edit-store.ts'
import type { BtreeKey, BtreeKind } from './btree-kinds.ts'
import { BtreeBlocks, type Step } from './btree-path.ts'
import { growRoot, shrinkRoot } from './btree-root.ts'
import { linkBehind, type Pair, requireLinked, spread, spreadWith, unlink } from './btree-siblings.ts'
import { after, type Soon } from './soon.ts'
import type { XfsVolume } from './volume.ts'

/** Puts an entry into a block that has room. */
type Put<Record> = (block: BtreeBlock<Record>, index: number) => void

/** What is on both sides of a key. */
export interface Neighbours<Record> {
  readonly floor: Record | undefined
  readonly next: Record | undefined
}

/**
 * One B+tree, searched and changed. It keeps nothing: every call begins at the root. Changes are made in a transaction, one
 * at a time; one that fails may have been made in part, and is to be rolled back.
 *
 * A block that is not the root has as many entries as xfs_btree of Linux keeps at least, half of those that fit; the only
 * child of a root in an inode may have less.
 */
export class BtreeEditor<Record> {
  readonly store: TreeStore<Record>
  protected readonly tree: BtreeBlocks<Record>

  constructor(store: TreeStore<Record>) {
    this.store = store
    this.tree = new BtreeBlocks(store)
  }

  /** Levels, the root among them; in an inode the root counts as one too. */
  levels(): Soon<number> {
    return after(this.tree.root(), ({ block }) => block.level + 1)
  }

  /** The record with exactly this key. */
  find(key: BtreeKey): Soon<Record | undefined> {
    return after(this.tree.pathTo(key), path => {
      const leaf = leafOf(path)
      return has(leaf, key) ? leaf.block.record(leaf.index) : undefined
    })
  }

  /** The last record whose key is not above this one. */
  floor(key: BtreeKey): Soon<Record | undefined> {
    return after(this.tree.pathTo(key), path => {
      const leaf = leafOf(path)
      return leaf.index >= 0 ? leaf.block.record(leaf.index) : this.tree.beside(path, -1)
    })
  }

  /** The first record whose key is not below this one. */
  ceiling(key: BtreeKey): Soon<Record | undefined> {
    return after(this.tree.pathTo(key), path => {
      const leaf = leafOf(path)
      return has(leaf, key) ? leaf.block.record(leaf.index) : this.tree.beside(path, 1)
    })
  }

  /** The last record whose key is not above this one, and the first one behind that. */
  around(key: BtreeKey): Soon<Neighbours<Record>> {
    return after(this.tree.pathTo(key), path => {
      const leaf = leafOf(path)
      const floor = leaf.index >= 0 ? leaf.block.record(leaf.index) : this.tree.beside(path, -1)
      return after(floor, before => after(this.tree.beside(path, 1), next => ({ floor: before, next })))
    })
  }

  /** In order, from the first one whose key is not below `from`. The tree is not to be changed meanwhile. */
  async *records(from?: BtreeKey): AsyncIterable<Record> {
    const { keyOf } = this.store.kind
    let reached = from === undefined
    for await (const records of this.leaves(from))
      for (const record of records) {
        if (!reached && from !== undefined && keyOf(record) < from) continue
        reached = true
        yield record
      }
  }

  /** In order, those of one leaf at a time, from the leaf that `from` may be on. The tree is not to be changed meanwhile. */
  leaves(from?: BtreeKey): AsyncIterable<readonly Record[]> {
    const tree = new Btree(
      this.store.kind,
      () => after(this.tree.root(), ({ block }) => block),
      (pointer, level) => this.tree.read(pointer, level),
    )
    return tree.leaves(from)
  }

  /**
   * Where records overlap (rmapbt): all whose highest key is not below `low`, and whose key is not above `high`, in order of
   * their keys. The tree is not to be changed meanwhile.
   */
  async *overlapping(low: BtreeKey, high: BtreeKey): AsyncIterable<Record> {
    if (this.store.kind.high === undefined)
      throw new Error(`records of a ${this.store.kind.name} do not overlap`)
    yield* this.#overlapping((await this.tree.root()).block, low, high)
  }

  /** `ERR_CORRUPT` when there is one with the same key. */
  insert(record: Record): Soon<void> {
    const key = this.store.kind.keyOf(record)
    return after(this.tree.pathTo(key), path => {
      const leaf = leafOf(path)
      if (has(leaf, key)) throw this.#exists(key)
      return this.#insert(path, path.length - 1, leaf.index + 1, (block, at) =>
        block.insertRecord(at, record),
      )
    })
  }

  /** Gives what was removed. `ERR_CORRUPT` when there is none, or it is the last of a tree in an inode, which is dissolved instead. */
  remove(key: BtreeKey): Soon<Record> {
    return after(this.#pathToExisting(key), path => {
      const leaf = leafOf(path)
      return after(this.tree.edit(leaf, path.length === 1), block => {
        const record = block.record(leaf.index)
        block.remove(leaf.index)
        return after(this.#settle(path, path.length - 1, block), () => record)
      })
    })
  }

  /**
   * Removes the records whose keys are not below `from` and below `to`, those of one leaf at a time. Gives how many they were.
   * `ERR_CORRUPT` when none would be left in a tree in an inode.
   */
  async removeRun(from: BtreeKey, to: BtreeKey): Promise<number> {
    const { keyOf } = this.store.kind
    for (let removed = 0; ; ) {
      const first = await this.ceiling(from)
      if (first === undefined || keyOf(first) >= to) return removed
      removed += await this.#removeOnLeaf(keyOf(first), to)
    }
  }

  /** From one record on. */
  #removeOnLeaf(from: BtreeKey, to: BtreeKey): Soon<number> {
    return after(this.#pathToExisting(from), path => {
      const leaf = leafOf(path)
      return after(this.tree.edit(leaf, path.length === 1), block => {
        const last = block.floor(to)
        const count = (block.key(last) === to ? last : last + 1) - leaf.index
        block.remove(leaf.index, count)
        return after(this.#settle(path, path.length - 1, block), () => count)
      })
    })
  }

  /**
   * Puts a record in the place of another. Its key may be another as long as the order stays. `ERR_CORRUPT` when there is
   * none, or the order does not stay.
   * @param check of what is there, before anything is changed.
   */
  replace(key: BtreeKey, record: Record, check?: (found: Record) => void): Soon<void> {
    return after(this.#pathToExisting(key), path =>
      after(this.#requireOrder(path, key, record), () => {
        const leaf = leafOf(path)
        check?.(leaf.block.record(leaf.index))
        return after(this.tree.edit(leaf, path.length === 1), block => {
          block.setRecord(leaf.index, record)
          return this.#raise(path, path.length - 1)
        })
      }),
    )
  }

  /**
   * Puts a record in the place of another, and where its own key belongs: mostly that is on the same leaf, and nothing is to be
   * searched for. `ERR_CORRUPT` when there is none, or one with the new key already.
   */
  move(key: BtreeKey, record: Record): Soon<void> {
    const now = this.store.kind.keyOf(record)
    return after(this.#pathToExisting(key), path => {
      const leaf = leafOf(path)
      const floor = leaf.block.floor(now)
      if (!isOnLeaf(path, floor)) return after(this.remove(key), () => this.insert(record))
      if (now !== key && floor >= 0 && leaf.block.key(floor) === now) throw this.#exists(now)
      return after(this.tree.edit(leaf, path.length === 1), block => {
        block.moveRecord(leaf.index, floor < leaf.index ? floor + 1 : floor, record)
        return this.#raise(path, path.length - 1)
      })
    })
  }

  #exists(key: BtreeKey): Error {
    return this.tree.wrong(`has a record already with the key ${key}, which another is to get`)
  }

  /** What is beside the record with a key stays beside the one that is put in its place. */
  #requireOrder(path: readonly Step<Record>[], key: BtreeKey, record: Record): Soon<void> {
    const { keyOf } = this.store.kind
    const now = keyOf(record)
    if (now === key) return
    return after(this.tree.beside(path, now < key ? -1 : 1), beside => {
      const other = beside === undefined ? undefined : keyOf(beside)
      if (other !== undefined && (now < key ? other >= now : other <= now))
        throw this.tree.wrong(
          `has a record with the key ${other} between ${key} and ${now}, which it is to become`,
        )
    })
  }

  /** Pointers of all blocks of the tree, parents before children; a root in an inode has none. */
  async *blocks(): AsyncIterable<number> {
    const root = await this.tree.root()
    if (root.pointer !== undefined) yield root.pointer
    yield* this.#pointersBelow(root.block)
  }

  async *#pointersBelow(block: BtreeBlock<Record>): AsyncIterable<number> {
    for (let index = 0; block.level > 0 && index < block.count; index++) {
      yield block.pointer(index)
      if (block.level > 1) yield* this.#pointersBelow((await this.tree.child(block, index)).block)
    }
  }

  async *#overlapping(block: BtreeBlock<Record>, low: BtreeKey, high: BtreeKey): AsyncIterable<Record> {
    const last = block.floor(high)
    for (let index = 0; index <= last; index++) {
      if (block.endsBefore(index, low)) continue
      if (block.level === 0) yield block.record(index)
      else yield* this.#overlapping((await this.tree.child(block, index)).block, low, high)
    }
  }

  #pathToExisting(key: BtreeKey): Soon<Step<Record>[]> {
    return after(this.tree.pathTo(key), path => {
      if (!has(leafOf(path), key))
        throw this.tree.wrong(`has no record with the key ${key}, which is to be changed`)
      return path
    })
  }

  /** Puts an entry into the block of a step, which is filled up from its siblings or split where it is full. */
  #insert(path: Step<Record>[], depth: number, at: number, put: Put<Record>): Soon<void> {
    return after(this.tree.edit(stepAt(path, depth), depth === 0), block => {
      if (block.count >= block.most) return this.#insertIntoFull(path, depth, at, put)
      put(block, at)
      return this.#raise(path, depth)
    })
  }

  async #insertIntoFull(path: Step<Record>[], depth: number, at: number, put: Put<Record>): Promise<void> {
    const { pointer, block } = stepAt(path, depth)
    if (depth === 0 || pointer === undefined) {
      await growRoot(this.store, this.tree, path)
      return this.#insert(path, depth + 1, at, put)
    }
    const parent = await this.tree.edit(stepAt(path, depth - 1), depth === 1)
    const { index } = stepAt(path, depth - 1)
    const pair = await this.#pairWithRoom(parent, index, { pointer, block })
    if (pair !== undefined) {
      const isLeft = pair.leftIndex === index
      spreadWith(pair, isLeft ? at : pair.left.block.count + at, put)
      parent.setKeyOf(pair.leftIndex, pair.left.block)
      parent.setKeyOf(pair.leftIndex + 1, pair.right.block)
      return this.#raise(path, depth - 1)
    }
    const inUse = [...path.map(each => each.pointer), block.leftSibling, block.rightSibling]
    const created = await this.tree.create(block.level, pointer, inUse)
    await linkBehind(this.tree, { pointer, block }, created)
    spreadWith({ leftIndex: index, left: { pointer, block }, right: created }, at, put)
    parent.setKeyOf(index, block)
    await this.#insert(path, depth - 1, index + 1, (node, place) =>
      node.insertChild(place, created.pointer, created.block),
    )
  }

  /** A full block and the one before or behind it under the same parent, which has room. */
  async #pairWithRoom(
    parent: BtreeBlock<Record>,
    index: number,
    full: Pair<Record>['left'],
  ): Promise<Pair<Record> | undefined> {
    for (const leftIndex of [index - 1, index]) {
      if (leftIndex < 0 || leftIndex + 1 >= parent.count) continue
      const sibling = leftIndex === index ? index + 1 : leftIndex
      const { block } = await this.tree.child(parent, sibling)
      if (block.count >= block.most) continue
      return this.#pair(parent, leftIndex, index, full)
    }
    return undefined
  }

  /** Two blocks side by side, one of which is known, to be changed. */
  async #pair(
    parent: BtreeBlock<Record>,
    leftIndex: number,
    index: number,
    known: Pair<Record>['left'],
  ): Promise<Pair<Record>> {
    const other = await this.tree.child(parent, leftIndex === index ? index + 1 : leftIndex, true)
    const [left, right] = leftIndex === index ? [known, other] : [other, known]
    requireLinked(this.tree, left, right)
    return { leftIndex, left, right }
  }

  /** After an entry was removed from a block: it is filled from a sibling, or made one with it, when it has too few. */
  #settle(path: Step<Record>[], depth: number, block: BtreeBlock<Record>): Soon<void> {
    if (depth === 0)
      return block.level === 0 || block.count > 1 ? undefined : shrinkRoot(this.store, this.tree)
    return block.count >= leastEntries(block) ? this.#raise(path, depth) : this.#fillUp(path, depth, block)
  }

  async #fillUp(path: Step<Record>[], depth: number, block: BtreeBlock<Record>): Promise<void> {
    const { pointer } = stepAt(path, depth)
    if (pointer === undefined) throw new Error('a block below the root without a number')
    const { index } = stepAt(path, depth - 1)
    const parent = await this.tree.edit(stepAt(path, depth - 1), depth === 1)
    if (parent.count === 1) {
      if (block.count === 0) throw this.tree.wrong('would be left with an empty block')
      await this.#raise(path, depth)
      // The only child of a root in an inode may fit into it now.
      return depth === 1 ? shrinkRoot(this.store, this.tree) : undefined
    }
    const pairs: Pair<Record>[] = []
    for (const leftIndex of [index - 1, index])
      if (leftIndex >= 0 && leftIndex + 1 < parent.count)
        pairs.push(await this.#pair(parent, leftIndex, index, { pointer, block }))
    const merging = pairs.find(({ left, right }) => left.block.count + right.block.count <= block.most)
    if (merging !== undefined) {
      const { leftIndex, left, right } = merging
      right.block.moveStartTo(left.block, right.block.count)
      await unlink(this.tree, left, right)
      parent.remove(leftIndex + 1)
      parent.setKeyOf(leftIndex, left.block)
      await this.tree.release(right.pointer)
      return this.#settle(path, depth - 1, parent)
    }
    const [pair] = pairs
    if (pair === undefined) throw new Error('a block with siblings and without')
    const { leftIndex, left, right } = pair
    spread(left.block, right.block, (left.block.count + right.block.count) >>> 1)
    parent.setKeyOf(leftIndex, left.block)
    parent.setKeyOf(leftIndex + 1, right.block)
    await this.#raise(path, depth - 1)
  }

  /** Makes the keys above a changed block right. */
  #raise(path: readonly Step<Record>[], depth: number): Soon<void> {
    if (depth === 0) return
    const above = stepAt(path, depth - 1)
    const { block } = stepAt(path, depth)
    if (above.block.hasKeyOf(above.index, block)) return
    return after(this.tree.edit(above, depth === 1), node => {
      node.setKeyOf(above.index, block)
      return this.#raise(path, depth - 1)
    })
  }
}

/** xfs_btree's minimum: half of the maximum (m_alloc_mnr and the others). */
function leastEntries<Record>(block: BtreeBlock<Record>): number {
  return block.most >>> 1
}

function has<Record>({ block, index }: Step<Record>, key: BtreeKey): boolean {
  return index >= 0 && index < block.count && block.key(index) === key
}

/** Whether a key belongs on a path's leaf for sure, behind the entry at an index or before the first. */
function isOnLeaf<Record>(path: readonly Step<Record>[], floor: number): boolean {
  if (floor < 0) return path.every(({ index }, depth) => depth === path.length - 1 || index === 0)
  if (floor < leafOf(path).block.count - 1) return true
  return path.every(({ index, block }, depth) => depth === path.length - 1 || index === block.count - 1)
}

function leafOf<Record>(path: readonly Step<Record>[]): Step<Record> {
  return stepAt(path, path.length - 1)
}

function stepAt<Record>(path: readonly Step<Record>[], depth: number): Step<Record> {
  const step = path[depth]
  if (step === undefined) throw new Error(`a path of ${path.length} blocks has none at ${depth}`)
  return step
}

/** A tree whose root is in the header of an allocation group: `agTree(volume, BNOBT, agno, agfRoot(volume, agno, 'bno'), blocks)`. */
export function agTree<Record>(
  volume: XfsVolume,
  kind: BtreeKind<Record>,
  agno: number,
  root: HeaderRoot,
  blocks: BlockSource,
): BtreeEditor<Record> {
  const volumeBlock = (pointer: number) => volume.geometry.inAg(agno, pointer)
  return new BtreeEditor({ volume, kind, owner: agno, root, blocks, volumeBlock })
}
