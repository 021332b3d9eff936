import { FORMAT } from '../dinode.ts'
import { blockLeafCount, dirDataMagic } from '../dir-data.ts'
import { LEAF1_MAGIC } from '../dir-leaf.ts'
import { dots, type NamedInode } from '../dir-name.ts'
import { emptyFork, makeExtentFork } from '../fork/fork-edit.ts'
import { type BlockForm, best, type DirectoryBlocks, type EntryPlace } from './directory-blocks.ts'
import { LoneLeafBlock } from './leaf-block.ts'
import { type ShortForm, shortFormSize, storeShortForm } from './short-form.ts'
import { SingleBlock } from './single-block.ts'

/** XFS_DIR3_FT_DIR */
const FILETYPE_DIRECTORY = 2
/** Which check of a buffer it is that its hashes and entries agree. */
const HASHES_CHECK = 2
const DOT = new Uint8Array([0x2e])
const DOTDOT = new Uint8Array([0x2e, 0x2e])

/** A directory of one block. */
export class SingleForm implements BlockForm {
  readonly #blocks: DirectoryBlocks

  constructor(blocks: DirectoryBlocks) {
    this.#blocks = blocks
  }

  async add(entry: NamedInode): Promise<boolean> {
    return (await this.#edit()).add(entry, this.#blocks.rules.hash(entry.name))
  }

  async find(name: Uint8Array, ino?: number): Promise<EntryPlace | undefined> {
    const { view } = await this.#blocks.readData(0, true)
    const { hashes } = new SingleBlock(view, this.#blocks.layout)
    return best(this.#blocks.matches(hashes, this.#blocks.rules.hash(name), name, true, ino))
  }

  async remove({ hash, offset }: EntryPlace): Promise<void> {
    const block = await this.#edit()
    block.remove(hash, offset)
    await this.shrinkForm()
  }

  async redirect(place: EntryPlace, ino: number, filetype: number): Promise<void> {
    const { data } = await this.#edit()
    data.redirect(place.offset, ino, filetype)
  }

  /** Hashes get a block of their own (xfs_dir2_block_to_leaf). */
  async toLeaf(): Promise<void> {
    const blocks = this.#blocks
    const { isV5 } = blocks.layout
    await blocks.grow(blocks.leafBlock)
    const block = await this.#edit()
    const hashes = block.takeHashes()
    block.view.setU32(0, dirDataMagic(isV5, false))
    const view = await blocks.fork.fresh(blocks.leafBlock, 'index', LEAF1_MAGIC[isV5 ? 1 : 0])
    const leaf = new LoneLeafBlock(view, blocks.layout)
    leaf.live = hashes
    leaf.bests = [(await blocks.editData(0, false)).longest]
  }

  /** The directory goes into its inode when it fits there (xfs_dir2_block_to_sf). */
  async shrinkForm(): Promise<void> {
    const { inode, layout, writer } = this.#blocks
    const data = await this.#blocks.readData(0, true)
    const room = inode.data.literal.length
    const { hasFtype } = layout
    // `.` and `..` have hashes too; an entry takes no less than this.
    const least = 6 + (blockLeafCount(data.view) - 2) * (hasFtype ? 9 : 8)
    if (least > room) return
    let parent: number | undefined
    const entries = []
    for (const entry of data.entries()) {
      if (dots(entry.name) === 2) parent = entry.ino
      else if (dots(entry.name) === 0) {
        if (entry.offset < layout.firstEntry) return
        entries.push(entry)
      }
    }
    if (parent === undefined) throw layout.corrupt('it has no parent')
    const form = { parent, entries }
    const size = shortFormSize(form, hasFtype)
    if (size > room) return
    await emptyFork(writer, inode, 'data')
    inode.di_format = FORMAT.LOCAL
    inode.di_size = size
    storeShortForm(inode.data.literal, form, hasFtype)
  }

  async #edit(): Promise<SingleBlock> {
    const { view } = await this.#blocks.editData(0, true)
    const block = new SingleBlock(view, this.#blocks.layout)
    this.#blocks.writer.volume.verifyOnce(view.bytes, () => block.check(this.#blocks.rules), HASHES_CHECK)
    return block
  }
}

/** A directory in its inode gets a block (xfs_dir2_sf_to_block). */
export async function shortToSingle(blocks: DirectoryBlocks, { parent, entries }: ShortForm): Promise<void> {
  const { inode, layout, rules } = blocks
  makeExtentFork(inode, 'data')
  await blocks.grow(0)
  const view = await blocks.fork.fresh(0, 'data', dirDataMagic(layout.isV5, true))
  const own = [
    { name: DOT, ino: inode.ino, filetype: FILETYPE_DIRECTORY, offset: layout.dataStart },
    { name: DOTDOT, ino: parent, filetype: FILETYPE_DIRECTORY, offset: layout.dotdotAt },
  ]
  new SingleBlock(view, layout).fill([...own, ...entries], name => rules.hash(name))
  inode.di_size = layout.blockSize
}
