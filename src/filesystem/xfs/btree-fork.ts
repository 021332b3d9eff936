import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { type BtreeBlock, mostRootEntries, newRootInInode, rootInInode } from './btree-block.ts'
import { BtreeEditor } from './btree-edit.ts'
import type { BlockSource } from './btree-edit-store.ts'
import { BMBT, type BmbtRecord } from './btree-kinds.ts'
import { growRoot, shrinkRoot } from './btree-root.ts'
import type { XfsVolume } from './volume.ts'

/** The tree of a fork's extents, whose root is in the inode. */
export class ForkTree extends BtreeEditor<BmbtRecord> {
  readonly #literal: () => ByteView

  /** @param literal the fork's literal area, of an inode that is open for change when the tree is changed. */
  constructor(volume: XfsVolume, ino: number, literal: () => ByteView, blocks: BlockSource) {
    const volumeBlock = (pointer: number) => volume.geometry.volumeBlock(pointer)
    super({ volume, kind: BMBT, owner: ino, root: { in: 'inode', literal }, blocks, volumeBlock })
    this.#literal = literal
  }

  /**
   * Makes the literal area, whatever it holds, the root of a tree of these extents, in order and at least one. The inode's
   * format is the caller's to set.
   * @param near a filesystem block to have the tree's first one near to.
   */
  async build(records: readonly BmbtRecord[], near: number): Promise<void> {
    if (records.length === 0) throw new Error('a tree of no extents')
    if (mostRootEntries(BMBT, this.#literal().length) === 0)
      throw this.tree.wrong(
        `cannot be: its fork has ${this.#literal().length} bytes, and no root fits into it`,
      )
    const leaf = await this.tree.create(0, near, [])
    const first = records.slice(0, leaf.block.most)
    for (const [index, record] of first.entries()) leaf.block.insertRecord(index, record)
    newRootInInode(BMBT, this.#literal(), 1).insertChild(0, leaf.pointer, leaf.block)
    for (const record of records.slice(first.length)) await this.insert(record)
  }

  /**
   * Frees all blocks of the tree and gives its records; the literal area is zeros then.
   * @param most `ERR_CORRUPT` when there are more.
   */
  async dissolve(most: number): Promise<BmbtRecord[]> {
    const records: BmbtRecord[] = []
    for await (const leaf of this.leaves()) {
      if (records.length + leaf.length > most) throw this.tree.wrong(`has more than ${most} extents`)
      for (const record of leaf) records.push(record)
    }
    await this.freeAll()
    return records
  }

  /** Frees all blocks of the tree without reading its leaves; the literal area is zeros then. */
  async freeAll(): Promise<void> {
    await this.#freeBelow((await this.tree.root()).block)
    this.#literal().bytes.fill(0)
  }

  async #freeBelow(block: BtreeBlock<BmbtRecord>): Promise<void> {
    for (let index = 0; index < block.count; index++) {
      if (block.level > 1) await this.#freeBelow((await this.tree.child(block, index)).block)
      await this.tree.release(block.pointer(index))
    }
  }

  /**
   * Makes the root fit into a literal area of so many bytes: its entries move into a new block where they do not, and those of
   * an only child come back where they do. To be called before the area becomes smaller, and after it has become larger.
   */
  async fitRoot(bytes: number): Promise<void> {
    const step = await this.tree.root()
    if (step.block.count > mostRootEntries(BMBT, bytes)) await growRoot(this.store, this.tree, [step])
    else await shrinkRoot(this.store, this.tree, bytes)
  }
}

/**
 * Moves a root between literal areas of another size, on which depends where its pointers are.
 * @param from a copy of the area as it was.
 * @param to the area as it is to be; it has room (`ForkTree.fitRoot`).
 */
export function moveForkRoot(from: Uint8Array, to: Uint8Array): void {
  const root = rootInInode(BMBT, bigEndian(from, 'xfs bmbt root'))
  root.moveStartTo(newRootInInode(BMBT, bigEndian(to, 'xfs bmbt root'), root.level), root.count)
}
