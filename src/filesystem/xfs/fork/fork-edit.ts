import type { Dinode } from '../dinode.ts'
import { ForkMap, type ForkRun } from '../fork-map.ts'
import type { FsBlock } from '../geometry.ts'
import type { XfsWriter } from '../writer.ts'

/** Which of an inode's forks. */
export type WhichFork = 'data' | 'attribute'

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
  readonly writer: XfsWriter
  readonly inode: Dinode
  readonly which: WhichFork

  constructor(writer: XfsWriter, inode: Dinode, which: WhichFork) {
    this.writer = writer
    this.inode = inode
    this.which = which
  }

  /** As the fork is now; another one after each change. */
  get map(): ForkMap {
    const { inode, writer, which } = this
    const fork = which === 'data' ? inode.data : inode.attributes
    if (fork === undefined) throw new Error(`inode ${inode.ino} has no attribute fork`)
    return new ForkMap(writer.volume, inode, fork)
  }

  /** Blocks for a hole of `count` blocks. What they held is still there. `ENOSPC` when there are none. */
  async allocate(_logical: number, _count: number, _options: AllocateOptions = {}): Promise<ForkRun[]> {
    throw new Error('not yet')
  }

  /** Frees what is mapped from block `from` up to, not including, `to`. */
  async unmap(_from: number, _to: number): Promise<void> {
    throw new Error('not yet')
  }

  /** Unwritten blocks of the range count as written. */
  async setWritten(_from: number, _to: number): Promise<void> {
    throw new Error('not yet')
  }

  /** The first block behind the last extent; 0 when there is none. */
  async end(): Promise<number> {
    throw new Error('not yet')
  }

  /** The lowest hole of `count` blocks that is not below `from`. */
  async firstHole(_from: number, _count: number): Promise<number> {
    throw new Error('not yet')
  }
}

/** Frees all blocks of a fork of extents, which has none then. Other forms stay as they are. */
export async function emptyFork(_writer: XfsWriter, _inode: Dinode, _which: WhichFork): Promise<void> {
  throw new Error('not yet')
}

/** The fork is one of extents, with none, whatever it was: what it held is the caller's to keep. */
export function makeExtentFork(_inode: Dinode, _which: WhichFork): void {
  throw new Error('not yet')
}

/**
 * Moves the boundary between the forks; both keep what they hold. From 0 there is an attribute fork from now on, of extents and
 * empty; to 0 there is none any more, which an empty one alone may become.
 * @param forkoff in units of 8 bytes, as di_forkoff.
 * @returns `false`, with nothing changed, where one of them does not fit.
 */
export async function resizeForks(_writer: XfsWriter, _inode: Dinode, _forkoff: number): Promise<boolean> {
  throw new Error('not yet')
}
