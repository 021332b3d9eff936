import { DrydiskError } from '../../../errors.ts'
import type { BmbtRecord } from '../btree-kinds.ts'
import type { Dinode } from '../dinode.ts'
import type { XfsWriter } from '../writer.ts'

/** The tree of a fork whose extents do not fit into the inode. */
export class ForkTree {
  readonly #inode: Dinode

  constructor(_writer: XfsWriter, inode: Dinode, _which: 'data' | 'attribute') {
    this.#inode = inode
  }

  async floor(_at: number): Promise<BmbtRecord | undefined> {
    throw this.#missing()
  }
  async ceiling(_at: number): Promise<BmbtRecord | undefined> {
    throw this.#missing()
  }
  async insert(_record: BmbtRecord): Promise<void> {
    throw this.#missing()
  }
  async remove(_startoff: number): Promise<void> {
    throw this.#missing()
  }
  async replace(_startoff: number, _record: BmbtRecord): Promise<void> {
    throw this.#missing()
  }
  async all(): Promise<BmbtRecord[]> {
    throw this.#missing()
  }
  async dissolve(): Promise<void> {
    throw this.#missing()
  }
  async plant(_records: readonly BmbtRecord[]): Promise<void> {
    throw this.#missing()
  }

  #missing(): DrydiskError {
    return new DrydiskError('ERR_UNSUPPORTED', `inode ${this.#inode.ino} has a tree of extents`)
  }
}
