import { agTree, type BtreeEditor } from '../btree-edit.ts'
import { agfRoot, type BlockSource } from '../btree-edit-store.ts'
import { RMAP_OFFSET, RMAPBT, type RmapRecord } from '../btree-kinds.ts'
import { corrupt } from '../errors.ts'
import type { XfsVolume } from '../volume.ts'
import type { Owner } from '../writer.ts'
import type { Run } from './free-extents.ts'

const { ATTRIBUTE, BMBT, UNWRITTEN } = RMAP_OFFSET
const FLAGS = ATTRIBUTE | BMBT | UNWRITTEN

const MOST_64 = (1n << 64n) - 1n

/** Owners that are no inode have the highest bit (XFS_RMAP_NON_INODE_OWNER). */
export const isInode = (owner: bigint) => owner < 1n << 63n

/** Of a block of a tree or of no inode, no place in a fork is known, and none takes part in merging. */
const hasOffset = ({ owner, bmbt }: Owner) => isInode(owner) && !bmbt

const flagsOf = ({ attribute, bmbt, unwritten }: Owner) =>
  (attribute ? ATTRIBUTE : 0n) | (bmbt ? BMBT : 0n) | (unwritten ? UNWRITTEN : 0n)

/** The record of blocks that begin `ahead` of what `owner.offset` is of. */
const recordOf = ({ start, count }: Run, owner: Owner, ahead: number): RmapRecord => ({
  rm_startblock: start,
  rm_blockcount: count,
  rm_owner: owner.owner,
  rm_offset: flagsOf(owner) | (hasOffset(owner) ? BigInt(owner.offset + ahead) : 0n),
})

const endOf = ({ rm_startblock, rm_blockcount }: RmapRecord) => rm_startblock + rm_blockcount

/** What an allocation group's blocks are used for: one tree whose records may overlap where files share blocks. */
export class ReverseMap {
  readonly #volume: XfsVolume
  readonly #agno: number
  readonly #tree: BtreeEditor<RmapRecord>

  constructor(volume: XfsVolume, agno: number, blocks: BlockSource) {
    this.#volume = volume
    this.#agno = agno
    this.#tree = agTree(volume, RMAPBT, agno, agfRoot(volume, agno, 'rmap'), blocks)
  }

  /** Blocks get an owner. A record beside them that goes on in the same fork grows instead (xfs_rmap_map). */
  async map(run: Run, owner: Owner): Promise<void> {
    const end = run.start + run.count
    const left = await this.#left(run.start, owner)
    const right = await this.#tree.find(RMAPBT.keyOf(recordOf({ start: end, count: 1 }, owner, run.count)))
    const joinsRight = right !== undefined && (right.rm_offset & FLAGS) === flagsOf(owner)
    const more = run.count + (joinsRight ? right.rm_blockcount : 0)
    if (left !== undefined) {
      if (joinsRight) await this.#tree.remove(RMAPBT.keyOf(right))
      await this.#tree.replace(RMAPBT.keyOf(left), { ...left, rm_blockcount: left.rm_blockcount + more })
    } else if (joinsRight) await this.#move(right, recordOf({ start: run.start, count: more }, owner, 0))
    else await this.#tree.insert(recordOf(run, owner, 0))
  }

  /**
   * Blocks from the run's first one on lose their owner, as far as one record has them (xfs_rmap_unmap).
   * @returns how many of them did.
   */
  async unmap(run: Run, owner: Owner): Promise<number> {
    const held = await this.#owned(run.start, owner)
    const count = Math.min(run.count, endOf(held) - run.start)
    await this.#cut(held, { start: run.start, count })
    return count
  }

  /** As `unmap`, for blocks whose owner is not known; what nobody owns is passed over (XFS_RMAP_OWN_UNKNOWN, in log recovery). */
  async unmapAny(run: Run): Promise<number> {
    const held = await this.#tree.floor(this.#top(run.start))
    if (held !== undefined && endOf(held) > run.start) {
      const count = Math.min(run.count, endOf(held) - run.start)
      await this.#cut(held, { start: run.start, count })
      return count
    }
    const next = await this.#tree.ceiling(this.#top(run.start))
    return next === undefined ? run.count : Math.min(run.count, next.rm_startblock - run.start)
  }

