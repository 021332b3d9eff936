import { dirDataMagic } from '../dir-data.ts'
import { dirLeafShape, LEAF1_MAGIC, LEAFN_MAGIC } from '../dir-leaf.ts'
import type { NamedInode } from '../dir-name.ts'
import type { EntryPlace } from '../dir-search.ts'
import { after, type Soon } from '../soon.ts'
import type { DataBlock } from './data-block.ts'
import type { BlockForm, DirectoryBlocks } from './directory-blocks.ts'
import { FreeBlock, freeBlockMagic } from './free-block.ts'
import { indexOfEntry } from './hash-list.ts'
import { NO_BLOCK } from './layout.ts'
import { LoneLeafBlock } from './leaf-block.ts'
import { SingleBlock } from './single-block.ts'
import { SingleForm } from './single-form.ts'

/** A directory of several blocks of entries, and one of hashes with a table of free space. */
export class LeafForm implements BlockForm {
  readonly #blocks: DirectoryBlocks

  constructor(blocks: DirectoryBlocks) {
    this.#blocks = blocks
  }

  add(entry: NamedInode): Soon<boolean> {
    return after(this.#edit(), leaf => {
      leaf.compact()
      const found = leaf.blockFor(this.#blocks.layout.entrySize(entry.name))
      const index = found ?? leaf.firstHole()
      const bests = Math.max(leaf.bestCount, index + 1)
      if (!leaf.hasRoom(leaf.count + 1, bests)) return false
      const data = found === undefined ? this.#blocks.newData(index) : this.#blocks.editData(index, false)
      return after(data, block => this.#addTo(leaf, index, block, entry))
    })
  }

  #addTo(leaf: LoneLeafBlock, index: number, block: DataBlock, entry: NamedInode): boolean {
    const { layout, rules } = this.#blocks
    const space = block.spaceFor(layout.entrySize(entry.name))
    if (space === undefined)
      throw layout.corrupt(`block ${index} has not the free space that the table says it has`)
    block.insert(entry, space)
    if (index >= leaf.bestCount) leaf.bests = [...leaf.bests, block.longest]
    else leaf.setBest(index, block.longest)
    leaf.insert({ hash: rules.hash(entry.name), address: layout.address(index, space.offset) })
    return true
  }

  remove({ hash, index, offset }: EntryPlace): Soon<void> {
    const { layout } = this.#blocks
    return after(this.#edit(), leaf => {
      leaf.compact()
      const at = indexOfEntry(leaf.entries, { hash, address: layout.address(index, offset) })
      if (at === undefined || index >= leaf.bestCount)
        throw layout.corrupt(`its leaf does not tell of the entry at ${offset} of block ${index}`)
      leaf.remove(at)
      return after(this.#blocks.editData(index, false), block => {
        block.remove(offset)
        leaf.setBest(index, block.longest)
        if (block.isEmpty && index > 0) return this.#removeEmpty(leaf, index)
        return this.#shrink(leaf)
      })
    })
  }

  async #removeEmpty(leaf: LoneLeafBlock, index: number): Promise<void> {
    if (await this.#blocks.dropData(index)) leaf.setBest(index, NO_BLOCK)
    else await this.#refill(leaf, index)
    await this.#shrink(leaf)
  }

  /** An empty block that cannot be freed gets an entry of the last one. */
  async #refill(leaf: LoneLeafBlock, index: number): Promise<void> {
    const last = leaf.bestCount - 1
    if (last === index) return
    const { hash, address, bests } = await this.#blocks.moveEntry(last, index)
    const at = indexOfEntry(leaf.entries, hash)
    if (at === undefined) throw this.#blocks.layout.corrupt(`an entry of block ${last} has no hash`)
    leaf.readdress(at, address)
    leaf.setBest(last, bests[0])
    leaf.setBest(index, bests[1])
  }

  /** Frees empty blocks at the end; the directory becomes one block where it can. */
  shrinkForm(): Soon<void> {
    return after(this.#edit(), leaf => this.#shrink(leaf))
  }

  #shrink(leaf: LoneLeafBlock): Soon<void> {
    leaf.trimBests()
    return after(this.#dropLast(leaf), () => {
      const { inode, layout } = this.#blocks
      inode.di_size = leaf.bestCount * layout.blockSize
      return leaf.bestCount > 1 ? undefined : this.#toSingle(leaf)
    })
  }

  redirect(place: EntryPlace, ino: number, filetype: number): Soon<void> {
    return this.#blocks.redirect(place, ino, filetype)
  }

  /** The table of free space gets a block of its own (xfs_dir2_leaf_to_node). */
  async toNode(): Promise<void> {
    const blocks = this.#blocks
    const { isV5 } = blocks.layout
    await blocks.grow(blocks.freeBlock)
    const leaf = await this.#edit()
    leaf.compact()
    const free = await blocks.fork.fresh(blocks.freeBlock, 'data', freeBlockMagic(isV5))
    new FreeBlock(free, blocks.layout).bests = leaf.bests
    leaf.bests = []
    leaf.view.setU16(8, LEAFN_MAGIC[isV5 ? 1 : 0])
  }

  /** The directory ends with a block that has entries. */
  #dropLast(leaf: LoneLeafBlock): Soon<void> {
    const { layout } = this.#blocks
    const last = leaf.bestCount - 1
    if (last < 1 || leaf.best(last) !== layout.blockSize - layout.dataStart) return
    return after(this.#blocks.dropData(last), dropped => {
      if (!dropped) return
      leaf.setBest(last, NO_BLOCK)
      leaf.trimBests()
      return this.#dropLast(leaf)
    })
  }

  /** The hashes join the only block of entries when they fit behind these (xfs_dir2_leaf_to_block). */
  #toSingle(leaf: LoneLeafBlock): Soon<void> {
    const { layout } = this.#blocks
    return after(this.#blocks.readData(0, false), ({ view }) =>
      new SingleBlock(view, layout).hasRoomForHashes(leaf.count) ? this.#join(leaf) : undefined,
    )
  }

  async #join(leaf: LoneLeafBlock): Promise<void> {
    const blocks = this.#blocks
    const { view } = await blocks.editData(0, false)
    if (!new SingleBlock(view, blocks.layout).giveHashes(leaf.live)) return
    view.setU32(0, dirDataMagic(blocks.layout.isV5, true))
    await blocks.shrink(blocks.leafBlock)
    await new SingleForm(blocks).shrinkForm()
  }

  #edit(): Soon<LoneLeafBlock> {
    const { fork, layout, leafBlock } = this.#blocks
    const { check } = dirLeafShape(fork)
    const magics = [LEAF1_MAGIC[layout.isV5 ? 1 : 0]]
    return after(fork.edit(leafBlock, 'index', magics, check), ({ view }) => {
      if (view.u32(0) !== 0 || view.u32(4) !== 0) throw layout.corrupt('its only leaf names others beside it')
      return new LoneLeafBlock(view, layout)
    })
  }
}
