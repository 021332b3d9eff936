import type { InodeNumber, Timestamp } from '../filesystem.ts'
import type { Dinode } from './dinode.ts'
import type { FsBlock } from './geometry.ts'
import type { Inodes } from './inodes.ts'
import type { Soon } from './soon.ts'
import type { XfsVolume } from './volume.ts'

/** A run of blocks in one allocation group. */
export interface Extent {
  readonly start: FsBlock
  readonly count: number
}

/** Whose blocks are, as the reverse mapping has it (struct xfs_owner_info, XFS_RMAP_* of xfs_format.h). */
export interface Owner {
  /** An inode number, or one of `OWN`. */
  readonly owner: bigint
  /** The first block in the fork; 0 for blocks of a tree and for all that is of no inode. */
  readonly offset: number
  /** Of the attribute fork. */
  readonly attribute: boolean
  /** A block of the tree that maps the fork. */
  readonly bmbt: boolean
  readonly unwritten: boolean
}

/** XFS_RMAP_OWN_*: owners that are no inode. */
export const OWN = {
  NULL: -1n,
  UNKNOWN: -2n,
  FS: -3n,
  LOG: -4n,
  AG: -5n,
  INOBT: -6n,
  INODES: -7n,
  REFC: -8n,
  COW: -9n,
} as const

/** Blocks and whose they are. */
export interface OwnedExtent {
  readonly extent: Extent
  readonly owner: Owner
}

/** The owner of what is of no inode. */
export function structureOwner(owner: (typeof OWN)[keyof typeof OWN]): Owner {
  return { owner: BigInt.asUintN(64, owner), offset: 0, attribute: false, bmbt: false, unwritten: false }
}

export interface SpaceRequest {
  /** Where to look first; the nearest free space counts, then that of the groups behind and before. */
  readonly goal: FsBlock
  readonly wanted: number
  /** As many in a row at least; 1 when left out. */
  readonly least?: number
  /** A power of two that the block number in the group is a multiple of. */
  readonly alignment?: number
  /** Where the goal is taken: blocks that stay free, where there are many, for what took it to go on. */
  readonly room?: number
  /** In the goal's allocation group or not at all. */
  readonly sameGroup?: boolean
  /** For a tree that space is kept back for (finobt, reference counts): that too may be taken. */
  readonly fromReserve?: boolean
  readonly owner: Owner
}

/**
 * Free space, reverse mappings and reference counts of all allocation groups, the AGFs and sb_fdblocks with them. Every call
 * leaves all of them in agreement. Only in a transaction.
 */
export interface Space {
  /** `least` to `wanted` blocks in a row, owned. `ENOSPC` when there are none. What they held is still there. */
  allocate(request: SpaceRequest): Soon<Extent>
  /**
   * Takes blocks from their owner. Those that no other file shares become free, and their buffers are forgotten. `ERR_CORRUPT`
   * when they are free already, do not exist, or are the owner's by no reverse mapping.
   */
  free(extent: Extent, owner: Owner): Soon<void>
  /** As `free` for many: what touches on the volume becomes free in one piece, whoever had it. */
  freeAll(owned: readonly OwnedExtent[]): Soon<void>
  /** The first run in the extent that several files share; `undefined` when none is. */
  firstShared(extent: Extent): Promise<Extent | undefined>
  /** Blocks of a file were written, or are to read as zeros again: `owner.unwritten` is how it was before. */
  convert(extent: Extent, owner: Owner): Promise<void>
  /** Blocks that a file's data may take, what is kept back for the trees not among them. */
  freeBlocks(): Promise<number>
}

/** Inodes in use and free ones: chunks, their trees, the AGIs, sb_icount and sb_ifree. Only in a transaction. */
export interface InodeAllocator {
  /**
   * An inode in use, near the parent: mode with its type, new generation, times now, no links, no flags but those that all inodes of
   * the filesystem have, data of format EXTENTS without any (DEV for devices, fifos and sockets), no attribute fork. `ENOSPC` when there is no room for more.
   * @param mode type and permissions as st_mode has them.
   */
  allocate(parent: InodeNumber, mode: number): Soon<Dinode>
  /** Its forks are empty and nothing refers to it: it is free from now on, and so is its chunk with its last inode. */
  free(inode: Dinode): Soon<void>
}

/** What the parts that write share about one filesystem. */
export interface XfsWriter {
  readonly volume: XfsVolume
  readonly inodes: Inodes
  readonly space: Space
  readonly inodeAllocator: InodeAllocator
  /** The time that goes into inodes. */
  now(): Timestamp
}
