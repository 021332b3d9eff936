import type { ByteView } from '../../../bytes/byte-view.ts'
import type { DaBlock } from '../da-block.ts'
import { type HashPath, HashTree } from '../da-edit.ts'
import { LEAF1_MAGIC } from '../dir-leaf.ts'
import type { NamedInode } from '../dir-name.ts'
import type { EntryPlace } from '../dir-search.ts'
import { after, type Soon } from '../soon.ts'
import type { DataBlock } from './data-block.ts'
import type { BlockForm, DirectoryBlocks } from './directory-blocks.ts'
import { DirectoryHashes } from './directory-hashes.ts'
import { FreeIndex } from './free-index.ts'
import { byHash, type HashEntry, indexOfEntry } from './hash-list.ts'
import { LeafBlock, LoneLeafBlock } from './leaf-block.ts'
import { LeafForm } from './leaf-form.ts'

/** Leaves are joined where this much of the joint one is left free (xfs_dir2_leafn_toosmall). */
const JOINED_MOST = 3 / 4

/** A directory whose hashes are a tree, with tables of the free space of its data blocks. */
export class NodeForm implements BlockForm {
  readonly #blocks: DirectoryBlocks
  readonly #hashes: DirectoryHashes
  readonly #tree: HashTree
  readonly #free: FreeIndex

  constructor(blocks: DirectoryBlocks) {
    this.#blocks = blocks
    this.#hashes = new DirectoryHashes(blocks)
    this.#tree = new HashTree(this.#hashes)
    this.#free = new FreeIndex(blocks)
  }

  add(entry: NamedInode): Soon<boolean> {
    return after(this.#free.find(this.#blocks.layout.entrySize(entry.name)), ({ index, isNew }) =>
      after(isNew ? this.#blocks.newData(index) : this.#blocks.editData(index, false), block =>
        after(this.#addTo(block, index, entry), () => true),
      ),
    )
  }

  #addTo(block: DataBlock, index: number, entry: NamedInode): Soon<void> {
    const { layout, rules } = this.#blocks
    const space = block.spaceFor(layout.entrySize(entry.name))
    if (space === undefined)
      throw layout.corrupt(`block ${index} has not the free space that the table says it has`)
    block.insert(entry, space)
    return after(this.#free.set(index, block.longest), () =>
      this.#addHash({ hash: rules.hash(entry.name), address: layout.address(index, space.offset) }),
    )
  }

  async remove({ hash, index, offset }: EntryPlace): Promise<void> {
    const blocks = this.#blocks
    const { layout } = blocks
    await this.#removeHash({ hash, address: layout.address(index, offset) })
    await this.#hashes.settle()
    const block = await blocks.editData(index, false)
    block.remove(offset)
    if (!block.isEmpty || index === 0) await this.#free.set(index, block.longest)
    else if (await blocks.dropData(index)) await this.#dropped(index)
    else await this.#refill(index)
    await this.#toLeaf()
  }

  async #dropped(index: number): Promise<void> {
    const { inode, layout } = this.#blocks
    await this.#free.remove(index)
    if ((index + 1) * layout.blockSize >= inode.di_size)
      inode.di_size = (await this.#free.end()) * layout.blockSize
  }

