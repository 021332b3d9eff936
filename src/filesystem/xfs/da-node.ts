import type { ByteView } from '../../bytes/byte-view.ts'
import type { DaFork } from './da-block.ts'

const MAGIC = { v4: 0xfebe, v5: 0x3ebe } as const
/** The root is on this level at most: ways to a leaf have XFS_DA_NODE_MAXDEPTH (5) blocks, the leaf among them. */
export const MOST_NODE_LEVEL = 4
const ENTRY = 8

/** Bytes of struct xfs_da_blkinfo, or xfs_da3_blkinfo of version 5: what nodes and leaves begin with. */
export function daInfoSize(isV5: boolean): number {
  return isV5 ? 56 : 12
}

/** The neighbours on a block's level as its header has them; 0 where there is none. */
export const daLinks = {
  forw: (view: ByteView): number => view.u32(0),
  back: (view: ByteView): number => view.u32(4),
  setForw: (view: ByteView, block: number): void => view.setU32(0, block),
  setBack: (view: ByteView, block: number): void => view.setU32(4, block),
} as const

export function daNodeMagic(isV5: boolean): number {
  return isV5 ? MAGIC.v5 : MAGIC.v4
}

/** An entry of a node: the highest hash in a child, and its first block in the fork. */
export interface DaNodeEntry {
  readonly hash: number
  readonly child: number
}

/** struct xfs_da_intnode: for each child the highest hash in it, and where it is. */
export class DaNode {
  readonly view: ByteView
  readonly #base: number
  readonly #entries: number

  constructor(view: ByteView, isV5: boolean) {
    this.view = view
    this.#base = daInfoSize(isV5)
    this.#entries = isV5 ? 64 : 16
  }

  get capacity(): number {
    return Math.floor((this.view.length - this.#entries) / ENTRY)
  }
  get count(): number {
    return this.view.u16(this.#base)
  }
  get level(): number {
    return this.view.u16(this.#base + 2)
  }
  set level(level: number) {
    this.view.setU16(this.#base + 2, level)
  }
  get lastHash(): number {
    return this.hash(this.count - 1)
  }
  hash(index: number): number {
    return this.view.u32(this.#entries + index * ENTRY)
  }
  child(index: number): number {
    return this.view.u32(this.#entries + index * ENTRY + 4)
  }
  /** Which child the first entries of a hash may be below: the first one that does not end before it, else the last. */
  indexFrom(hash: number): number {
    let low = 0
    let high = this.count - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.hash(middle) < hash) low = middle + 1
      else high = middle
    }
    return low
  }
  setHash(index: number, hash: number): void {
    this.view.setU32(this.#entries + index * ENTRY, hash)
  }
  get entries(): DaNodeEntry[] {
    return Array.from({ length: this.count }, (_, index) => ({
      hash: this.hash(index),
      child: this.child(index),
    }))
  }
  /** No more than `capacity`. */
  set entries(entries: readonly DaNodeEntry[]) {
    this.view.setU16(this.#base, entries.length)
    this.view.bytes.fill(0, this.#entries)
    for (const [index, { hash, child }] of entries.entries()) {
      this.setHash(index, hash)
      this.view.setU32(this.#entries + index * ENTRY + 4, child)
    }
  }
  insert(index: number, entry: DaNodeEntry): void {
    this.entries = this.entries.toSpliced(index, 0, entry)
  }
  remove(index: number): void {
    this.entries = this.entries.toSpliced(index, 1)
  }
}

/** Checks what the header says, before anything is read by it. */
export function checkDaNode(fork: DaFork, { count, level, capacity }: DaNode): void {
  if (count < 1 || count > capacity || level < 1 || level > MOST_NODE_LEVEL)
    throw fork.corrupt(
      `a node has ${count} entries on level ${level}, expected 1 to ${capacity} on 1 to ${MOST_NODE_LEVEL}`,
    )
}
