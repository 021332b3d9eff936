import { DrydiskError } from '../../../errors.ts'
import type { ForkTree } from '../btree-fork.ts'
import type { BmbtRecord } from '../btree-kinds.ts'
import { DIFLAG2, type Dinode, FORMAT, type Fork } from '../dinode.ts'
import { corrupt } from '../errors.ts'
import { INCOMPAT } from '../features.ts'
import type { XfsWriter } from '../writer.ts'
import { listedExtents, listedFloor, listRoom, storeExtentList } from './extent-list.ts'
import { requireFileBlocks } from './file-blocks.ts'
import { forkOf, setExtentCount, setForkFormat, type WhichFork } from './fork-state.ts'
import { forkTree, nearInode } from './fork-tree.ts'

/** Extents that a fork may have: XFS_MAX_EXTCNT_*_FORK_SMALL, and XFS_MAX_EXTCNT_*_FORK_LARGE with wider counters. */
const MOST_EXTENTS = {
  data: { small: 2 ** 31 - 1, large: 2 ** 48 - 1 },
  attribute: { small: 2 ** 15 - 1, large: 2 ** 32 - 1 },
} as const

/** The records of one fork, in the inode while they fit there and in a tree otherwise, and the count of them. */
export class ExtentStore {
  readonly #writer: XfsWriter
  readonly #inode: Dinode
  readonly #which: WhichFork

  constructor(writer: XfsWriter, inode: Dinode, which: WhichFork) {
    this.#writer = writer
    this.#inode = inode
    this.#which = which
  }

  /** The last extent that begins at block `at` of the file, or before. */
  async floor(at: number): Promise<BmbtRecord | undefined> {
    const fork = this.#listFork
    return this.#checked(fork ? listedFloor(fork, this.#inode.ino, at) : await this.#tree.floor(at))
  }

  /** The first extent that begins at block `at` of the file, or behind. */
  async ceiling(at: number): Promise<BmbtRecord | undefined> {
    const { list } = this
    const found =
      list === undefined ? await this.#tree.ceiling(at) : list.find(({ br_startoff }) => br_startoff >= at)
    return this.#checked(found)
  }

  /** Records out, others in: the same stretch of the file before and after, with no further record in between. */
  async change(before: readonly BmbtRecord[], after: readonly BmbtRecord[]): Promise<void> {
    const inode = this.#inode
    const { geometry } = this.#writer.volume
    const { nextents, literal } = forkOf(inode, this.#which)
    const count = nextents + after.length - before.length
    if (count < 0) throw this.#wrong(`counts ${nextents} extents, and has more`)
    if (after.length > before.length) this.#requireCount(count)
    const room = listRoom(literal.length)
    const { list } = this
    if (list === undefined && count > room) {
      await this.#changeTree(before, after)
      setExtentCount(inode, this.#which, count)
      return
    }
    const records = [...replaced(list ?? (await this.#tree.dissolve(nextents)), before, after)]
    if (records.length !== count) throw this.#wrong(`counts ${nextents} extents, and has others`)
    setExtentCount(inode, this.#which, count)
    if (count <= room) {
      setForkFormat(inode, this.#which, FORMAT.EXTENTS)
      storeExtentList(forkOf(inode, this.#which), records)
    } else {
      await this.#tree.build(records, records[0]?.br_startblock ?? nearInode(geometry, inode.ino))
      setForkFormat(inode, this.#which, FORMAT.BTREE)
    }
  }

  /** The records that are in the inode; `undefined` when they are in a tree. */
  get list(): BmbtRecord[] | undefined {
    const fork = this.#listFork
    return fork && listedExtents(fork, this.#inode.ino)
  }

  get #listFork(): Fork | undefined {
    const fork = forkOf(this.#inode, this.#which)
    if (fork.format === FORMAT.EXTENTS) return fork
    if (fork.format === FORMAT.BTREE) return undefined
    throw this.#wrong(`has no blocks (format ${fork.format}), and some are needed`)
  }

  get #tree(): ForkTree {
    return forkTree(this.#writer, this.#inode, this.#which)
  }

  /** What has a key in common stays where it is; one for another with another key keeps its place too. */
  async #changeTree(before: readonly BmbtRecord[], after: readonly BmbtRecord[]): Promise<void> {
    const tree = this.#tree
    const starts = new Set(before.map(({ br_startoff }) => br_startoff))
    const kept = new Set<number>()
    const coming: BmbtRecord[] = []
    for (const record of after)
      if (starts.has(record.br_startoff)) {
        kept.add(record.br_startoff)
        await tree.replace(record.br_startoff, record)
      } else coming.push(record)
    const going = before.filter(({ br_startoff }) => !kept.has(br_startoff))
    const [out, into] = [going[0], coming[0]]
    if (going.length === 1 && coming.length === 1 && out !== undefined && into !== undefined)
      return tree.replace(out.br_startoff, into)
    for (const { br_startoff } of going) await tree.remove(br_startoff)
    for (const record of coming) await tree.insert(record)
  }

  /** The counters become the wider ones where the filesystem has them (xfs_iext_count_upgrade), else there is an end. */
  #requireCount(count: number): void {
    const inode = this.#inode
    const { small, large } = MOST_EXTENTS[this.#which]
    const hasNrext64 = (this.#writer.volume.superblock.sb_features_incompat & INCOMPAT.NREXT64) !== 0
    const isLarge = (inode.di_flags2 & DIFLAG2.NREXT64) !== 0n
    if (count <= (isLarge ? large : small)) return
    if (isLarge || !hasNrext64)
      throw new DrydiskError('EFBIG', `inode ${inode.ino} cannot have more than ${count - 1} extents`, {
        inode: inode.ino,
      })
    const { dataExtents, attributeExtents } = inode
    inode.dataExtents = 0
    inode.attributeExtents = 0
    inode.di_flags2 |= DIFLAG2.NREXT64
    inode.dataExtents = dataExtents
    inode.attributeExtents = attributeExtents
  }

  #checked(record: BmbtRecord | undefined): BmbtRecord | undefined {
    if (record === undefined) return undefined
    requireFileBlocks(this.#writer.volume, this.#inode.ino, record.br_startblock, record.br_blockcount)
    return record
  }

  #wrong(what: string): DrydiskError {
    return corrupt('inode', `inode ${this.#inode.ino} ${what}`, { inode: this.#inode.ino })
  }
}

function* replaced(
  list: readonly BmbtRecord[],
  before: readonly BmbtRecord[],
  after: readonly BmbtRecord[],
): Iterable<BmbtRecord> {
  const out = new Set(before.map(({ br_startoff }) => br_startoff))
  const into = [...after]
  for (const record of list) {
    if (out.has(record.br_startoff)) continue
    while (into[0] !== undefined && into[0].br_startoff < record.br_startoff) {
      yield into[0]
      into.shift()
    }
    yield record
  }
  yield* into
}
