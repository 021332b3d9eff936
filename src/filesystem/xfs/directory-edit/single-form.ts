import { FORMAT } from '../dinode.ts'
import { blockLeafCount, dirDataMagic } from '../dir-data.ts'
import { LEAF1_MAGIC } from '../dir-leaf.ts'
import { dots, type NamedInode } from '../dir-name.ts'
import type { EntryPlace } from '../dir-search.ts'
import { emptyFork, makeExtentFork } from '../fork/fork-edit.ts'
import { after, type Soon } from '../soon.ts'
import type { DataBlock } from './data-block.ts'
import type { BlockForm, DirectoryBlocks } from './directory-blocks.ts'
import { LoneLeafBlock } from './leaf-block.ts'
import { leastShortFormSize, type ShortForm, shortFormSize, storeShortForm } from './short-form.ts'
import { SingleBlock } from './single-block.ts'

/** XFS_DIR3_FT_DIR */
const FILETYPE_DIRECTORY = 2
/** Which check of a buffer it is that its hashes and entries agree. */
const HASHES_CHECK = 2
/** `.` and `..` together. */
const DOTS = { entries: 2, bytes: 3 } as const
const DOT = new Uint8Array([0x2e])
const DOTDOT = new Uint8Array([0x2e, 0x2e])

/** A directory of one block. */
export class SingleForm implements BlockForm {
  readonly #blocks: DirectoryBlocks

  constructor(blocks: DirectoryBlocks) {
    this.#blocks = blocks
  }

  add(entry: NamedInode): Soon<boolean> {
    return after(this.#edit(), block => block.add(entry, this.#blocks.rules.hash(entry.name)))
  }

  remove({ hash, offset }: EntryPlace): Soon<void> {
    return after(this.#edit(), block => {
      block.remove(hash, offset)
      return this.shrinkForm()
    })
  }

  redirect({ offset }: EntryPlace, ino: number, filetype: number): Soon<void> {
    return after(this.#edit(), ({ data }) => data.redirect(offset, ino, filetype))
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
  shrinkForm(): Soon<void> {
    const { inode, layout } = this.#blocks
    return after(this.#blocks.readData(0, true), data => {
      const room = inode.data.literal.length
      // `.` and `..` are not in the inode. Most often there is no need to look at each of the entries.
      const entries = blockLeafCount(data.view) - DOTS.entries
      const least = (nameBytes: number) => leastShortFormSize(entries, nameBytes, layout.hasFtype)
      if (least(entries) > room || least(data.nameBytes - DOTS.bytes) > room) return
      const form = this.#asShort(data)
      if (form === undefined || shortFormSize(form, layout.hasFtype) > room) return
      return this.#toShort(form)
    })
  }

  /** What the directory would be in its inode; `undefined` where it cannot be there. */
  #asShort(data: DataBlock): ShortForm | undefined {
    const { layout } = this.#blocks
    let parent: number | undefined
    const entries = []
    for (const entry of data.entries()) {
      if (dots(entry.name) === 2) parent = entry.ino
      else if (dots(entry.name) === 0) {
        if (entry.offset < layout.firstEntry) return undefined
        entries.push(entry)
      }
    }
    if (parent === undefined) throw layout.corrupt('it has no parent')
    return { parent, entries }
  }

  async #toShort(form: ShortForm): Promise<void> {
    const { inode, layout, writer } = this.#blocks
    await emptyFork(writer, inode, 'data')
    inode.di_format = FORMAT.LOCAL
    inode.di_size = shortFormSize(form, layout.hasFtype)
    storeShortForm(inode.data.literal, form, layout.hasFtype)
  }

  #edit(): Soon<SingleBlock> {
    const { layout, writer } = this.#blocks
    return after(this.#blocks.editData(0, true), ({ view }) => {
      const block = new SingleBlock(view, layout)
      writer.volume.verifyOnce(view.bytes, () => block.check(this.#blocks.rules), HASHES_CHECK)
      return block
    })
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
