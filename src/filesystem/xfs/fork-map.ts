import { Btree, MOST_LEVELS } from './btree.ts'
import { type BtreeBlock, rootInInode } from './btree-block.ts'
import { BMBT, type BmbtRecord, parseBmbtRecord } from './btree-kinds.ts'
import { type Dinode, FORMAT, type Fork } from './dinode.ts'
import { corrupt } from './errors.ts'
import { after, type Soon } from './soon.ts'
import type { XfsVolume } from './volume.ts'

const RECORD = 16

/** A run of blocks of a fork. */
export interface ForkRun {
  /** The first block in the fork. */
  readonly logical: number
  readonly count: number
  /** A block of the volume; `undefined` in a hole. */
  readonly block: number | undefined
  readonly unwritten: boolean
}

/** Where the blocks of a file, or of its attributes, lie. */
export class ForkMap {
  readonly #volume: XfsVolume
  readonly #inode: Dinode
  readonly #fork: Fork
  #records: readonly BmbtRecord[] | undefined

  constructor(volume: XfsVolume, inode: Dinode, fork: Fork) {
    this.#volume = volume
    this.#inode = inode
    this.#fork = fork
  }

  /** Blocks `from` up to, not including, `to`, without gaps; neighbouring extents stay apart. */
  async *runs(from: number, to: number): AsyncIterable<ForkRun> {
    if (this.#fork.format === FORMAT.EXTENTS) {
      yield* this.#runsInInode(from, to)
      return
    }
    let at = from
    for await (const record of this.extents(from)) {
      if (record.br_startoff >= to) break
      for (const run of this.#runsUpTo(record, at, to)) {
        yield run
        at = run.logical + run.count
      }
      if (at === to) return
    }
    if (at < to) yield hole(at, to)
  }

  /** All of `count` blocks from `from`; `undefined` when one is a hole or unwritten. */
  blocks(from: number, count: number): Soon<number[] | undefined> {
    return this.#blocksBehind([], from, count)
  }

