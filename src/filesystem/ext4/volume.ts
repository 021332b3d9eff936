import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import { CachedBlocks } from '../cached-blocks.ts'
import type { InodeNumber, Timestamp } from '../filesystem.ts'
import { WatchedDevice } from '../watched-device.ts'
import { GroupBlockAllocator } from './block-allocator.ts'
import type { BlockAllocator, BlockRun, Ext4Context, InodeTable } from './context.ts'
import { Geometry } from './geometry.ts'
import { blockBitmapKind, GroupBitmaps, inodeBitmapKind } from './group-bitmaps.ts'
import { GroupDescriptors } from './group-descriptors.ts'
import type { Inode } from './inode.ts'
import { InodeAllocator } from './inode-allocator.ts'
import { InodeStore } from './inode-table.ts'
import { SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock } from './superblock.ts'
import { systemBlocks } from './system-blocks.ts'

/** Reads the superblock and checks its checksum; its shape is checked by `Geometry`. */
export async function readSuperblock(device: BlockDevice): Promise<Superblock> {
  if (device.size < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `ext4: a volume of ${device.size} bytes has no room for a superblock`,
      {
        structure: 'superblock',
      },
    )
  const bytes = new Uint8Array(SUPERBLOCK_SIZE)
  await device.read(SUPERBLOCK_OFFSET, bytes)
  return new Superblock(bytes)
}

/** The groups' free counts added up: what the kernel goes by, for the superblock's own may be stale after a crash. */
export interface FreeCounts {
  /** Clusters with bigalloc. */
  readonly blocks: number
  readonly inodes: number
}

/** What writing needs beyond reading. */
interface Writer {
  readonly allocator: GroupBlockAllocator
  readonly inodes: InodeAllocator
  readonly bitmaps: readonly GroupBitmaps[]
  /** What the superblock's counts are more than the groups' sums, where they are not merely stale. */
  readonly skew: FreeCounts
}

/** Bytes of changed metadata that make it worth writing between two operations, so that memory stays bounded. */
const WRITE_OUT_BYTES = 16 << 20

/** One opened filesystem: what `Ext4Context` promises, and the writing of it all. */
export class Ext4Volume implements Ext4Context {
  readonly device: WatchedDevice
  readonly writable: boolean
  readonly superblock: Superblock
  readonly geometry: Geometry
  readonly blockSize: number
  readonly metadataChecksums: boolean
  readonly checksumSeed: number
  readonly blocks: CachedBlocks
  readonly descriptors: GroupDescriptors
  readonly inodeStore: InodeStore
  readonly now: () => Timestamp
  #writer: Writer | undefined
  #superblockChanged = false

  constructor(device: BlockDevice, superblock: Superblock, writable: boolean, now: () => Timestamp) {
    this.device = new WatchedDevice(device, 0, device.size)
    this.writable = writable
    this.superblock = superblock
    this.geometry = new Geometry(superblock, device.size)
    this.blockSize = this.geometry.blockSize
    this.metadataChecksums = superblock.has('metadata_csum')
    this.checksumSeed = superblock.checksumSeed
    this.blocks = new CachedBlocks(this.device, this.blockSize, this.geometry.blocksCount, {
      filesystem: 'ext4',
      checker: 'e2fsck',
    })
    this.descriptors = new GroupDescriptors(superblock, this.geometry, this.blocks, writable)
    this.inodeStore = new InodeStore(superblock, this.geometry, this.descriptors, this.blocks, writable)
    this.now = now
  }

