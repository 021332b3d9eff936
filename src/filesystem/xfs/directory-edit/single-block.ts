import type { ByteView } from '../../../bytes/byte-view.ts'
import { blockLeafCount, blockLeafStart } from '../dir-data.ts'
import { checkOrder, type HashEntries, hashEntries } from '../dir-leaf.ts'
import type { NamedInode, NameRules } from '../dir-name.ts'
import { DataBlock } from './data-block.ts'
import {
  byHash,
  type HashEntry,
  indexOfEntry,
  insertDownwards,
  liveEntries,
  removeUpwards,
  storeEntries,
} from './hash-list.ts'
import { type DirLayout, LEAF_ENTRY } from './layout.ts'

/** struct xfs_dir2_block_tail: the counts of hash entries and of the stale ones. */
const TAIL = 8

/** A directory of one block: entries, free space, hashes in order, and how many these are (XFS_DIR2_BLOCK_MAGIC). */
export class SingleBlock {
  readonly view: ByteView
  readonly data: DataBlock
  readonly #layout: DirLayout

  constructor(view: ByteView, layout: DirLayout) {
    this.view = view
    this.data = new DataBlock(view, layout, true)
    this.#layout = layout
  }

  get hashes(): HashEntries {
    return hashEntries(this.view, blockLeafStart(this.view), this.count)
  }
  get count(): number {
    return blockLeafCount(this.view)
  }
  set #count(count: number) {
    this.view.setU32(this.view.length - TAIL, count)
    this.view.setU32(this.view.length - TAIL + 4, 0)
  }

  /** Whether the hashes are in order, and those of the entries (__xfs_dir3_data_check): what a change relies on. */
  check({ hash }: NameRules): void {
    checkOrder(this.#layout, this.hashes)
    const live = liveEntries(this.hashes)
    const stale = this.view.u32(this.view.length - TAIL + 4)
    const hashes = new Map(live.map(entry => [entry.address, entry.hash]))
    let entries = 0
    for (const { name, offset } of this.data.entries()) {
      entries++
      if (hashes.get(this.#layout.address(0, offset)) !== hash(name))
        throw this.#layout.corrupt(`the entry at ${offset} of its block has no hash`)
    }
    if (live.length + stale !== this.count || live.length !== entries)
      throw this.#layout.corrupt('its block has other hashes than entries')
  }

  /**
   * Fills a block of which only the header is there.
   * @param entries in the order of their offsets, which leave room for all of them and for their hashes.
   */
  fill(
    entries: readonly (NamedInode & { readonly offset: number })[],
    hash: (name: Uint8Array) => number,
  ): void {
    this.#count = entries.length
    this.data.clear()
    for (const entry of entries) {
      const space = this.data.lastSpace
      if (space === undefined || entry.offset + this.#layout.entrySize(entry.name) > this.data.end)
        throw this.#layout.corrupt('what is in its inode does not fit into a block')
      this.data.insert(entry, space, entry.offset)
    }
    const hashes = entries.map(({ name, offset }) => ({
      hash: hash(name),
      address: this.#layout.address(0, offset),
    }))
    storeEntries(this.view, blockLeafStart(this.view), hashes.sort(byHash))
  }

  /** Stale hashes become free space. */
  compact(): void {
    const stale = this.view.u32(this.view.length - TAIL + 4)
    if (stale === 0) return
    const live = liveEntries(this.hashes)
    const begin = blockLeafStart(this.view)
    this.#count = live.length
    storeEntries(this.view, blockLeafStart(this.view), live)
    this.data.give(begin, stale * LEAF_ENTRY)
  }

  /** @returns `false`, with nothing but `compact` done, where there is no room. */
  add(entry: NamedInode, hash: number): boolean {
    this.compact()
    const { data, view } = this
    const size = this.#layout.entrySize(entry.name)
    const last = data.lastSpace
    if (last === undefined) return false
    if (data.spaceFor(size, last) === undefined && last.length < size + LEAF_ENTRY) return false
    const [begin, count] = [blockLeafStart(view), this.count]
    data.take(last, begin - LEAF_ENTRY, LEAF_ENTRY, () => {
      this.#count = count + 1
    })
    const space = data.spaceFor(size)
    if (space === undefined) throw this.#layout.corrupt('its block lists other free spaces than it has')
    insertDownwards(view, begin, count, { hash, address: this.#layout.address(0, space.offset) })
    data.insert(entry, space)
    return true
  }

  remove(hash: number, offset: number): void {
    this.compact()
    const index = indexOfEntry(this.hashes, { hash, address: this.#layout.address(0, offset) })
    if (index === undefined) throw this.#layout.corrupt(`the entry at ${offset} has no hash`)
    this.data.remove(offset)
    const begin = blockLeafStart(this.view)
    removeUpwards(this.view, begin, index)
    this.#count = this.count - 1
    this.data.give(begin, LEAF_ENTRY)
  }

  /** The hashes leave the block, and what they took is free: it becomes a block of entries alone. The magic number is the caller's. */
  takeHashes(): HashEntry[] {
    this.compact()
    const hashes = liveEntries(this.hashes)
    const begin = blockLeafStart(this.view)
    this.view.bytes.fill(0, begin)
    new DataBlock(this.view, this.#layout, false).give(begin, this.view.length - begin)
    return hashes
  }

  /** Whether a block of entries alone has room for so many hashes at its end. */
  hasRoomForHashes(count: number): boolean {
    const last = new DataBlock(this.view, this.#layout, false).lastSpace
    return last !== undefined && last.length >= count * LEAF_ENTRY + TAIL
  }

  /**
   * Hashes join a block of entries alone that is to be a single one.
   * @returns `false`, with nothing changed, where there is no room at its end.
   */
  giveHashes(hashes: readonly HashEntry[]): boolean {
    const last = new DataBlock(this.view, this.#layout, false).lastSpace
    if (last === undefined || !this.hasRoomForHashes(hashes.length)) return false
    const left = last.length - (hashes.length * LEAF_ENTRY + TAIL)
    this.#count = hashes.length
    storeEntries(this.view, blockLeafStart(this.view), hashes)
    if (left > 0) this.data.mark({ offset: last.offset, length: left })
    this.data.listAll()
    return true
  }
}
