import { DrydiskError } from '../../../errors.ts'
import type { BmbtRecord } from '../btree-kinds.ts'
import { type Dinode, FORMAT } from '../dinode.ts'
import { corrupt } from '../errors.ts'
import { ForkMap, type ForkRun } from '../fork-map.ts'
import type { FsBlock } from '../geometry.ts'
import type { Extent, Owner, XfsWriter } from '../writer.ts'
import { ExtentStore } from './extent-store.ts'
import { extentEnd, extentPart, MOST_EXTENT_BLOCKS, mergeExtents } from './extents.ts'
import { forkOf, requireOnVolume, setExtentCount, setForkFormat, type WhichFork } from './fork-state.ts'
import { countBlocks, forkTree, nearInode } from './fork-tree.ts'

export { resizeForks } from './fork-resize.ts'

/** Blocks that a fork may span: br_startoff has 54 bits, of which 53 are exact here. */
const FORK_END = Number.MAX_SAFE_INTEGER

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

  /** Blocks for a hole of `count` blocks. What they held is still there. `ENOSPC` when there are none. */
  async allocate(logical: number, count: number, options: AllocateOptions = {}): Promise<ForkRun[]> {
    const { goal, unwritten = false, contiguous = false } = options
    const { space, volume } = this.#writer
    const runs: ForkRun[] = []
    if (contiguous && count > MOST_EXTENT_BLOCKS)
      throw new DrydiskError('ENOSPC', `inode ${this.#inode.ino}: no run has ${count} blocks`)
    let next = goal ?? (await this.#goal(logical))
    for (let at = logical; at < logical + count; ) {
      const wanted = Math.min(logical + count - at, MOST_EXTENT_BLOCKS)
      const least = contiguous ? wanted : 1
      const extent = await space.allocate({ goal: next, wanted, least, owner: this.owner(at, unwritten) })
      await this.place(at, extent, unwritten)
      const block = volume.geometry.volumeBlock(extent.start)
      runs.push({ logical: at, count: extent.count, block, unwritten })
      at += extent.count
      next = this.#behind(extent)
    }
    return runs
  }

  /** Maps blocks that were just allocated at a hole. */
  async place(logical: number, { start, count }: Extent, unwritten: boolean): Promise<void> {
    const record = { br_startoff: logical, br_startblock: start, br_blockcount: count, unwritten }
    const [before, after] = [await this.#store.floor(logical), await this.#store.ceiling(logical)]
    if (before !== undefined && extentEnd(before) > logical) throw this.#overlap(before)
    if (after !== undefined && after.br_startoff < logical + count) throw this.#overlap(after)
    await this.#exchange([], [record])
    countBlocks(this.#inode, count)
  }

  /** Frees what is mapped from block `from` up to, not including, `to`. */
  async unmap(from: number, to: number): Promise<void> {
    await this.#eachPart(from, to, async (record, part) => {
      const rest = remainders(record, part)
      await this.#store.change([record], rest)
      countBlocks(this.#inode, -part.br_blockcount)
      const extent = { start: part.br_startblock, count: part.br_blockcount }
      await this.#writer.space.free(extent, this.owner(part.br_startoff, part.unwritten))
    })
  }

  /** Takes out what is mapped from block `from` up to, not including, `to`, and gives it: whose the blocks are is the caller's. */
  async detach(from: number, to: number): Promise<BmbtRecord[]> {
    const parts: BmbtRecord[] = []
    await this.#eachPart(from, to, async (record, part) => {
      await this.#store.change([record], remainders(record, part))
      countBlocks(this.#inode, -part.br_blockcount)
      parts.push(part)
    })
    return parts
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
    const last = await this.#store.floor(FORK_END)
    return last === undefined ? 0 : extentEnd(last)
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
  async #from(at: number): Promise<BmbtRecord | undefined> {
    const before = await this.#store.floor(at)
    if (before !== undefined && extentEnd(before) > at) return before
    return this.#store.ceiling(at + 1)
  }

  /** As `ExtentStore.change`, where the new ones may continue what lies before and behind. */
  async #exchange(before: readonly BmbtRecord[], after: readonly BmbtRecord[]): Promise<void> {
    const [first, last] = [after[0], after.at(-1)]
    if (first === undefined || last === undefined) return this.#store.change(before, after)
    const left = first.br_startoff === 0 ? undefined : await this.#store.floor(first.br_startoff - 1)
    const right = await this.#store.ceiling(extentEnd(last))
    const around = [left, ...after, right].filter(record => record !== undefined)
    const merged = mergeExtents(around)
    const isMerged = (record: BmbtRecord | undefined) => record !== undefined && !merged.includes(record)
    const old = [...(isMerged(left) ? [left] : []), ...before, ...(isMerged(right) ? [right] : [])]
    const news = merged.filter(record => record !== left && record !== right)
    await this.#store.change(
      old.filter(record => record !== undefined),
      news,
    )
  }

  /** Behind the blocks before, else near the inode. */
  async #goal(logical: number): Promise<FsBlock> {
    const { geometry } = this.#writer.volume
    const before = await this.#store.floor(logical)
    if (before !== undefined)
      return this.#behind({ start: before.br_startblock, count: before.br_blockcount })
    const after = await this.#store.ceiling(logical)
    if (after !== undefined) return after.br_startblock
    return nearInode(geometry, this.#inode.ino)
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
export async function emptyFork(writer: XfsWriter, inode: Dinode, which: WhichFork): Promise<void> {
  const fork = which === 'data' ? inode.data : inode.attributes
  if (fork === undefined || (fork.format !== FORMAT.EXTENTS && fork.format !== FORMAT.BTREE)) return
  if (fork.format === FORMAT.EXTENTS && fork.nextents === 0) return
  const editor = new ForkEditor(writer, inode, which)
  for await (const { br_startoff, br_startblock, br_blockcount, unwritten } of editor.map.extents()) {
    const extent = { start: br_startblock, count: br_blockcount }
    await writer.space.free(extent, editor.owner(br_startoff, unwritten))
    countBlocks(inode, -br_blockcount)
  }
  if (fork.format === FORMAT.BTREE) await forkTree(writer, inode, which).freeAll()
  makeExtentFork(inode, which)
}

/** The fork is one of extents, with none, whatever it was: what it held is the caller's to keep. */
export function makeExtentFork(inode: Dinode, which: WhichFork): void {
  forkOf(inode, which).literal.bytes.fill(0)
  setForkFormat(inode, which, FORMAT.EXTENTS)
  setExtentCount(inode, which, 0)
}
