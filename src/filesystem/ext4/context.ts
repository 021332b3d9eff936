import type { BlockDevice } from '../../device/block-device.ts'
import type { InodeNumber, Timestamp } from '../filesystem.ts'
import type { Geometry } from './geometry.ts'
import type { Inode } from './inode.ts'
import type { Superblock } from './superblock.ts'

/** A block number of the filesystem. */
export type BlockNumber = number

/** A run of blocks of the volume. */
export interface BlockRun {
  readonly block: BlockNumber
  readonly count: number
}

/**
 * Metadata blocks held in memory. A block that was given out for change stays in memory until `sync`, so
 * every structure is read, changed and checksummed in place, once.
 */
export interface MetadataBlocks {
  /**
   * The block's bytes: the cache's own buffer, so not to be changed by the caller. `ERR_CORRUPT` outside the volume.
   * An unmodified block may be dropped from memory; a buffer in hand stays valid.
   */
  read(block: BlockNumber): Promise<Uint8Array>
  /** The same buffer, to be changed in place; it counts as changed from now on. Set checksums before the next await. */
  edit(block: BlockNumber): Promise<Uint8Array>
  /** A zeroed buffer for a block that was just allocated, without reading it. Counts as changed. */
  fresh(block: BlockNumber): Uint8Array
  /** Drops blocks that were freed: what was changed in them is not written. */
  forget(run: BlockRun): void
}

/**
 * Free space. Everything is decided in memory; bitmaps, group descriptors and superblock counters reach the volume with
 * `sync`. Quota of reserved blocks is not enforced (the caller is as root).
 */
export interface BlockAllocator {
  /**
   * 1 to `wanted` contiguous blocks, as near to `goal` as there are; marked used. `ENOSPC` when none is left.
   * With bigalloc whole clusters are not handed out: such an image is refused for writing at open.
   */
  allocate(goal: BlockNumber, wanted: number): Promise<BlockRun>
  /** `ERR_CORRUPT` when a block is free already or is metadata of the filesystem itself. Also forgets cached metadata. */
  free(run: BlockRun): Promise<void>
  /** `ERR_CORRUPT` when a run that a file claims is metadata of the filesystem itself: it is not to be written through. */
  requireFileBlocks(run: BlockRun): void
  /** Where to look first for blocks of this inode: the inode's group. */
  goalFor(inode: Inode): BlockNumber
  readonly freeBlocks: number
}

/** The inode table. One object per inode number: holding it is sharing it. */
export interface InodeTable {
  /** `ERR_CORRUPT` for a number outside the table, a bad checksum or a freed inode (links 0 and dtime set, mode 0). */
  read(ino: InodeNumber): Promise<Inode>
  /** An inode whose i_file_acl is not 0, of all that are in use. */
  findAttributeBlock(): Promise<InodeNumber | undefined>
  /** Its bytes and checksum reach the volume with `sync`. */
  markDirty(inode: Inode): void
  /**
   * A zeroed inode with a new generation, extra_isize set, in the parent's group (directories are spread as the kernel
   * does). Marked used; used-directory counts kept. mode's type bits decide whether it counts as a directory.
   */
  allocate(parent: InodeNumber, mode: number): Promise<Inode>
  /** Marks the number free, sets dtime. The content must be freed before. */
  free(inode: Inode): Promise<void>
}

/** What the checksums of metadata are made from. */
export type ChecksumContext = Pick<Ext4Context, 'metadataChecksums' | 'checksumSeed'>

/** What every part of the ext4 code shares about one opened filesystem. */
export interface Ext4Context {
  readonly device: BlockDevice
  readonly writable: boolean
  readonly superblock: Superblock
  readonly geometry: Geometry
  /** Bytes; 1024 to 65536. */
  readonly blockSize: number
  /** metadata_csum is on: every structure carries a crc32c. */
  readonly metadataChecksums: boolean
  /** What crc32c of filesystem-wide structures starts with: crc32c(~0, uuid), or s_checksum_seed. */
  readonly checksumSeed: number
  readonly blocks: MetadataBlocks
  readonly allocator: BlockAllocator
  readonly inodes: InodeTable
  /** The time that goes into inodes; one clock so that tests are deterministic. */
  now(): Timestamp
}

/**
 * An inode's own checksum seed: crc32c(checksumSeed, le32 inode number, le32 generation). Extent blocks, directory
 * blocks and htree nodes start from it (fs/ext4/inode.c, ext4_iget; i_csum_seed).
 */
export type InodeChecksumSeed = number