  #blocksBehind(found: number[], from: number, count: number): Soon<number[] | undefined> {
    return after(this.#floor(from), record => {
      if (record === undefined || record.unwritten) return undefined
      const at = from - record.br_startoff
      if (at >= record.br_blockcount) return undefined
      const first = this.#volume.geometry.volumeBlock(record.br_startblock) + at
      const here = Math.min(count, record.br_blockcount - at)
      for (let index = 0; index < here; index++) found.push(first + index)
      return here === count ? found : this.#blocksBehind(found, from + here, count - here)
    })
  }

  /** The first block behind the last extent; 0 when there is none. */
  end(): Soon<number> {
    return after(this.#floor(Number.MAX_SAFE_INTEGER), last =>
      last === undefined ? 0 : last.br_startoff + last.br_blockcount,
    )
  }

  /** The last extent that begins at a block or before. */
  #floor(at: number): Soon<BmbtRecord | undefined> {
    const { format } = this.#fork
    if (format === FORMAT.BTREE)
      return after(this.#tree().floor(at), record => {
        if (record !== undefined) this.#check(record, 0)
        return record
      })
    if (format !== FORMAT.EXTENTS) throw this.#withoutBlocks()
    return this.#inInode().findLast(({ br_startoff }) => br_startoff <= at)
  }

  /** Extents in order, from the one that `from` may lie in. All lie in the volume, and none overlaps another in the fork. */
  async *extents(from = 0): AsyncIterable<BmbtRecord> {
    for await (const records of this.lists(from)) yield* records
  }

  /** All extents, where the inode itself has them. */
  get listed(): readonly BmbtRecord[] | undefined {
    return this.#fork.format === FORMAT.EXTENTS ? this.#inInode() : undefined
  }

  /** The same, those of one block of the tree at a time. */
  async *lists(from = 0): AsyncIterable<readonly BmbtRecord[]> {
    if (this.#fork.format === FORMAT.EXTENTS) {
      yield this.#inInode()
      return
    }
    let end = 0
    for await (const records of this.#leaves(from)) {
      for (const record of records) {
        this.#check(record, end)
        end = record.br_startoff + record.br_blockcount
      }
      yield records
    }
  }

  *#runsInInode(from: number, to: number): Iterable<ForkRun> {
    let at = from
    for (const record of this.#inInode()) {
      if (record.br_startoff >= to) break
      for (const run of this.#runsUpTo(record, at, to)) {
        yield run
        at = run.logical + run.count
      }
      if (at === to) return
    }
    if (at < to) yield hole(at, to)
  }

  /** The hole before an extent, and the extent, from block `at` on. */
  *#runsUpTo(record: BmbtRecord, at: number, to: number): Iterable<ForkRun> {
    const { br_startoff, br_startblock, br_blockcount, unwritten } = record
    const end = br_startoff + br_blockcount
    if (end <= at) return
    if (br_startoff > at) yield hole(at, br_startoff)
    const logical = Math.max(at, br_startoff)
    const block = this.#volume.geometry.volumeBlock(br_startblock) + (logical - br_startoff)
    yield { logical, count: Math.min(end, to) - logical, block, unwritten }
  }

  /** @param end of the extent before. */
  #check({ br_startoff, br_startblock, br_blockcount }: BmbtRecord, end: number): void {
    const wrong = (what: string) =>
      corrupt('extent', `inode ${this.#inode.ino}: the extent at block ${br_startoff} ${what}`, {
        inode: this.#inode.ino,
      })
    if (br_startoff < end) throw wrong(`overlaps the one before, which ends at ${end}`)
    if (!this.#volume.geometry.isRun(br_startblock, br_blockcount))
      throw wrong(`has ${br_blockcount} blocks from ${br_startblock}, which do not exist`)
  }

  async *#leaves(from: number): AsyncIterable<readonly BmbtRecord[]> {
    const { format } = this.#fork
    if (format === FORMAT.BTREE) yield* this.#tree().leaves(from)
    else throw this.#withoutBlocks()
  }

  #withoutBlocks(): Error {
    const { ino } = this.#inode
    return corrupt('inode', `inode ${ino} has no blocks (format ${this.#fork.format}), and some are needed`, {
      inode: ino,
    })
  }

  #inInode(): readonly BmbtRecord[] {
    if (this.#records !== undefined) return this.#records
    const { nextents, literal } = this.#fork
    const most = Math.floor(literal.length / RECORD)
    if (nextents > most)
      throw corrupt('inode', `inode ${this.#inode.ino} counts ${nextents} extents, and ${most} fit into it`, {
        inode: this.#inode.ino,
      })
    const records: BmbtRecord[] = []
    let end = 0
    for (let index = 0; index < nextents; index++) {
      const record = parseBmbtRecord(literal, index * RECORD)
      this.#check(record, end)
      end = record.br_startoff + record.br_blockcount
      records.push(record)
    }
    this.#records = records
    return records
  }

  #tree(): Btree<BmbtRecord> {
    const { geometry } = this.#volume
    const owner = this.#inode.ino
    return new Btree(
      BMBT,
      () => this.#root(),
      (pointer, level) => {
        const block = geometry.volumeBlock(pointer)
        const reference = { level, owner, isRoot: false }
        return (
          this.#volume.heldBtreeBlock(BMBT, block, reference) ??
          this.#volume.btreeBlock(BMBT, block, reference)
        )
      },
    )
  }

  /** The root in an inode is never a leaf: records would be extents of the inode itself. */
  #root(): BtreeBlock<BmbtRecord> {
    const root = rootInInode(BMBT, this.#fork.literal)
    const { level, count } = root
    if (level < 1 || level >= MOST_LEVELS || count < 1)
      throw corrupt('bmbt', `inode ${this.#inode.ino} has a tree of ${count} entries on level ${level}`, {
        inode: this.#inode.ino,
      })
    return root
  }
}

function hole(from: number, to: number): ForkRun {
  return { logical: from, count: to - from, block: undefined, unwritten: false }
}
