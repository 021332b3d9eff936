import { DrydiskError } from '../../../errors.ts'
import type { Neighbours } from '../btree-edit.ts'
import type { BmbtRecord } from '../btree-kinds.ts'
import { type Dinode, FORMAT } from '../dinode.ts'
import { corrupt } from '../errors.ts'
import { ForkMap, type ForkRun } from '../fork-map.ts'
import type { FsBlock } from '../geometry.ts'
import { after, type Soon } from '../soon.ts'
import type { Extent, OwnedExtent, Owner, XfsWriter } from '../writer.ts'
import { ExtentStore } from './extent-store.ts'
import { extentEnd, extentPart, MOST_EXTENT_BLOCKS, mergeExtents } from './extents.ts'
import { forkOf, requireOnVolume, setExtentCount, setForkFormat, type WhichFork } from './fork-state.ts'
import { countBlocks, forkTree, nearInode } from './fork-tree.ts'

export { resizeForks } from './fork-resize.ts'

/** Blocks that a fork may span: br_startoff has 54 bits, of which 53 are exact here. */
const FORK_END = Number.MAX_SAFE_INTEGER

/** Blocks that a file has before it keeps apart from another, and bytes that it keeps apart at most. */
const LEAST_ROOM = 4
const MOST_ROOM_BYTES = 16 << 20

/** Extents that are freed at once, those that touch each other in one piece, so that memory stays bounded. */
const MOST_AT_ONCE = 1 << 16

export interface AllocateOptions {
  /** Where to look first; behind the blocks before it when left out. */
  readonly goal?: FsBlock
  /** The blocks read as zeros until they are written. */
  readonly unwritten?: boolean
  /** In one run, or not at all. */
  readonly contiguous?: boolean
}

/**
 * The extents of one fork of an inode that is open for change. `di_nblocks` and the count of extents follow; `di_size` is the
 * caller's. Only in a transaction.
 */
export class ForkEditor {
  readonly #writer: XfsWriter
  readonly #inode: Dinode
  readonly #which: WhichFork
  readonly #store: ExtentStore

  constructor(writer: XfsWriter, inode: Dinode, which: WhichFork) {
    requireOnVolume(inode, which)
    this.#writer = writer
    this.#inode = inode
    this.#which = which
    this.#store = new ExtentStore(writer, inode, which)
  }

  /** As the fork is now; another one after each change. */
  get map(): ForkMap {
    return new ForkMap(this.#writer.volume, this.#inode, forkOf(this.#inode, this.#which))
  }

  /** As the map gives them. */
  runs(from: number, to: number): Soon<ForkRun[]> {
    return after(this.#store.around(from), ({ floor, next }) => {
      const end = floor === undefined ? 0 : extentEnd(floor)
      if (floor !== undefined && end >= to) return [this.#run(from, extentPart(floor, from, to))]
      if (end <= from && (next === undefined || next.br_startoff >= to))
        return [{ logical: from, count: to - from, block: undefined, unwritten: false }]
      return this.#allRuns(from, to)
    })
  }

  async #allRuns(from: number, to: number): Promise<ForkRun[]> {
    const runs: ForkRun[] = []
    for await (const run of this.map.runs(from, to)) runs.push(run)
    return runs
  }

