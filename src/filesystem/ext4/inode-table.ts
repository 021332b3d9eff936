import { LruCache } from '../../bytes/lru-cache.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import type { BlockNumber } from './context.ts'
import type { Geometry } from './geometry.ts'
import type { GroupDescriptors } from './group-descriptors.ts'
import { GOOD_OLD_INODE_SIZE, Inode } from './inode.ts'
import { inodeChecksumIsRight, updateInodeChecksum } from './inode-checksum.ts'
import type { CachedMetadataBlocks } from './metadata-blocks.ts'
import type { Superblock } from './superblock.ts'

/** Inodes that nobody holds and that stay in memory all the same. */
const RECENT_INODES = 4096
/** Blocks of the inode table read in one piece: inodes of one directory mostly lie side by side. */
const READ_AHEAD_BLOCKS = 8

/** Reads and writes inodes; one object per number for as long as anybody holds it. */
export class InodeStore {
  readonly #superblock: Superblock
  readonly #geometry: Geometry
  readonly #descriptors: GroupDescriptors
  readonly #blocks: CachedMetadataBlocks
  readonly #live = new Map<InodeNumber, WeakRef<Inode>>()
  readonly #recent = new LruCache<InodeNumber, Inode>(RECENT_INODES)
  readonly #changed = new Map<InodeNumber, Inode>()
  #sweepAt = 2 * RECENT_INODES

  constructor(
    superblock: Superblock,
    geometry: Geometry,
    descriptors: GroupDescriptors,
    blocks: CachedMetadataBlocks,
  ) {
    this.#superblock = superblock
    this.#geometry = geometry
    this.#descriptors = descriptors
    this.#blocks = blocks
  }

  get changedBytes(): number {
    return this.#changed.size * this.#geometry.inodeSize
  }

  /** As `InodeTable.read`. */
  async read(ino: InodeNumber): Promise<Inode> {
    const inode = await this.readAny(ino)
    if (inode.linksCount === 0 && (inode.dtime !== 0 || inode.mode === 0 || !this.#changed.has(ino)))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `ext4 inode ${ino} is referred to but has no links (mode ${inode.mode}, deleted at ${inode.dtime}); run e2fsck`,
        { inode: ino },
      )
    return inode
  }

  /** Like `read`, for inodes that have no name any more: orphans. */
  async readAny(ino: InodeNumber): Promise<Inode> {
    const held = this.#held(ino)
    if (held !== undefined) return held
    const [block, offset] = await this.place(ino)
    const bytes = await this.#load(block, ino)
    const again = this.#held(ino)
    if (again !== undefined) return again
    const inode = this.#inode(ino, bytes.slice(offset, offset + this.#geometry.inodeSize))
    this.#check(inode)
    this.keep(inode)
    return inode
  }

  /** An inode object of the given bytes, which becomes the one object of its number once it is kept. */
  make(ino: InodeNumber): Inode {
    return this.#inode(ino, new Uint8Array(this.#geometry.inodeSize))
  }

  /** i_generation in the bytes of an inode that need not be valid. */
  generationOf(bytes: Uint8Array): number {
    return this.#inode(0, bytes).generation
  }

  keep(inode: Inode): void {
    if (this.#live.size >= this.#sweepAt) this.#sweep()
    this.#live.set(inode.ino, new WeakRef(inode))
    this.#recent.set(inode.ino, inode)
  }

  markDirty(inode: Inode): void {
    if (this.#held(inode.ino) !== inode) this.keep(inode)
    this.#changed.set(inode.ino, inode)
  }

  /** Puts changed inodes with their checksums into their blocks. */
  async seal(): Promise<void> {
    for (const ino of [...this.#changed.keys()].sort((a, b) => a - b)) {
      const inode = this.#changed.get(ino)
      if (inode === undefined) continue
      // As ext4_do_update_inode: a file of 2 GiB or more is what the feature bit says exists.
      if (inode.size > 0x7fff_ffff && !inode.isDirectory) this.#superblock.setFeature('large_file', true)
      if (this.#superblock.has('metadata_csum')) updateInodeChecksum(this.#superblock.checksumSeed, inode)
      const [block, offset] = await this.place(ino)
      const bytes = await this.#blocks.edit(block)
      bytes.set(inode.bytes, offset)
    }
    this.#changed.clear()
  }

  /** The block of the inode table that holds an inode, and the byte in it. */
  async place(ino: InodeNumber): Promise<[BlockNumber, number]> {
    const { inodesCount, inodesPerGroup, inodeSize, blockSize } = this.#geometry
    if (!(Number.isInteger(ino) && ino >= 1 && ino <= inodesCount))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `ext4: inode ${ino} is referred to, but the filesystem has inodes 1 to ${inodesCount}; run e2fsck`,
        { inode: ino },
      )
    const descriptor = await this.#descriptors.read(this.#geometry.groupOfInode(ino))
    const at = ((ino - 1) % inodesPerGroup) * inodeSize
    return [descriptor.bg_inode_table + Math.floor(at / blockSize), at % blockSize]
  }

  async #load(block: BlockNumber, ino: InodeNumber): Promise<Uint8Array> {
    if (!this.#blocks.holds(block)) {
      const { inodesPerGroup, inodeSize, blockSize, inodeTableBlocks } = this.#geometry
      const index = Math.floor((((ino - 1) % inodesPerGroup) * inodeSize) / blockSize)
      const first = index - (index % READ_AHEAD_BLOCKS)
      const count = Math.min(READ_AHEAD_BLOCKS, inodeTableBlocks - first)
      await this.#blocks.prefetch({ block: block - index + first, count })
    }
    return this.#blocks.read(block)
  }

  #held(ino: InodeNumber): Inode | undefined {
    return this.#changed.get(ino) ?? this.#recent.get(ino) ?? this.#live.get(ino)?.deref()
  }

  #inode(ino: InodeNumber, bytes: Uint8Array): Inode {
    return new Inode(ino, bytes, this.#geometry.blockSize, this.#superblock.has('huge_file'))
  }

  #check(inode: Inode): void {
    const { ino, extraIsize } = inode
    if (this.#superblock.has('metadata_csum') && !inodeChecksumIsRight(this.#superblock.checksumSeed, inode))
      throw new DrydiskError('ERR_CORRUPT', `ext4 inode ${ino}: its checksum is wrong; run e2fsck`, {
        structure: 'inode',
        inode: ino,
      })
    // ext4_iget: i_extra_isize ends within the inode and on a multiple of 4.
    const room = this.#geometry.inodeSize - GOOD_OLD_INODE_SIZE
    if (extraIsize > room || extraIsize % 4 !== 0)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `ext4 inode ${ino}: i_extra_isize is ${extraIsize}, expected a multiple of 4 up to ${room}; run e2fsck`,
        { structure: 'inode', inode: ino },
      )
  }

  #sweep(): void {
    for (const [ino, reference] of this.#live) if (reference.deref() === undefined) this.#live.delete(ino)
    this.#sweepAt = Math.max(2 * RECENT_INODES, 2 * this.#live.size)
  }
}
