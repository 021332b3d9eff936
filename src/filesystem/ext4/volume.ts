import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber, Timestamp } from '../filesystem.ts'
import type { BlockAllocator, Ext4Context, InodeTable } from './context.ts'
import { Geometry } from './geometry.ts'
import { GroupDescriptors } from './group-descriptors.ts'
import type { Inode } from './inode.ts'
import { InodeStore } from './inode-table.ts'
import { CachedMetadataBlocks } from './metadata-blocks.ts'
import { SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock } from './superblock.ts'

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

/** One opened filesystem: what `Ext4Context` promises, and the writing of it all. */
export class Ext4Volume implements Ext4Context {
  readonly device: BlockDevice
  readonly writable: boolean
  readonly superblock: Superblock
  readonly geometry: Geometry
  readonly blockSize: number
  readonly metadataChecksums: boolean
  readonly checksumSeed: number
  readonly blocks: CachedMetadataBlocks
  readonly descriptors: GroupDescriptors
  readonly inodeStore: InodeStore
  readonly now: () => Timestamp

  constructor(device: BlockDevice, superblock: Superblock, writable: boolean, now: () => Timestamp) {
    this.device = device
    this.writable = writable
    this.superblock = superblock
    this.geometry = new Geometry(superblock, device.size)
    this.blockSize = this.geometry.blockSize
    this.metadataChecksums = superblock.has('metadata_csum')
    this.checksumSeed = superblock.checksumSeed
    this.blocks = new CachedMetadataBlocks(device, this.blockSize, this.geometry.blocksCount)
    this.descriptors = new GroupDescriptors(superblock, this.geometry, this.blocks, writable)
    this.inodeStore = new InodeStore(superblock, this.geometry, this.descriptors, this.blocks)
    this.now = now
  }

  get allocator(): BlockAllocator {
    throw this.#readOnly()
  }

  readonly inodes: InodeTable = {
    read: (ino: InodeNumber) => this.inodeStore.read(ino),
    markDirty: (inode: Inode) => {
      if (!this.writable) throw this.#readOnly()
      this.inodeStore.markDirty(inode)
    },
    allocate: async () => {
      throw this.#readOnly()
    },
    free: async () => {
      throw this.#readOnly()
    },
  }

  #readOnly(): DrydiskError {
    return new DrydiskError('EROFS', 'ext4: the filesystem is open for reading only')
  }
}
