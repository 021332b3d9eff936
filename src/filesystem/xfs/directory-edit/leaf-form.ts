import { dirDataMagic } from '../dir-data.ts'
import { dirLeafShape, LEAF1_MAGIC, LEAFN_MAGIC } from '../dir-leaf.ts'
import type { NamedInode } from '../dir-name.ts'
import { type BlockForm, best, type DirectoryBlocks, type EntryPlace } from './directory-blocks.ts'
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

  async add(entry: NamedInode): Promise<boolean> {
    const { layout, rules } = this.#blocks
    const leaf = await this.#edit()
    leaf.compact()
    const size = layout.entrySize(entry.name)
    const found = leaf.blockFor(size)
    const index = found ?? leaf.firstHole()
    const bests = Math.max(leaf.bestCount, index + 1)
    if (!leaf.hasRoom(leaf.count + 1, bests)) return false
    const block =
      found === undefined ? await this.#blocks.newData(index) : await this.#blocks.editData(index, false)
    const space = block.spaceFor(size)
    if (space === undefined)
      throw layout.corrupt(`block ${index} has not the free space that the table says it has`)
    block.insert(entry, space)
    if (bests > leaf.bestCount) leaf.bests = [...leaf.bests, block.longest]
    else leaf.setBest(index, block.longest)
    leaf.insert({ hash: rules.hash(entry.name), address: layout.address(index, space.offset) })
    return true
  }

  async find(name: Uint8Array, ino?: number): Promise<EntryPlace | undefined> {
    const { entries } = await this.#read()
    return best(this.#blocks.matches(entries, this.#blocks.rules.hash(name), name, false, ino))
  }

  async remove({ hash, index, offset }: EntryPlace): Promise<void> {
    const blocks = this.#blocks
    const { layout } = blocks
    const leaf = await this.#edit()
    leaf.compact()
    const at = indexOfEntry(leaf.entries, { hash, address: layout.address(index, offset) })
    if (at === undefined || index >= leaf.bestCount)
      throw layout.corrupt(`its leaf does not tell of the entry at ${offset} of block ${index}`)
    leaf.remove(at)
    const block = await blocks.editData(index, false)
    block.remove(offset)
    leaf.setBest(index, block.longest)
    if (block.isEmpty && index > 0)
      if (await blocks.dropData(index)) leaf.setBest(index, NO_BLOCK)
      else await this.#refill(leaf, index)
    await this.shrinkForm(leaf)
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
  async shrinkForm(leaf?: LoneLeafBlock): Promise<void> {
    const open = leaf ?? (await this.#edit())
    await this.#dropLast(open)
    await this.#toSingle(open)
  }

  async redirect(place: EntryPlace, ino: number, filetype: number): Promise<void> {
    await this.#blocks.redirect(place, ino, filetype)
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
  async #dropLast(leaf: LoneLeafBlock): Promise<void> {
    const { layout, inode } = this.#blocks
    const empty = layout.blockSize - layout.dataStart
    leaf.trimBests()
    while (leaf.bestCount > 1 && leaf.best(leaf.bestCount - 1) === empty) {
      const last = leaf.bestCount - 1
      if (!(await this.#blocks.dropData(last))) break
      leaf.setBest(last, NO_BLOCK)
      leaf.trimBests()
    }
    inode.di_size = leaf.bestCount * layout.blockSize
  }

  /** The hashes join the only block of entries when they fit behind these (xfs_dir2_leaf_to_block). */
  async #toSingle(leaf: LoneLeafBlock): Promise<void> {
    const blocks = this.#blocks
    if (leaf.bestCount > 1) return
    const hashes = leaf.live
    const { view } = await blocks.editData(0, false)
    if (!new SingleBlock(view, blocks.layout).giveHashes(hashes)) return
    view.setU32(0, dirDataMagic(blocks.layout.isV5, true))
    await blocks.shrink(blocks.leafBlock)
    await new SingleForm(blocks).shrinkForm()
  }

  async #read(): Promise<LoneLeafBlock> {
    const { fork, layout, leafBlock } = this.#blocks
    const { check } = dirLeafShape(fork)
    const { view } = await fork.read(leafBlock, 'index', [LEAF1_MAGIC[layout.isV5 ? 1 : 0]], check)
    return new LoneLeafBlock(view, layout)
  }

  async #edit(): Promise<LoneLeafBlock> {
    const { fork, layout, leafBlock } = this.#blocks
    const { check } = dirLeafShape(fork)
    const { view } = await fork.edit(leafBlock, 'index', [LEAF1_MAGIC[layout.isV5 ? 1 : 0]], check)
    if (view.u32(0) !== 0 || view.u32(4) !== 0) throw layout.corrupt('its only leaf names others beside it')
    return new LoneLeafBlock(view, layout)
  }
}
