import type { ByteView } from '../../../bytes/byte-view.ts'
import { DrydiskError } from '../../../errors.ts'
import type { DaBlock, DaFork } from '../da-block.ts'
import type { HashTreeStore } from '../da-edit.ts'
import { checkDaNode, DaNode, daInfoSize, daLinks, daNodeMagic } from '../da-node.ts'
import type { LeafShape } from '../da-tree.ts'
import { dirLeafShape, LEAFN_MAGIC } from '../dir-leaf.ts'
import type { DirectoryBlocks } from './directory-blocks.ts'
import { LeafBlock } from './leaf-block.ts'

/** Where the tree of a directory's hashes lives. Blocks that a change leaves over are freed by `settle` after it. */
export class DirectoryHashes implements HashTreeStore {
  readonly #blocks: DirectoryBlocks
  readonly #left: number[] = []

  constructor(blocks: DirectoryBlocks) {
    this.#blocks = blocks
  }

  get fork(): DaFork {
    return this.#blocks.fork
  }
  get root(): number {
    return this.#blocks.leafBlock
  }
  get leaf(): LeafShape {
    const { fork, layout } = this.#blocks
    return { magics: [LEAFN_MAGIC[layout.isV5 ? 1 : 0]], check: dirLeafShape(fork).check }
  }

  lastHash({ view }: DaBlock): number {
    const { entries } = new LeafBlock(view, this.#blocks.layout)
    return entries.hash(entries.count - 1)
  }

  async allocate(): Promise<number> {
    const { blockCount, editor, freeBlock, inode, layout, leafBlock } = this.#blocks
    const first = await editor.firstHole(leafBlock, blockCount)
    if (first % blockCount !== 0) throw layout.corrupt('blocks of its hashes are out of place')
    if (first + blockCount > freeBlock)
      throw new DrydiskError('ENOSPC', `directory ${inode.ino} has as many hashes as it can hold`, {
        inode: inode.ino,
      })
    await this.#blocks.grow(first)
    return first
  }

  async free(block: number): Promise<void> {
    this.#left.push(block)
  }

  /**
   * Frees what is left over. Where there is no space for the extent that this splits, the last block moves there, and its place
   * is freed instead (as in xfs_da3_swap_lastblock).
   */
  async settle(): Promise<void> {
    for (const block of this.#left.splice(0).sort((a, b) => b - a)) {
      if (await this.#blocks.attempt(() => this.#blocks.shrink(block))) continue
      const last = await this.#last()
      if (last > block) await this.#move(last, block)
      await this.#blocks.shrink(last)
    }
  }

  /** The last block of the hashes. */
  async #last(): Promise<number> {
    const { blockCount, freeBlock, leafBlock } = this.#blocks
    let end = leafBlock
    for await (const { br_startoff, br_blockcount } of this.fork.map.extents(leafBlock)) {
      if (br_startoff >= freeBlock) break
      end = br_startoff + br_blockcount
    }
    return end - blockCount
  }

  /** A block of the tree takes another's place, which is not in use. */
  async #move(from: number, to: number): Promise<void> {
    const { isV5 } = this.#blocks.layout
    const { view, magic } = await this.#read(from)
    const isNode = magic === daNodeMagic(isV5)
    const node = new DaNode(view, isV5)
    const hash = isNode ? node.lastHash : this.lastHash({ view, magic })
    const [back, forw] = [daLinks.back(view), daLinks.forw(view)]
    const moved = await this.fork.fresh(to, 'index', magic)
    moved.bytes.set(view.bytes.subarray(daInfoSize(isV5)), daInfoSize(isV5))
    daLinks.setBack(moved, back)
    daLinks.setForw(moved, forw)
    if (back !== 0) daLinks.setForw(await this.#edit(back), to)
    if (forw !== 0) daLinks.setBack(await this.#edit(forw), to)
    const [parent, index] = await this.#parentOf(from, hash, isNode ? node.level + 1 : 1)
    const above = new DaNode(await this.#edit(parent), isV5)
    above.entries = above.entries.map((entry, at) => (at === index ? { ...entry, child: to } : entry))
  }

  /** The node above a block, and which of its entries leads there. */
  async #parentOf(child: number, hash: number, level: number): Promise<[block: number, index: number]> {
    const { layout } = this.#blocks
    const { isV5 } = layout
    const met = new Set<number>()
    let block = this.root
    while (!met.has(block)) {
      met.add(block)
      const { view, magic } = await this.#read(block)
      const node = new DaNode(view, isV5)
      if (magic !== daNodeMagic(isV5)) break
      const { entries } = node
      if (node.level > level) {
        const next = entries.find(entry => entry.hash >= hash) ?? entries.at(-1)
        block = next?.child ?? this.root
        continue
      }
      const index = entries.findIndex(entry => entry.child === child)
      if (index >= 0) return [block, index]
      // Blocks with one hash may be under the next node.
      block = daLinks.forw(view) || this.root
    }
    throw layout.corrupt(`its hashed tree does not lead to block ${child}`)
  }

  async #read(block: number): Promise<DaBlock> {
    return this.fork.read(block, 'index', this.#magics, (view, magic) => this.#check(view, magic))
  }

  async #edit(block: number): Promise<ByteView> {
    const check = (view: ByteView, magic: number) => this.#check(view, magic)
    return (await this.fork.edit(block, 'index', this.#magics, check)).view
  }

  get #magics(): readonly number[] {
    return [daNodeMagic(this.#blocks.layout.isV5), ...this.leaf.magics]
  }

  #check(view: ByteView, magic: number): void {
    const { isV5 } = this.#blocks.layout
    if (magic === daNodeMagic(isV5)) checkDaNode(this.fork, new DaNode(view, isV5))
    else this.leaf.check(view, magic)
  }
}
