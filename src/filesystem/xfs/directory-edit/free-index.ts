import type { ByteView } from '../../../bytes/byte-view.ts'
import { after, type Soon } from '../soon.ts'
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
  find(size: number): Soon<FreeSpace> {
    return after(this.#read(0), table => {
      const index = table?.firstWith(size)
      return index === undefined ? this.#findInAll(size) : { index, isNew: false }
    })
  }

  async #findInAll(size: number): Promise<FreeSpace> {
    const { dataBlocks: end, layout } = this.#blocks
    let hole: number | undefined
    for (let first = 0; first < end; first += layout.mostBests) {
      const table = await this.#read(first)
      const entry = table?.firstWith(size)
      if (entry !== undefined) return { index: first + entry, isNew: false }
      const gone = table?.bests.indexOf(NO_BLOCK) ?? 0
      const nvalid = table?.nvalid ?? 0
      if (gone >= 0) hole ??= first + gone
      else if (nvalid < layout.mostBests) hole ??= first + nvalid
    }
    return { index: hole ?? end, isNew: true }
  }

  /** The longest free space of a data block that is there. */
  set(index: number, longest: number): Soon<void> {
    const [first, entry] = this.#tableOf(index)
    return after(this.#read(first), found => {
      if (found === undefined) return this.#begin(first, entry, longest)
      if (entry < found.nvalid && found.best(entry) === longest) return
      return after(this.#edit(first), table => table.setBest(entry, longest))
    })
  }

  /** A new table. */
  async #begin(first: number, entry: number, longest: number): Promise<void> {
    const at = this.#blockOf(first)
    await this.#blocks.grow(at)
    const { fork, layout } = this.#blocks
    const table = new FreeBlock(await fork.fresh(at, 'data', freeBlockMagic(layout.isV5)), layout)
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
    const { blockCount, fork, freeBlock } = this.#blocks
    return (await fork.map.end()) === freeBlock + blockCount ? this.#read(0) : undefined
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

  #read(first: number): Soon<FreeBlock | undefined> {
    const { fork, layout } = this.#blocks
    const at = this.#blockOf(first)
    return after(fork.isMapped(at), isMapped => {
      if (!isMapped) return undefined
      const check = (found: ByteView) => checkFreeBlock(found, layout, first)
      return after(
        fork.read(at, 'data', [freeBlockMagic(layout.isV5)], check),
        ({ view }) => new FreeBlock(view, layout),
      )
    })
  }

  #edit(first: number): Soon<FreeBlock> {
    const { fork, layout } = this.#blocks
    const check = (found: ByteView) => checkFreeBlock(found, layout, first)
    return after(
      fork.edit(this.#blockOf(first), 'data', [freeBlockMagic(layout.isV5)], check),
      ({ view }) => new FreeBlock(view, layout),
    )
  }
}
