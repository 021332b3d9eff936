import type { BtreeBlock } from './btree-block.ts'
import type { BtreeKey, BtreeKind } from './btree-kinds.ts'
import { corrupt } from './errors.ts'
import { after, type Soon } from './soon.ts'

/** More levels than any tree of a volume below 2^63 bytes has (xfs_btree_compute_maxlevels). */
export const MOST_LEVELS = 12

/** Reads a block that a node points to. */
export type ReadChild<Record> = (pointer: number, level: number) => Soon<BtreeBlock<Record>>

/** A block, and which of its entries is meant. */
interface Step<Record> {
  readonly block: BtreeBlock<Record>
  index: number
}

/**
 * One B+tree, for all kinds. A step down lowers the level by one, and keys ascend over the whole walk: a forged tree is left
 * with an error at the latest when it comes back to a block.
 */
export class Btree<Record> {
  readonly #kind: BtreeKind<Record>
  readonly #readRoot: () => Soon<BtreeBlock<Record>>
  readonly #readChild: ReadChild<Record>

  constructor(
    kind: BtreeKind<Record>,
    readRoot: () => Soon<BtreeBlock<Record>>,
    readChild: ReadChild<Record>,
  ) {
    this.#kind = kind
    this.#readRoot = readRoot
    this.#readChild = readChild
  }

  /** Records in order, from the last one whose key is not above `from`, or from the first; a leaf's at a time. */
  async *leaves(from?: BtreeKey): AsyncIterable<readonly Record[]> {
    const path = await this.#pathTo(from)
    let last: BtreeKey | undefined
    for (;;) {
      const step = path.at(-1)
      if (step === undefined) return
      const { block, index } = step
      if (index >= block.count) {
        path.pop()
        const above = path.at(-1)
        if (above !== undefined) above.index++
        continue
      }
      if (block.level > 0) {
        path.push({ block: await this.#child(step), index: 0 })
        continue
      }
      const first = block.key(index)
      if (last !== undefined && last >= first)
        throw corrupt(this.#kind.name, `the blocks of a ${this.#kind.name} are out of order at ${first}`)
      last = block.key(block.count - 1)
      const records: Record[] = []
      for (let at = index; at < block.count; at++) records.push(block.record(at))
      yield records
      step.index = block.count
    }
  }

  /** The last record whose key is not above this one. */
  floor(key: BtreeKey): Soon<Record | undefined> {
    return after(this.#readRoot(), root => this.#floorBelow(root, key))
  }

  #floorBelow(block: BtreeBlock<Record>, key: BtreeKey): Soon<Record | undefined> {
    const index = block.floor(key)
    if (index < 0) return undefined
    if (block.level === 0) return block.record(index)
    return after(this.#child({ block, index }), child => this.#floorBelow(child, key))
  }

  async #pathTo(from: BtreeKey | undefined): Promise<Step<Record>[]> {
    const path: Step<Record>[] = []
    let block = await this.#readRoot()
    for (;;) {
      const step = { block, index: from === undefined ? 0 : Math.max(0, block.floor(from)) }
      path.push(step)
      if (block.level === 0 || block.count === 0) return path
      block = await this.#child(step)
    }
  }

  /** A node's key is the first of its child, and so above all of the child before. */
  #child({ block, index }: Step<Record>): Soon<BtreeBlock<Record>> {
    const wrong = (what: string) =>
      corrupt(this.#kind.name, `a block of a ${this.#kind.name} ${what} than its parent says`)
    return after(this.#readChild(block.pointer(index), block.level - 1), child => {
      if (child.key(0) < block.key(index)) throw wrong('begins earlier')
      if (index + 1 < block.count && child.key(child.count - 1) >= block.key(index + 1))
        throw wrong('ends later')
      return child
    })
  }
}
