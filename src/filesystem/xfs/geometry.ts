import { corrupt } from './errors.ts'
import type { Superblock } from './superblock.ts'

/** A block number as extents and long-form trees have it: the allocation group above the block in the group. */
export type FsBlock = number
/** The number of a block of the volume, counted without gaps. */
export type VolumeBlock = number

/** Where an inode lies. */
export interface InodePlace {
  readonly agno: number
  readonly agbno: number
  /** Which of the block's inodes. */
  readonly index: number
}

/** Basic blocks, the unit of disk addresses in headers (BBSIZE). */
const BASIC_BLOCK = 512

/** How block, inode and disk addresses turn into each other (xfs_format.h, XFS_FSB_TO_*, XFS_INO_TO_*). Every conversion checks its range. */
export class Geometry {
  readonly blockSize: number
  readonly agBlocks: number
  readonly agCount: number
  readonly blocks: number
  readonly #agUnit: number
  readonly #inodesPerBlock: number

  constructor(superblock: Superblock) {
    this.blockSize = superblock.sb_blocksize
    this.agBlocks = superblock.sb_agblocks
    this.agCount = superblock.sb_agcount
    this.blocks = superblock.sb_dblocks
    this.#agUnit = 2 ** superblock.sb_agblklog
    this.#inodesPerBlock = superblock.sb_inopblock
  }

  /** Blocks of one allocation group; the last may be shorter. */
  agLength(agno: number): number {
    return Math.min(this.agBlocks, this.blocks - agno * this.agBlocks)
  }

  agOf(fsblock: FsBlock): number {
    return Math.floor(fsblock / this.#agUnit)
  }

  agBlockOf(fsblock: FsBlock): number {
    return fsblock % this.#agUnit
  }

  fsBlock(agno: number, agbno: number): FsBlock {
    return agno * this.#agUnit + agbno
  }

  isBlock(agno: number, agbno: number): boolean {
    return agno >= 0 && agno < this.agCount && agbno >= 0 && agbno < this.agLength(agno)
  }

  /** Whether the run lies in one allocation group, which no extent leaves. */
  isRun(fsblock: FsBlock, count: number): boolean {
    const [agno, agbno] = [this.agOf(fsblock), this.agBlockOf(fsblock)]
    return count > 0 && this.isBlock(agno, agbno) && agbno + count <= this.agLength(agno)
  }

  inAg(agno: number, agbno: number): VolumeBlock {
    if (!this.isBlock(agno, agbno))
      throw corrupt(
        'block number',
        `block ${agbno} of allocation group ${agno} is referred to and does not exist`,
      )
    return agno * this.agBlocks + agbno
  }

  volumeBlock(fsblock: FsBlock): VolumeBlock {
    return this.inAg(this.agOf(fsblock), this.agBlockOf(fsblock))
  }

  /** Of a volume's block, in 512-byte units, as the headers of version 5 give it. */
  diskAddress(block: VolumeBlock): number {
    return block * (this.blockSize / BASIC_BLOCK)
  }

  /** Byte offset of a sector of an allocation group's headers. */
  agByte(agno: number): number {
    return agno * this.agBlocks * this.blockSize
  }

  /** `undefined` for what cannot be an inode number here. */
  inodePlace(ino: number): InodePlace | undefined {
    const index = ino % this.#inodesPerBlock
    const fsblock = Math.floor(ino / this.#inodesPerBlock)
    const [agno, agbno] = [this.agOf(fsblock), this.agBlockOf(fsblock)]
    return this.isBlock(agno, agbno) ? { agno, agbno, index } : undefined
  }

  inodeNumber(agno: number, agino: number): number {
    return agno * this.#agUnit * this.#inodesPerBlock + agino
  }
}
