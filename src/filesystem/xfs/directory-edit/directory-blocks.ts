import { DrydiskError } from '../../../errors.ts'
import { DaFork } from '../da-block.ts'
import type { Dinode } from '../dinode.ts'
import { dirDataCheck, dirDataMagic, readDirData } from '../dir-data.ts'
import { type NamedInode, type NameRules, nameRules } from '../dir-name.ts'
import { type EntryPlace, LEAF_OFFSET, searchEntry } from '../dir-search.ts'
import { ForkEditor } from '../fork/fork-edit.ts'
import { after, type Soon } from '../soon.ts'
import { attempt } from '../transaction.ts'
import type { XfsWriter } from '../writer.ts'
import { DataBlock } from './data-block.ts'
import type { HashEntry } from './hash-list.ts'
import { DirLayout } from './layout.ts'

/** XFS_DIR2_FREE_OFFSET: bytes of hashes are below, of free space from here. */
const FREE_OFFSET = 2 ** 36
/** Which check of a buffer it is that its entries can be and its free space is listed right; the reader's is 0. */
const FREE_SPACE_CHECK = 1

/** An entry that has another place from now on: its hash as it was, its new address, and the longest free space of both blocks. */
export interface Moved {
  readonly hash: HashEntry
  readonly address: number
  readonly bests: readonly [from: number, to: number]
}

/** One of the forms of a directory with blocks. */
export interface BlockForm {
  /** @returns `false`, with nothing that counts changed, where the form has no room. */
  add(entry: NamedInode): Soon<boolean>
  /** The directory may have another form afterwards. */
  remove(place: EntryPlace): Soon<void>
  redirect(place: EntryPlace, ino: number, filetype: number): Soon<void>
}

/** The blocks of a directory that is open for change, by their place in its data. `di_size` follows them. */
export class DirectoryBlocks {
  readonly writer: XfsWriter
  readonly inode: Dinode
  readonly layout: DirLayout
  readonly rules: NameRules
  readonly editor: ForkEditor
  /** Filesystem blocks of one of its blocks. */
  readonly blockCount: number
  #fork: DaFork | undefined

  constructor(writer: XfsWriter, inode: Dinode) {
    const { superblock } = writer.volume
    this.writer = writer
    this.inode = inode
    this.layout = new DirLayout(superblock, inode.ino)
    this.rules = nameRules(superblock.hasAsciiCi)
    this.editor = new ForkEditor(writer, inode, 'data')
    this.blockCount = superblock.dirBlockSize / superblock.sb_blocksize
  }

  /** With the map as it is now. */
  get fork(): DaFork {
    this.#fork ??= new DaFork(this.writer.volume, this.inode.ino, this.editor.map, this.blockCount)
    return this.#fork
  }
  /** The first filesystem block of the hashes. */
  get leafBlock(): number {
    return LEAF_OFFSET / this.writer.volume.superblock.sb_blocksize
  }
  /** The first filesystem block of the tables of free space. */
  get freeBlock(): number {
    return FREE_OFFSET / this.writer.volume.superblock.sb_blocksize
  }

  /** Data blocks up to where the directory ends, as its size has it. */
  get dataBlocks(): number {
    return Math.ceil(Math.min(this.inode.di_size, LEAF_OFFSET) / this.layout.blockSize)
  }

  /** Blocks for one more block of the directory, in a hole. */
  async grow(first: number): Promise<void> {
    this.#fork = undefined
    await this.editor.allocate(first, this.blockCount)
  }

  async shrink(first: number): Promise<void> {
    this.#fork = undefined
    await this.editor.unmap(first, first + this.blockCount)
  }

  readData(index: number, single: boolean): Soon<DataBlock> {
    return after(
      readDirData(this.fork, index, single),
      ({ view }) => new DataBlock(view, this.layout, single),
    )
  }

  /** A data block to be changed, whose list of free spaces is right. */
  editData(index: number, single: boolean): Soon<DataBlock> {
    const magic = dirDataMagic(this.layout.isV5, single)
    const check = dirDataCheck(this.fork, index, single)
    return after(this.fork.edit(index * this.blockCount, 'data', [magic], check), ({ view }) => {
      const block = new DataBlock(view, this.layout, single)
      const { volume } = this.writer
      volume.verifyOnce(view.bytes, () => block.check(volume.geometry), FREE_SPACE_CHECK)
      return block
    })
  }

  /** A new data block without entries. */
  async newData(index: number): Promise<DataBlock> {
    const end = (index + 1) * this.layout.blockSize
    if (end > LEAF_OFFSET)
      throw new DrydiskError('ENOSPC', `directory ${this.inode.ino} has as many entries as it can hold`, {
        inode: this.inode.ino,
      })
    const first = index * this.blockCount
    await this.grow(first)
    const view = await this.fork.fresh(first, 'data', dirDataMagic(this.layout.isV5, false))
    const block = new DataBlock(view, this.layout, false)
    block.clear()
    if (this.inode.di_size < end) this.inode.di_size = end
    return block
  }

  /**
   * Does what frees blocks out of the middle of an extent, where there may be no space for the extent that it splits: then it is
   * taken back. What it changes it has to open for change itself.
   * @returns whether it was done.
   */
  async attempt(work: () => Promise<void>): Promise<boolean> {
    const done = await attempt(this.writer, async () => {
      await this.writer.inodes.edit(this.inode.ino)
      await work()
      return true
    })
    this.#fork = undefined
    return done ?? false
  }

  /** Frees a data block without entries, where there is space for that. The size is the caller's, which knows what is before it. */
  async dropData(index: number): Promise<boolean> {
    return this.attempt(() => this.shrink(index * this.blockCount))
  }

  /** Moves an entry to a data block without any: one that is empty is not to stay (xfs_repair removes it). */
  async moveEntry(from: number, to: number): Promise<Moved> {
    const [source, target] = [await this.editData(from, false), await this.editData(to, false)]
    const [entry] = source.entries()
    const space = entry && target.spaceFor(this.layout.entrySize(entry.name))
    if (entry === undefined || space === undefined)
      throw this.layout.corrupt(`blocks ${from} and ${to} are both empty`)
    source.remove(entry.offset)
    target.insert(entry, space)
    const address = this.layout.address(from, entry.offset)
    return {
      hash: { hash: this.rules.hash(entry.name), address },
      address: this.layout.address(to, space.offset),
      bests: [source.longest, target.longest],
    }
  }

  /** The entry that a name leads to, by its hash. @param ino what it is to lead to. */
  find(name: Uint8Array, ino?: number): Soon<EntryPlace | undefined> {
    const { fork, rules } = this
    return after(this.isSingle(), single => searchEntry({ fork, rules, single }, name, ino))
  }

  /** Where the entry is in a block of entries alone, it leads to another inode from now on. */
  redirect({ index, offset }: EntryPlace, ino: number, filetype: number): Soon<void> {
    return after(this.editData(index, false), block => block.redirect(offset, ino, filetype))
  }

  /** The form is told by where the last block is (xfs_dir2_isblock). */
  isSingle(): Soon<boolean> {
    return after(this.fork.map.end(), end => end === this.blockCount)
  }

  /** Whether the only block behind the data is a leaf (xfs_dir2_isleaf). */
  hasOneLeaf(): Soon<boolean> {
    return after(this.fork.map.end(), end => end === this.leafBlock + this.blockCount)
  }
}
