import { DIFLAG2, type Dinode } from '../dinode.ts'
import type { ForkRun } from '../fork-map.ts'
import type { FsBlock, VolumeBlock } from '../geometry.ts'
import { after, type Soon } from '../soon.ts'
import type { XfsWriter } from '../writer.ts'
import { requireFileBlocks } from './file-blocks.ts'
import { ForkEditor } from './fork-edit.ts'

/** A run of a file's blocks that may be written now. */
export interface WritableRun {
  readonly logical: number
  readonly count: number
  readonly block: VolumeBlock
  /**
   * What the file's content was, and is to stay where it is not written: in these blocks, in others (which other files share),
   * or zeros, whatever the blocks hold.
   */
  readonly content: 'here' | 'zeros' | { readonly at: VolumeBlock }
}

/** Makes blocks of a file ready to be written: fills holes, takes a file's own copy of what is shared. */
export class WritableBlocks {
  readonly #writer: XfsWriter
  readonly #inode: Dinode
  readonly #editor: ForkEditor
  /** The first block that lies behind the file's end: what is there never was content. */
  readonly #end: number

  /** @param size of the file before the change. */
  constructor(writer: XfsWriter, inode: Dinode, size: number) {
    this.#writer = writer
    this.#inode = inode
    this.#editor = new ForkEditor(writer, inode, 'data')
    this.#end = Math.ceil(size / writer.volume.geometry.blockSize)
  }

  /** All blocks from `first` up to, not including, `last`. */
  fill(first: number, last: number): Soon<WritableRun[]> {
    return this.#prepare(first, last, true)
  }

  /** Those of them that hold content; others read as zeros. */
  existing(first: number, last: number): Soon<WritableRun[]> {
    return this.#prepare(first, last, false)
  }

  /** Frees blocks behind the file's end in which something may be: they read as zeros then. */
  async drop(first: number, last: number): Promise<void> {
    for (const run of await this.#runs(Math.max(first, this.#end), last))
      if (run.block !== undefined && !run.unwritten)
        await this.#editor.unmap(run.logical, run.logical + run.count)
  }

  #prepare(first: number, last: number, all: boolean): Soon<WritableRun[]> {
    return after(this.#runs(first, last), runs => {
      const [run] = runs
      return runs.length === 1 && run !== undefined ? this.#ready(run, all) : this.#allReady(runs, all)
    })
  }

  async #allReady(runs: readonly ForkRun[], all: boolean): Promise<WritableRun[]> {
    const ready: WritableRun[] = []
    for (const run of runs) ready.push(...(await this.#ready(run, all)))
    return ready
  }

  #ready(run: ForkRun, all: boolean): Soon<WritableRun[]> {
    const { logical, count, block } = run
    if (block !== undefined && (all || !run.unwritten)) return this.#own(run, block)
    return all ? after(this.#editor.allocate(logical, count), fresh) : []
  }

  /** As the map has them now, but none lies on both sides of the file's end. */
  #runs(first: number, last: number): Soon<ForkRun[]> {
    if (first >= this.#end || last <= this.#end) return first < last ? this.#editor.runs(first, last) : []
    return after(this.#editor.runs(first, this.#end), before =>
      after(this.#editor.runs(this.#end, last), behind => this.#joinHoles([...before, ...behind])),
    )
  }

  /** A hole over the end of the file is filled in one piece. */
  #joinHoles(runs: readonly ForkRun[]): ForkRun[] {
    const joined: ForkRun[] = []
    for (const run of runs) {
      const before = joined.at(-1)
      if (before !== undefined && before.block === undefined && run.block === undefined)
        joined[joined.length - 1] = { ...before, count: before.count + run.count }
      else joined.push(run)
    }
    return joined
  }

  /** Blocks that are there, as far as no other file has them too; copies of the others. */
  #own(run: ForkRun, block: VolumeBlock): Soon<WritableRun[]> {
    const { logical, count, unwritten } = run
    requireFileBlocks(this.#writer.volume, this.#inode.ino, this.#fsBlock(block), count)
    if (unwritten || (this.#inode.di_flags2 & DIFLAG2.REFLINK) !== 0n) return this.#makeOwn(run, block)
    return [{ logical, count, block, content: logical >= this.#end ? 'zeros' : 'here' }]
  }

  async #makeOwn(run: ForkRun, block: VolumeBlock): Promise<WritableRun[]> {
    const { logical, count } = run
    const blank = run.unwritten || logical >= this.#end
    const ready: WritableRun[] = []
    for (let at = logical; at < logical + count; ) {
      const left = logical + count - at
      const here = block + (at - logical)
      const shared = await this.#firstShared(here, left)
      const own = shared === undefined ? left : shared.block - here
      if (own > 0) {
        if (run.unwritten) await this.#editor.setWritten(at, at + own)
        ready.push({ logical: at, count: own, block: here, content: blank ? 'zeros' : 'here' })
        at += own
      }
      if (shared === undefined) continue
      await this.#editor.unmap(at, at + shared.count)
      for (const copy of fresh(await this.#editor.allocate(at, shared.count)))
        ready.push(blank ? copy : { ...copy, content: { at: shared.block + (copy.logical - at) } })
      at += shared.count
    }
    return ready
  }

  async #firstShared(
    block: VolumeBlock,
    count: number,
  ): Promise<{ block: VolumeBlock; count: number } | undefined> {
    if ((this.#inode.di_flags2 & DIFLAG2.REFLINK) === 0n) return undefined
    const { geometry } = this.#writer.volume
    const shared = await this.#writer.space.firstShared({ start: this.#fsBlock(block), count })
    return shared && { block: geometry.volumeBlock(shared.start), count: shared.count }
  }

  #fsBlock(block: VolumeBlock): FsBlock {
    const { geometry } = this.#writer.volume
    return geometry.fsBlock(Math.floor(block / geometry.agBlocks), block % geometry.agBlocks)
  }
}

function fresh(runs: readonly ForkRun[]): WritableRun[] {
  const ready: WritableRun[] = []
  for (const { logical, count, block } of runs)
    if (block !== undefined) ready.push({ logical, count, block, content: 'zeros' })
  return ready
}
