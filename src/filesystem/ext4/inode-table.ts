import { LruCache } from '../../bytes/lru-cache.ts'
import { DrydiskError } from '../../errors.ts'
import type { CachedBlocks } from '../cached-blocks.ts'
import type { InodeNumber } from '../filesystem.ts'
import type { BlockNumber } from './context.ts'
import type { Geometry } from './geometry.ts'
import { GROUP_FLAG } from './group-descriptor.ts'
import type { GroupDescriptors } from './group-descriptors.ts'
import { GOOD_OLD_INODE_SIZE, Inode } from './inode.ts'
import { inodeChecksumIsRight, updateInodeChecksum } from './inode-checksum.ts'
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
  readonly #blocks: CachedBlocks
  readonly #writable: boolean
  readonly #live = new Map<InodeNumber, WeakRef<Inode>>()
  readonly #recent = new LruCache<InodeNumber, Inode>(RECENT_INODES)
  readonly #changed = new Map<InodeNumber, Inode>()
  #sweepAt = 2 * RECENT_INODES

  constructor(
    superblock: Superblock,
    geometry: Geometry,
    descriptors: GroupDescriptors,
    blocks: CachedBlocks,
    writable: boolean,
  ) {
    this.#superblock = superblock
    this.#geometry = geometry
    this.#descriptors = descriptors
    this.#blocks = blocks
    this.#writable = writable
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
    if (this.#writable && !this.#changed.has(ino)) await this.#checkForWriting(inode)
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

  /** The inode that bytes of a table are, unchecked; not the one object of its number. */
  parse(ino: InodeNumber, bytes: Uint8Array): Inode {
    return this.#inode(ino, bytes)
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

  /** As `InodeTable.findAttributeBlock`. */
  async findAttributeBlock(): Promise<InodeNumber | undefined> {
    const { inodesCount, inodesPerGroup, inodeSize } = this.#geometry
    for (let ino = 1; ino <= inodesCount; ino++) {
      const first = ino - ((ino - 1) % inodesPerGroup)
      const used = await this.usedInodes(this.#geometry.groupOfInode(ino))
      if (ino - first >= used) {
        ino = first + inodesPerGroup - 1
        continue
      }
      const [block, offset] = await this.place(ino)
      const bytes = await this.#load(block, ino)
      const inode = this.#inode(ino, bytes.subarray(offset, offset + inodeSize))
      if (inode.linksCount > 0 && inode.fileAcl !== 0) return ino
    }
    return undefined
  }

  /** Inodes at the start of a group's table that may be in use: the rest may never have been written. */
  async usedInodes(group: number): Promise<number> {
    const { inodesPerGroup } = this.#geometry
    if (!this.#descriptors.hasChecksums) return inodesPerGroup
    const descriptor = await this.#descriptors.read(group)
    return descriptor.hasFlag(GROUP_FLAG.INODE_UNINIT)
      ? 0
      : Math.max(0, inodesPerGroup - descriptor.bg_itable_unused)
  }

  /** Puts changed inodes with their checksums into their blocks. */
  async seal(): Promise<void> {
    for (const ino of [...this.#changed.keys()].sort((a, b) => a - b)) {
      const inode = this.#changed.get(ino)
      if (inode === undefined) continue
      // As ext4_do_update_inode: a file of 2 GiB or more is what the feature bit says exists.
      // As there, too: without 64-bit block numbers the upper half is not looked at, and becomes zero.
      if (!this.#superblock.has('64bit')) inode.fileAcl %= 2 ** 32
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

  /**
   * What a reader may pass by but a change would build upon: the kernel's ext4_iget refuses an attribute block outside the
   * filesystem, and e2fsck takes what lies in the unused part of an inode table for deleted.
   */
  async #checkForWriting(inode: Inode): Promise<void> {
    const { ino } = inode
    const { inodesPerGroup, firstInode, firstDataBlock, blocksCount } = this.#geometry
    const fault = (what: string) =>
      new DrydiskError('ERR_CORRUPT', `ext4 inode ${ino} ${what}; run e2fsck before writing`, {
        structure: 'inode',
        inode: ino,
      })
    const block = this.#superblock.has('64bit') ? inode.fileAcl : inode.fileAcl % 2 ** 32
    if (block !== 0 && !this.#superblock.has('ext_attr'))
      throw fault(`has an attribute block (${block}), but the filesystem has no attributes (ext_attr is off)`)
    if (block !== 0 && (block < firstDataBlock || block >= blocksCount))
      throw fault(`has its attributes in block ${block}, expected one below ${blocksCount}`)
    if (ino < firstInode) return
    if ((ino - 1) % inodesPerGroup >= (await this.usedInodes(this.#geometry.groupOfInode(ino))))
      throw fault('has a name but lies in the part of its table that its group says was never used')
  }

  #sweep(): void {
    for (const [ino, reference] of this.#live) if (reference.deref() === undefined) this.#live.delete(ino)
    this.#sweepAt = Math.max(2 * RECENT_INODES, 2 * this.#live.size)
  }
}