  #run(logical: number, { br_startblock, br_blockcount, unwritten }: BmbtRecord): ForkRun {
    const block = this.#writer.volume.geometry.volumeBlock(br_startblock)
    return { logical, count: br_blockcount, block, unwritten }
  }

  /** Blocks for a hole of `count` blocks. What they held is still there. `ENOSPC` when there are none. */
  allocate(logical: number, count: number, options: AllocateOptions = {}): Soon<ForkRun[]> {
    if (options.contiguous && count > MOST_EXTENT_BLOCKS)
      throw new DrydiskError('ENOSPC', `inode ${this.#inode.ino}: no run has ${count} blocks`)
    return after(this.#allocate(logical, count, options), first =>
      first.br_blockcount === count
        ? [this.#run(logical, first)]
        : this.#allocateRest(first, logical + count, options),
    )
  }

  async #allocateRest(first: BmbtRecord, end: number, options: AllocateOptions): Promise<ForkRun[]> {
    const runs = [this.#run(first.br_startoff, first)]
    for (let last = first; extentEnd(last) < end; ) {
      const at = extentEnd(last)
      const goal = this.#behind({ start: last.br_startblock, count: last.br_blockcount })
      last = await this.#allocate(at, end - at, { ...options, goal })
      runs.push(this.#run(at, last))
    }
    return runs
  }

  /** One extent of `count` blocks or less. */
  #allocate(logical: number, count: number, options: AllocateOptions): Soon<BmbtRecord> {
    const { unwritten = false, contiguous = false } = options
    const wanted = Math.min(count, MOST_EXTENT_BLOCKS)
    const owner = this.owner(logical, unwritten)
    return after(this.#store.around(logical), around => {
      const allocated = this.#writer.space.allocate({
        goal: options.goal ?? this.#goal(around),
        wanted,
        least: contiguous ? wanted : 1,
        room: around.next === undefined ? this.#room : 0,
        owner,
      })
      return after(allocated, ({ start, count: blocks }) => {
        const record = { br_startoff: logical, br_startblock: start, br_blockcount: blocks, unwritten }
        return after(this.#place(record, around), () => record)
      })
    })
  }

  /** Maps blocks that were just allocated at a hole. */
  place(logical: number, { start, count }: Extent, unwritten: boolean): Soon<void> {
    const record = { br_startoff: logical, br_startblock: start, br_blockcount: count, unwritten }
    return after(this.#store.around(logical), around => this.#place(record, around))
  }

  #place(record: BmbtRecord, { floor, next }: Neighbours<BmbtRecord>): Soon<void> {
    if (floor !== undefined && extentEnd(floor) > record.br_startoff) throw this.#overlap(floor)
    if (next !== undefined && next.br_startoff < extentEnd(record)) throw this.#overlap(next)
    return after(this.#exchangeBetween(floor, next, [], [record]), () =>
      countBlocks(this.#inode, record.br_blockcount),
    )
  }

  /** Frees what is mapped from block `from` up to, not including, `to`. */
  async unmap(from: number, to: number): Promise<void> {
    for (;;) {
      const parts = await this.#detachSome(from, to)
      await this.#writer.space.freeAll(parts.map(part => this.#owned(part)))
      if (parts.length < MOST_AT_ONCE) return
    }
  }

  /** Takes out what is mapped from block `from` up to, not including, `to`, and gives it: whose the blocks are is the caller's. */
  async detach(from: number, to: number): Promise<BmbtRecord[]> {
    const detached: BmbtRecord[] = []
    for (;;) {
      const parts = await this.#detachSome(from, to)
      for (const part of parts) detached.push(part)
      if (parts.length < MOST_AT_ONCE) return detached
    }
  }

  /** As `detach`, as far as that is done at once. */
  async #detachSome(from: number, to: number): Promise<BmbtRecord[]> {
    const whole: BmbtRecord[] = []
    const parts: BmbtRecord[] = []
    let blocks = 0
    for (const record of await this.#store.within(from, to, MOST_AT_ONCE)) {
      const part = extentPart(record, Math.max(from, record.br_startoff), Math.min(to, extentEnd(record)))
      const rest = remainders(record, part)
      // The first and the last one at most.
      if (rest.length > 0) await this.#store.change([record], rest)
      else whole.push(record)
      parts.push(part)
      blocks += part.br_blockcount
    }
    if (whole.length > 0) await this.#store.change(whole, [])
    countBlocks(this.#inode, -blocks)
    return parts
  }

  /** What an extent has, for the space. */
  #owned({ br_startoff, br_startblock, br_blockcount, unwritten }: BmbtRecord): OwnedExtent {
    const extent = { start: br_startblock, count: br_blockcount }
    return { extent, owner: this.owner(br_startoff, unwritten) }
  }

  /** Frees the blocks of extents that the fork is about to lose with all that it has. */
  freeLost(records: readonly BmbtRecord[]): Soon<void> {
    countBlocks(this.#inode, -records.reduce((blocks, { br_blockcount }) => blocks + br_blockcount, 0))
    return this.#writer.space.freeAll(records.map(record => this.#owned(record)))
  }

  /** Unwritten blocks of the range count as written. */
  async setWritten(from: number, to: number): Promise<void> {
    await this.#eachPart(from, to, async (record, part) => {
      if (!record.unwritten) return
      const written = { ...part, unwritten: false }
      await this.#exchange([record], inOrder([...remainders(record, part), written]))
      const extent = { start: part.br_startblock, count: part.br_blockcount }
      await this.#writer.space.convert(extent, this.owner(part.br_startoff, true))
    })
  }

  /** The first block behind the last extent; 0 when there is none. */
  async end(): Promise<number> {
    const { floor } = await this.#store.around(FORK_END)
    return floor === undefined ? 0 : extentEnd(floor)
  }

  /** The lowest hole of `count` blocks that is not below `from`. */
  async firstHole(from: number, count: number): Promise<number> {
    let at = from
    for await (const record of this.map.extents(from)) {
      if (record.br_startoff >= at + count) break
      at = Math.max(at, extentEnd(record))
    }
    return at
  }

  /** Who owns blocks of the fork, from one of them on. */
  owner(offset: number, unwritten = false): Owner {
    const attribute = this.#which === 'attribute'
    return { owner: BigInt(this.#inode.ino), offset, attribute, bmbt: false, unwritten }
  }

  /** Every extent that is mapped in a range, and the part of it that is. The extent may be changed meanwhile. */
  async #eachPart(
    from: number,
    to: number,
    use: (record: BmbtRecord, part: BmbtRecord) => Promise<void>,
  ): Promise<void> {
    for (let at = from; at < to; ) {
      const record = await this.#from(at)
      if (record === undefined || record.br_startoff >= to) return
      const start = Math.max(at, record.br_startoff)
      const end = Math.min(to, extentEnd(record))
      await use(record, extentPart(record, start, end))
      at = end
    }
  }

  /** The extent that block `at` lies in, or the next one. */
  #from(at: number): Soon<BmbtRecord | undefined> {
    return after(this.#store.around(at), ({ floor, next }) =>
      floor !== undefined && extentEnd(floor) > at ? floor : next,
    )
  }

  /** As `ExtentStore.change`, where the new ones may continue what lies before and behind. */
  async #exchange(before: readonly BmbtRecord[], news: readonly BmbtRecord[]): Promise<void> {
    const [first, last] = [news[0], news.at(-1)]
    if (first === undefined || last === undefined) return this.#store.change(before, news)
    const left = first.br_startoff === 0 ? undefined : (await this.#store.around(first.br_startoff - 1)).floor
    const { next } = await this.#store.around(extentEnd(last) - 1)
    return this.#exchangeBetween(left, next, before, news)
  }

  #exchangeBetween(
    left: BmbtRecord | undefined,
    right: BmbtRecord | undefined,
    before: readonly BmbtRecord[],
    news: readonly BmbtRecord[],
  ): Soon<void> {
    const around: BmbtRecord[] = []
    if (left !== undefined) around.push(left)
    around.push(...news)
    if (right !== undefined) around.push(right)
    const merged = mergeExtents(around)
    const old: BmbtRecord[] = []
    if (left !== undefined && merged[0] !== left) old.push(left)
    old.push(...before)
    if (right !== undefined && merged.at(-1) !== right) old.push(right)
    return this.#store.change(
      old,
      merged.filter(record => record !== left && record !== right),
    )
  }

  /** Behind the blocks before, else near the inode. */
  #goal({ floor, next }: Neighbours<BmbtRecord>): FsBlock {
    if (floor !== undefined) return this.#behind({ start: floor.br_startblock, count: floor.br_blockcount })
    return next?.br_startblock ?? nearInode(this.#writer.volume.geometry, this.#inode.ino)
  }

  /**
   * For whoever is in the way of a file that grows, as much as it has itself: files that are written by turns have few extents
   * then, as Linux has it by allocating ahead (xfs_iomap_prealloc_size) and giving back what is too much when they are closed.
   */
  get #room(): number {
    const { di_nblocks, type } = this.#inode
    if (this.#which !== 'data' || type !== 'file' || di_nblocks < LEAST_ROOM) return 0
    return Math.min(di_nblocks, Math.floor(MOST_ROOM_BYTES / this.#writer.volume.geometry.blockSize))
  }

  /** The next block; at the end of the allocation group one that there is. */
  #behind({ start, count }: Extent): FsBlock {
    const { geometry } = this.#writer.volume
    const next = start + count
    return geometry.isBlock(geometry.agOf(next), geometry.agBlockOf(next)) ? next : start
  }

  #overlap({ br_startoff }: BmbtRecord): DrydiskError {
    return this.#wrong(`has an extent at block ${br_startoff}, where a hole was`)
  }

  #wrong(what: string): DrydiskError {
    return corrupt('inode', `inode ${this.#inode.ino} ${what}`, { inode: this.#inode.ino })
  }
}

