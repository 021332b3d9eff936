import type { DirectoryBlocks } from './directory-blocks.ts'
import { checkFreeBlock, FreeBlock, freeBlockMagic } from './free-block.ts'
import { NO_BLOCK } from './layout.ts'

/** Where an entry may go: a data block with room, or one that is not there. */
export interface FreeSpace {
  readonly index: number
  readonly isNew: boolean
}

/** The tables of free space of a directory whose hashes are a tree. A table is not there where it would tell of no block. */
export class FreeIndex {
  readonly #blocks: DirectoryBlocks

  constructor(blocks: DirectoryBlocks) {
    this.#blocks = blocks
  }

  /** The first data block with room, else the first that is not there. */
  async find(size: number): Promise<FreeSpace> {
    const { dataBlocks: end, layout } = this.#blocks
    let hole: number | undefined
    for (let first = 0; first < end; first += layout.mostBests) {
      const table = await this.#read(first)
      const nvalid = table?.nvalid ?? 0
      for (let entry = 0; entry < nvalid; entry++) {
        const free = table?.best(entry) ?? NO_BLOCK
        if (free === NO_BLOCK) hole ??= first + entry
        else if (free >= size) return { index: first + entry, isNew: false }
      }
      if (nvalid < layout.mostBests) hole ??= first + nvalid
    }
    return { index: hole ?? end, isNew: true }
  }

  /** The longest free space of a data block that is there. */
  async set(index: number, longest: number): Promise<void> {
    const { layout } = this.#blocks
    const [first, entry] = this.#tableOf(index)
    const at = this.#blockOf(first)
    if ((await this.#read(first)) !== undefined) {
      const table = await this.#edit(first)
      if (entry >= table.nvalid || table.best(entry) !== longest) table.setBest(entry, longest)
      return
    }
    await this.#blocks.grow(at)
    const view = await this.#blocks.fork.fresh(at, 'data', freeBlockMagic(layout.isV5))
    const table = new FreeBlock(view, layout)
    table.firstdb = first
    table.setBest(entry, longest)
  }

  /** A data block is gone, and so is its table when it tells of no other and can be freed. */
  async remove(index: number): Promise<void> {
    const [first, entry] = this.#tableOf(index)
    const table = await this.#edit(first)
    table.remove(entry)
    if (table.nused === 0) await this.#blocks.attempt(() => this.#blocks.shrink(this.#blockOf(first)))
  }

  /** How many data blocks there are up to the last. */
  async end(): Promise<number> {
    const [last] = this.#tableOf(Math.max(0, this.#blocks.dataBlocks - 1))
    for (let first = last; first >= 0; first -= this.#blocks.layout.mostBests) {
      const table = await this.#read(first)
      if (table !== undefined && table.nvalid > 0) return first + table.nvalid
    }
    return 0
  }

  /** The only table; `undefined` when there are more. */
  async only(): Promise<FreeBlock | undefined> {
    const { blockCount, editor, freeBlock } = this.#blocks
    return (await editor.end()) === freeBlock + blockCount ? this.#read(0) : undefined
  }

  #tableOf(index: number): [first: number, entry: number] {
    const { mostBests } = this.#blocks.layout
    return [index - (index % mostBests), index % mostBests]
  }

  /** Where the table is that begins with a data block. */
  #blockOf(first: number): number {
    const { blockCount, freeBlock, layout } = this.#blocks
    return freeBlock + (first / layout.mostBests) * blockCount
  }

  async #read(first: number): Promise<FreeBlock | undefined> {
    const { fork, layout } = this.#blocks
    const at = this.#blockOf(first)
    if (!(await fork.isMapped(at))) return undefined
    const magic = freeBlockMagic(layout.isV5)
    const { view } = await fork.read(at, 'data', [magic], found => checkFreeBlock(found, layout, first))
    return new FreeBlock(view, layout)
  }

  async #edit(first: number): Promise<FreeBlock> {
    const { fork, layout } = this.#blocks
    const magic = freeBlockMagic(layout.isV5)
    const { view } = await fork.edit(this.#blockOf(first), 'data', [magic], found =>
      checkFreeBlock(found, layout, first),
    )
    return new FreeBlock(view, layout)
  }
}