  /** An empty block that cannot be freed gets an entry of the last one. */
  async #refill(index: number): Promise<void> {
    const last = (await this.#free.end()) - 1
    if (last === index) return
    const { hash, address, bests } = await this.#blocks.moveEntry(last, index)
    const [path, at] = await this.#pathOf(hash)
    this.#leaf(await this.#tree.editLeaf(path)).readdress(at, address)
    await this.#free.set(index, bests[1])
    await this.#free.set(last, bests[0])
    const { isEmpty } = await this.#blocks.readData(last, false)
    if (isEmpty && (await this.#blocks.dropData(last))) await this.#dropped(last)
  }

  redirect(place: EntryPlace, ino: number, filetype: number): Soon<void> {
    return this.#blocks.redirect(place, ino, filetype)
  }

  #addHash(entry: HashEntry): Soon<void> {
    return after(this.#tree.firstPath(entry.hash), path =>
      after(this.#tree.editLeaf(path), block => {
        const leaf = this.#leaf(block)
        leaf.compact()
        if (leaf.count >= this.#blocks.layout.mostLeafEntries) return this.#splitLeaf(path, entry)
        leaf.insert(entry)
        return this.#tree.leafChanged(path)
      }),
    )
  }

  async #splitLeaf(path: HashPath, entry: HashEntry): Promise<void> {
    await this.#tree.splitLeaf(path, (old, added) => {
      const [lower, upper] = [this.#of(old), this.#of(added)]
      const all = [...lower.live, entry].sort(byHash)
      const half = Math.ceil(all.length / 2)
      upper.live = all.slice(half)
      lower.live = all.slice(0, half)
    })
  }

  /** The way to the leaf that has an entry, and which of the leaf's it is. */
  async #pathOf(entry: HashEntry): Promise<[path: HashPath, index: number]> {
    for await (const path of this.#tree.paths(entry.hash)) {
      const { entries } = this.#leaf(await this.#tree.readLeaf(path))
      const index = indexOfEntry(entries, entry)
      if (index !== undefined) return [path, index]
      if (entries.count > 0 && entries.hash(entries.count - 1) > entry.hash) break
    }
    throw this.#blocks.layout.corrupt(`its hashes do not tell of the entry at address ${entry.address}`)
  }

  async #removeHash(entry: HashEntry): Promise<void> {
    const [path] = await this.#pathOf(entry)
    const leaf = this.#leaf(await this.#tree.editLeaf(path))
    leaf.compact()
    leaf.remove(indexOfEntry(leaf.entries, entry) ?? 0)
    if (leaf.count === 0 && !(await this.#tree.isOnlyLeaf(path))) {
      await this.#tree.removeLeaf(path)
      return
    }
    await this.#tree.leafChanged(path)
    if (leaf.count <= this.#blocks.layout.mostLeafEntries / 2) await this.#join(path, leaf.count)
  }

  /** Joins a leaf that is half empty with one beside it, where both leave room in one. */
  async #join(path: HashPath, count: number): Promise<void> {
    const most = this.#blocks.layout.mostLeafEntries * JOINED_MOST
    for (const side of ['behind', 'before'] as const) {
      const other = await this.#tree.beside(path, side)
      if (other === undefined) continue
      const { live } = this.#leaf(await this.#tree.readLeaf(other))
      if (count + live.length > most) continue
      const [kept, gone] = side === 'behind' ? [path, other] : [other, path]
      const joined = this.#leaf(await this.#tree.editLeaf(kept))
      joined.live = [...joined.live, ...this.#leaf(await this.#tree.readLeaf(gone)).live]
      await this.#tree.leafChanged(kept)
      await this.#tree.removeLeaf(gone)
      return
    }
  }

  /** The table of free space joins the only leaf when both fit into a block (xfs_dir2_node_to_leaf). */
  async #toLeaf(): Promise<void> {
    const blocks = this.#blocks
    const path = await this.#tree.firstPath(0)
    if (path.steps.length > 0) return
    const bests = (await this.#free.only())?.bests
    if (bests === undefined) return
    const { view } = await this.#tree.readLeaf(path)
    const { live } = this.#of(view)
    if (!new LoneLeafBlock(view, blocks.layout).hasRoom(live.length, bests.length)) return
    const edited = (await this.#tree.editLeaf(path)).view
    const leaf = new LoneLeafBlock(edited, blocks.layout)
    leaf.live = live
    edited.setU16(8, LEAF1_MAGIC[blocks.layout.isV5 ? 1 : 0])
    edited.setU32(edited.length - 4, 0)
    leaf.bests = bests
    await blocks.shrink(blocks.freeBlock)
    await new LeafForm(blocks).shrinkForm()
  }

  #leaf({ view }: DaBlock): LeafBlock {
    return this.#of(view)
  }
  #of(view: ByteView): LeafBlock {
    return new LeafBlock(view, this.#blocks.layout)
  }
}