  /** Takes blocks out of a record. */
  async #cut(held: RmapRecord, { start, count }: Run): Promise<void> {
    const withOffset = isInode(held.rm_owner) && (held.rm_offset & BMBT) === 0n
    const before = start - held.rm_startblock
    const after = endOf(held) - (start + count)
    const rest: RmapRecord = {
      ...held,
      rm_startblock: start + count,
      rm_blockcount: after,
      rm_offset: held.rm_offset + (withOffset ? BigInt(before + count) : 0n),
    }
    if (before === 0 && after === 0) await this.#tree.remove(RMAPBT.keyOf(held))
    else if (before === 0) await this.#move(held, rest)
    else {
      await this.#tree.replace(RMAPBT.keyOf(held), { ...held, rm_blockcount: before })
      if (after > 0) await this.#tree.insert(rest)
    }
  }

  /** Where records overlap, one that begins elsewhere may have another place in the order. */
  async #move(from: RmapRecord, to: RmapRecord): Promise<void> {
    if (!this.#mayOverlap(to)) await this.#tree.replace(RMAPBT.keyOf(from), to)
    else {
      await this.#tree.remove(RMAPBT.keyOf(from))
      await this.#tree.insert(to)
    }
  }

  /** The record that ends where these blocks begin and goes on with them. */
  async #left(start: number, owner: Owner): Promise<RmapRecord | undefined> {
    const expected = recordOf({ start, count: 1 }, owner, 0)
    const joins = (found: RmapRecord) =>
      endOf(found) === start && this.#goesOn(found, expected, hasOffset(owner))
    if (start === 0) return undefined
    const last = await this.#tree.floor(RMAPBT.keyOf(expected))
    if (last === undefined) return undefined
    if (joins(last)) return last
    if (!this.#mayOverlap(expected)) {
      if (endOf(last) > start) throw this.#wrong(start, 'are free and have an owner')
      return undefined
    }
    for await (const found of this.#tree.overlapping(this.#bottom(start - 1), this.#top(start - 1)))
      if (joins(found)) return found
    return undefined
  }

  /** The owner's record that has a block. `ERR_CORRUPT` when there is none. */
  async #owned(block: number, owner: Owner): Promise<RmapRecord> {
    const expected = recordOf({ start: block, count: 1 }, owner, 0)
    const has = (found: RmapRecord) =>
      found.rm_startblock <= block && block < endOf(found) && this.#goesOn(found, expected, hasOffset(owner))
    const last = await this.#tree.floor(RMAPBT.keyOf(expected))
    if (last !== undefined && has(last)) return last
    if (this.#mayOverlap(expected))
      for await (const found of this.#tree.overlapping(this.#bottom(block), this.#top(block)))
        if (has(found)) return found
    throw this.#wrong(block, `do not belong to ${BigInt.asIntN(64, owner.owner)} by the reverse mapping`)
  }

  /** Whether a record and a later one are of one fork, and as far from each other there as on the volume. */
  #goesOn(found: RmapRecord, later: RmapRecord, withOffset: boolean): boolean {
    const ahead = withOffset ? BigInt(later.rm_startblock - found.rm_startblock) : 0n
    return found.rm_owner === later.rm_owner && found.rm_offset + ahead === later.rm_offset
  }

  /** Files share blocks of their data, and nothing else is shared: no record begins in the blocks of any other. */
  #mayOverlap({ rm_owner, rm_offset }: RmapRecord): boolean {
    const isData = isInode(rm_owner) && (rm_offset & (ATTRIBUTE | BMBT)) === 0n
    return isData && this.#volume.superblock.hasReflink
  }

  #bottom(block: number): bigint {
    return BigInt(block) << 128n
  }

  #top(block: number): bigint {
    return this.#bottom(block) | (MOST_64 << 64n) | MOST_64
  }

  #wrong(block: number, what: string) {
    return corrupt('rmapbt', `blocks from ${block} on of allocation group ${this.#agno} ${what}`, {
      agno: this.#agno,
      block,
    })
  }
}