  /**
   * To be called once on a writable volume, before anything is written.
   * @param stale the superblock's free counts are not up to date: after a replay of the journal they are of the last mount.
   */
  async prepareWriting(stale: boolean): Promise<void> {
    const { superblock, geometry, descriptors, blocks } = this
    const free = await this.countFree()
    // Any other difference is damage, and nobody knows whose count is right: both move by what changes, so that e2fsck has
    // no more to say than before.
    const skew = stale
      ? { blocks: 0, inodes: 0 }
      : {
          blocks: superblock.s_free_blocks_count - free.blocks,
          inodes: superblock.s_free_inodes_count - free.inodes,
        }
    // Stale after a crash: the kernel writes the superblock's counts when it unmounts.
    if (free.blocks !== superblock.s_free_blocks_count || free.inodes !== superblock.s_free_inodes_count)
      this.#superblockChanged = true
    const system = await systemBlocks(superblock, geometry, descriptors)
    const parts = {
      geometry,
      descriptors,
      blocks,
      checksumSeed: this.metadataChecksums ? this.checksumSeed : undefined,
    }
    const blockBitmaps = new GroupBitmaps(
      parts,
      blockBitmapKind(geometry, (start, end) => system.ranges(start, end)),
    )
    const inodeBitmaps = new GroupBitmaps(parts, inodeBitmapKind(geometry))
    this.#writer = {
      allocator: new GroupBlockAllocator(geometry, descriptors, blockBitmaps, blocks, system, free.blocks),
      inodes: new InodeAllocator(
        {
          superblock,
          geometry,
          descriptors,
          blocks,
          inodeBitmaps,
          blockBitmaps,
          store: this.inodeStore,
          now: this.now,
        },
        free.inodes,
      ),
      bitmaps: [blockBitmaps, inodeBitmaps],
      skew,
    }
  }

  get allocator(): BlockAllocator {
    return this.#writing().allocator
  }

  readonly inodes: InodeTable = {
    read: (ino: InodeNumber) => this.inodeStore.read(ino),
    findAttributeBlock: () => this.inodeStore.findAttributeBlock(),
    markDirty: (inode: Inode) => {
      this.#writing()
      this.inodeStore.markDirty(inode)
    },
    allocate: async (parent: InodeNumber, mode: number) => this.#writing().inodes.allocate(parent, mode),
    free: async (inode: Inode) => this.#writing().inodes.free(inode),
  }

  /** As `GroupBlockAllocator.claim`. */
  async claimBlocks(run: BlockRun): Promise<BlockRun[]> {
    return this.#writing().allocator.claim(run)
  }

  /** As `InodeAllocator.claim`. */
  async claimInode(ino: InodeNumber, mode: number): Promise<Inode | undefined> {
    return this.#writing().inodes.claim(ino, mode)
  }

  async countFree(): Promise<FreeCounts> {
    if (this.#writer !== undefined)
      return { blocks: this.#writer.allocator.freeBlocks, inodes: this.#writer.inodes.freeInodes }
    let blocks = 0
    let inodes = 0
    for (let group = 0; group < this.geometry.groups; group++) {
      const descriptor = await this.descriptors.read(group)
      blocks += descriptor.bg_free_blocks_count
      inodes += descriptor.bg_free_inodes_count
    }
    return { blocks, inodes }
  }

  /** The superblock was changed through its setters and is to be written. */
  markSuperblockChanged(): void {
    this.#writing()
    this.#superblockChanged = true
  }

  /** Writes changed metadata when there is much of it. Only between operations: nobody may hold a block for change. */
  async relieve(): Promise<void> {
    if (this.blocks.changedBytes + this.inodeStore.changedBytes > WRITE_OUT_BYTES) await this.#writeOut()
  }

  /** Everything reaches the volume; nothing is written when nothing changed. */
  async sync(): Promise<void> {
    if (this.#writer === undefined) return
    await this.#writeOut()
    if (!this.#superblockChanged) return
    const { superblock } = this
    const { allocator, inodes, skew } = this.#writer
    superblock.s_free_blocks_count = Math.max(0, allocator.freeBlocks + skew.blocks)
    superblock.s_free_inodes_count = Math.max(0, inodes.freeInodes + skew.inodes)
    superblock.s_wtime = Number(this.now() / 1_000_000_000n)
    superblock.updateChecksum()
    await this.device.write(SUPERBLOCK_OFFSET, superblock.bytes)
    this.#superblockChanged = false
    await this.device.flush()
  }

  async #writeOut(): Promise<void> {
    await this.inodeStore.seal()
    for (const bitmaps of this.#writing().bitmaps) await bitmaps.seal()
    await this.descriptors.seal()
    if (this.blocks.changedBytes === 0) return
    this.#superblockChanged = true
    await this.blocks.flush()
  }

  #writing(): Writer {
    if (this.#writer === undefined)
      throw new DrydiskError('EROFS', 'ext4: the filesystem is open for reading only')
    return this.#writer
  }
}
