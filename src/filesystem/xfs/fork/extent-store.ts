import { DrydiskError } from '../../../errors.ts'
import type { Neighbours } from '../btree-edit.ts'
import type { ForkTree } from '../btree-fork.ts'
import type { BmbtRecord } from '../btree-kinds.ts'
import { DIFLAG2, type Dinode, FORMAT, type Fork } from '../dinode.ts'
import { corrupt } from '../errors.ts'
import { INCOMPAT } from '../features.ts'
import { after, type Soon } from '../soon.ts'
import type { XfsWriter } from '../writer.ts'
import { listedAround, listedExtents, listRoom, storeExtentList } from './extent-list.ts'
import { extentEnd } from './extents.ts'
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
  #knownTree: ForkTree | undefined

  constructor(writer: XfsWriter, inode: Dinode, which: WhichFork) {
    this.#writer = writer
    this.#inode = inode
    this.#which = which
  }

  /** The last extent that begins at block `at` of the file, or before, and the first one behind that. */
  around(at: number): Soon<Neighbours<BmbtRecord>> {
    const fork = this.#listFork
    return after(fork ? listedAround(fork, this.#inode.ino, at) : this.#tree.around(at), found => {
      this.#check(found.floor)
      this.#check(found.next)
      return found
    })
  }

  /** Extents that lie in blocks `from` up to, not including, `to`, or partly do; not all where there are more than `most`. */
  async within(from: number, to: number, most: number): Promise<BmbtRecord[]> {
    const found: BmbtRecord[] = []
    const listed = this.list
    let end = 0
    for await (const records of listed ? [listed] : this.#tree.leaves(from))
      for (const record of records) {
        const { br_startoff } = record
        if (br_startoff < end) throw this.#wrong(`has two extents for block ${br_startoff}`)
        end = extentEnd(record)
        if (end <= from) continue
        if (br_startoff >= to || found.length === most) return found
        this.#check(record)
        found.push(record)
      }
    return found
  }

  /** Records out, others in: the same stretch of the file before and after, with no further record in between. */
  change(before: readonly BmbtRecord[], news: readonly BmbtRecord[]): Soon<void> {
    const inode = this.#inode
    const { nextents, literal } = forkOf(inode, this.#which)
    const count = nextents + news.length - before.length
    if (count < 0) throw this.#wrong(`counts ${nextents} extents, and has more`)
    if (news.length > before.length) this.#requireCount(count)
    const room = listRoom(literal.length)
    const { list } = this
    if (list === undefined && count > room)
      return after(this.#changeTree(before, news), () => setExtentCount(inode, this.#which, count))
    return after(list ?? this.#tree.dissolve(nextents), records => {
      const now = replaced(records, before, news)
      if (now.length !== count) throw this.#wrong(`counts ${nextents} extents, and has others`)
      return this.#store(now, room)
    })
  }

  #store(records: readonly BmbtRecord[], room: number): Soon<void> {
    const inode = this.#inode
    const { geometry } = this.#writer.volume
    setExtentCount(inode, this.#which, records.length)
    if (records.length <= room) {
      setForkFormat(inode, this.#which, FORMAT.EXTENTS)
      return storeExtentList(forkOf(inode, this.#which), records)
    }
    const near = records[0]?.br_startblock ?? nearInode(geometry, inode.ino)
    return after(this.#tree.build(records, near), () => setForkFormat(inode, this.#which, FORMAT.BTREE))
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
    this.#knownTree ??= forkTree(this.#writer, this.#inode, this.#which)
    return this.#knownTree
  }

  #changeTree(before: readonly BmbtRecord[], news: readonly BmbtRecord[]): Soon<void> {
    const [old, now] = [before[0], news[0]]
    if (before.length > 1 && now === undefined) return this.#removeFromTree(before)
    if (before.length > 1 || news.length > 1) return this.#changeInTree(before, news)
    // Mostly one extent comes, grows or goes.
    if (old === undefined) return now && this.#tree.insert(now)
    return now
      ? this.#tree.replace(old.br_startoff, now)
      : after(this.#tree.remove(old.br_startoff), () => {})
  }

  async #removeFromTree(records: readonly BmbtRecord[]): Promise<void> {
    const [first, last] = [records[0], records.at(-1)]
    if (first === undefined || last === undefined) return
    const removed = await this.#tree.removeRun(first.br_startoff, last.br_startoff + 1)
    if (removed !== records.length)
      throw this.#wrong(
        `has ${removed} extents from block ${first.br_startoff} on, and ${records.length} were to go`,
      )
  }

  /** What has a key in common stays where it is; one for another with another key keeps its place too. */
  async #changeInTree(before: readonly BmbtRecord[], news: readonly BmbtRecord[]): Promise<void> {
    const tree = this.#tree
    const starts = new Set(before.map(({ br_startoff }) => br_startoff))
    const kept = new Set<number>()
    const coming: BmbtRecord[] = []
    for (const record of news)
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

  #check(record: BmbtRecord | undefined): void {
    if (record === undefined) return
    requireFileBlocks(this.#writer.volume, this.#inode.ino, record.br_startblock, record.br_blockcount)
  }

  #wrong(what: string): DrydiskError {
    return corrupt('inode', `inode ${this.#inode.ino} ${what}`, { inode: this.#inode.ino })
  }
}

function replaced(
  list: readonly BmbtRecord[],
  before: readonly BmbtRecord[],
  news: readonly BmbtRecord[],
): BmbtRecord[] {
  const going = new Set(before.map(({ br_startoff }) => br_startoff))
  const stay = list.filter(({ br_startoff }) => !going.has(br_startoff))
  const [first] = news
  const at = first === undefined ? -1 : stay.findIndex(({ br_startoff }) => br_startoff > first.br_startoff)
  return at < 0 ? [...stay, ...news] : [...stay.slice(0, at), ...news, ...stay.slice(at)]
}
