import type { ByteView } from '../../../bytes/byte-view.ts'
import { BEST, type DirLayout, NO_BLOCK } from './layout.ts'

/** XFS_DIR2_FREE_MAGIC, XFS_DIR3_FREE_MAGIC */
const MAGIC = [0x5844_3246, 0x5844_4633] as const

export function freeBlockMagic(isV5: boolean): number {
  return MAGIC[isV5 ? 1 : 0]
}

/**
 * The longest free spaces of a run of data blocks (struct xfs_dir2_free, xfs_dir3_free): how many the table has, and how many of
 * them there are. Of those that are not it has NULLDATAOFF.
 */
export class FreeBlock {
  readonly view: ByteView
  readonly #at: number
  readonly #start: number

  constructor(view: ByteView, { freeFieldsAt, freeStart }: DirLayout) {
    this.view = view
    this.#at = freeFieldsAt
    this.#start = freeStart
  }

  /** The data block that the table begins with. */
  get firstdb(): number {
    return this.view.u32(this.#at)
  }
  set firstdb(index: number) {
    this.view.setU32(this.#at, index)
  }
  get nvalid(): number {
    return this.view.u32(this.#at + 4)
  }
  get nused(): number {
    return this.view.u32(this.#at + 8)
  }
  best(entry: number): number {
    return this.view.u16(this.#start + entry * BEST)
  }
  /** The first data block with so much room. */
  firstWith(size: number): number | undefined {
    const { nvalid } = this
    for (let entry = 0; entry < nvalid; entry++) {
      const best = this.best(entry)
      if (best >= size && best !== NO_BLOCK) return entry
    }
    return undefined
  }
  get bests(): number[] {
    return Array.from({ length: this.nvalid }, (_, entry) => this.best(entry))
  }
  /** No more than there is room for. */
  set bests(bests: readonly number[]) {
    for (const [entry, best] of bests.entries()) this.view.setU16(this.#start + entry * BEST, best)
    this.view.setU32(this.#at + 4, bests.length)
    this.view.setU32(this.#at + 8, bests.filter(best => best !== NO_BLOCK).length)
  }

  /** Of a data block that is there; the table grows as far as it must. */
  setBest(entry: number, best: number): void {
    const { nvalid } = this
    if (entry >= nvalid || this.best(entry) === NO_BLOCK) {
      for (let between = nvalid; between < entry; between++) this.#store(between, NO_BLOCK)
      this.view.setU32(this.#at + 4, Math.max(nvalid, entry + 1))
      this.view.setU32(this.#at + 8, this.nused + 1)
    }
    this.#store(entry, best)
  }

  /** The data block is gone. Blocks that are not there do not end the table. */
  remove(entry: number): void {
    this.#store(entry, NO_BLOCK)
    let end = this.nvalid
    while (end > 0 && this.best(end - 1) === NO_BLOCK) end--
    this.view.setU32(this.#at + 4, end)
    this.view.setU32(this.#at + 8, this.nused - 1)
  }

  #store(entry: number, best: number): void {
    this.view.setU16(this.#start + entry * BEST, best)
  }
}

/** Checks what is relied on before the table is used. */
export function checkFreeBlock(view: ByteView, layout: DirLayout, firstdb: number): void {
  const block = new FreeBlock(view, layout)
  if (block.firstdb !== firstdb || block.nvalid > layout.mostBests)
    throw layout.corrupt(
      `a block of free space tells of ${block.nvalid} blocks from ${block.firstdb}, expected at most ${layout.mostBests} from ${firstdb}`,
    )
  const used = block.bests.filter(best => best !== NO_BLOCK).length
  if (used !== block.nused)
    throw layout.corrupt(`a block of free space counts ${block.nused} blocks, and has ${used}`)
}
