import type { ByteView } from '../../../bytes/byte-view.ts'
import { type HashEntries, hashEntries } from '../dir-leaf.ts'
import { type HashEntry, insertUpwards, liveEntries, removeDownwards, storeEntries } from './hash-list.ts'
import { BEST, type DirLayout, LEAF_ENTRY, NO_BLOCK } from './layout.ts'

/** struct xfs_dir2_leaf_tail */
const TAIL = 4

/** Hashes of a directory, in order, behind the header that all blocks of a hash tree have (struct xfs_dir2_leaf, xfs_dir3_leaf). */
export class LeafBlock {
  readonly view: ByteView
  readonly layout: DirLayout

  constructor(view: ByteView, layout: DirLayout) {
    this.view = view
    this.layout = layout
  }

  get count(): number {
    return this.view.u16(this.layout.leafCountAt)
  }
  get entries(): HashEntries {
    return hashEntries(this.view, this.layout.leafStart, this.count)
  }
  /** The entries that are not stale. */
  get live(): HashEntry[] {
    return liveEntries(this.entries)
  }
  /** All of them, none stale. There is room for them. */
  set live(entries: readonly HashEntry[]) {
    const { view, layout } = this
    const end = layout.leafStart + this.count * LEAF_ENTRY
    storeEntries(view, layout.leafStart, entries)
    this.#count = entries.length
    const now = layout.leafStart + entries.length * LEAF_ENTRY
    if (now < end) view.bytes.fill(0, now, end)
  }
  set #count(count: number) {
    this.view.setU16(this.layout.leafCountAt, count)
    this.view.setU16(this.layout.leafCountAt + 2, 0)
  }

  /** Stale entries go. `ERR_CORRUPT` when there are not as many as it says (xfs_dir3_leaf_check_int). */
  compact(): void {
    const stale = this.view.u16(this.layout.leafCountAt + 2)
    if (stale === 0) return
    const { live, count } = this
    if (count - live.length !== stale)
      throw this.layout.corrupt(
        `its leaf says that ${stale} entries are stale, and ${count - live.length} are`,
      )
    this.live = live
  }

  /** There is room for it, and no entry is stale. */
  insert(entry: HashEntry): void {
    insertUpwards(this.view, this.layout.leafStart, this.count, entry)
    this.#count = this.count + 1
  }

  /** The entry of a hash is elsewhere from now on. */
  readdress(index: number, address: number): void {
    this.view.setU32(this.layout.leafStart + index * LEAF_ENTRY + 4, address)
  }

  remove(index: number): void {
    removeDownwards(this.view, this.layout.leafStart, this.count, index)
    this.#count = this.count - 1
  }
}

/**
 * The only leaf of a directory (XFS_DIR2_LEAF1_MAGIC): at its end it has the longest free space of each data block, NULLDATAOFF for
 * one that is not there, and how many these are.
 */
export class LoneLeafBlock extends LeafBlock {
  get bestCount(): number {
    return this.view.u32(this.view.length - TAIL)
  }
  best(index: number): number {
    return this.view.u16(this.#bestAt(index))
  }
  setBest(index: number, best: number): void {
    this.view.setU16(this.#bestAt(index), best)
  }
  get bests(): number[] {
    return Array.from({ length: this.bestCount }, (_, index) => this.best(index))
  }
  /** There is room for them. */
  set bests(bests: readonly number[]) {
    const { view } = this
    view.bytes.fill(0, this.#bestAt(0), view.length)
    view.setU32(view.length - TAIL, bests.length)
    for (const [index, best] of bests.entries()) this.setBest(index, best)
  }

  /** Whether there is room for this many entries and bests. */
  hasRoom(entries: number, bests: number): boolean {
    const { layout, view } = this
    return layout.leafStart + entries * LEAF_ENTRY + bests * BEST + TAIL <= view.length
  }

  /** The first data block with room for an entry. */
  blockFor(size: number): number | undefined {
    const { bestCount } = this
    for (let index = 0; index < bestCount; index++) {
      const best = this.best(index)
      if (best >= size && best !== NO_BLOCK) return index
    }
    return undefined
  }

  /** The first data block that is not there. */
  firstHole(): number {
    const { bestCount } = this
    let index = 0
    while (index < bestCount && this.best(index) !== NO_BLOCK) index++
    return index
  }

  /** Blocks that are not there do not end the list. */
  trimBests(): void {
    let end = this.bestCount
    while (end > 0 && this.best(end - 1) === NO_BLOCK) end--
    if (end < this.bestCount) this.bests = this.bests.slice(0, end)
  }

  #bestAt(index: number): number {
    return this.view.length - TAIL - (this.bestCount - index) * BEST
  }
}