/** What of an extent lies before a part of it, and behind. */
function remainders(record: BmbtRecord, part: BmbtRecord): BmbtRecord[] {
  const rest: BmbtRecord[] = []
  if (record.br_startoff < part.br_startoff)
    rest.push(extentPart(record, record.br_startoff, part.br_startoff))
  if (extentEnd(part) < extentEnd(record)) rest.push(extentPart(record, extentEnd(part), extentEnd(record)))
  return rest
}

function inOrder(records: BmbtRecord[]): BmbtRecord[] {
  return records.sort((a, b) => a.br_startoff - b.br_startoff)
}

/** Frees all blocks of a fork of extents, which has none then. Other forms stay as they are. */
export function emptyFork(writer: XfsWriter, inode: Dinode, which: WhichFork): Soon<void> {
  const fork = which === 'data' ? inode.data : inode.attributes
  if (fork === undefined || (fork.format !== FORMAT.EXTENTS && fork.format !== FORMAT.BTREE)) return
  if (fork.format === FORMAT.EXTENTS && fork.nextents === 0) return
  const editor = new ForkEditor(writer, inode, which)
  const { map } = editor
  const freed = map.listed ? editor.freeLost(map.listed) : freeTree(writer, inode, editor, which)
  return after(freed, () => makeExtentFork(inode, which))
}

async function freeTree(
  writer: XfsWriter,
  inode: Dinode,
  editor: ForkEditor,
  which: WhichFork,
): Promise<void> {
  let some: BmbtRecord[] = []
  for await (const records of editor.map.lists()) {
    for (const record of records) some.push(record)
    if (some.length < MOST_AT_ONCE) continue
    await editor.freeLost(some)
    some = []
  }
  await editor.freeLost(some)
  await forkTree(writer, inode, which).freeAll()
}

/** The fork is one of extents, with none, whatever it was: what it held is the caller's to keep. */
export function makeExtentFork(inode: Dinode, which: WhichFork): void {
  forkOf(inode, which).literal.bytes.fill(0)
  setForkFormat(inode, which, FORMAT.EXTENTS)
  setExtentCount(inode, which, 0)
}
