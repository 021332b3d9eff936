import { crc32c } from '../../bytes/crc32c.ts'
import { DrydiskError } from '../../errors.ts'
import type { CachedBlocks } from '../cached-blocks.ts'
import type { InodeNumber, Timestamp } from '../filesystem.ts'
import { fillBits, nextBit, testBit } from './bitmap.ts'
import type { Geometry } from './geometry.ts'
import type { GroupBitmaps } from './group-bitmaps.ts'
import { GROUP_FLAG, type GroupDescriptor, le32 } from './group-descriptor.ts'
import type { GroupDescriptors } from './group-descriptors.ts'
import { FILE_TYPE_BITS, GOOD_OLD_INODE_SIZE, type Inode } from './inode.ts'
import type { InodeStore } from './inode-table.ts'
import type { Superblock } from './superblock.ts'

const ROOT_INODE = 2
/** Bytes of the fields after the first 128 that struct ext4_inode has today. */
const EXTRA_ISIZE = 32

export interface InodeAllocatorParts {
  readonly superblock: Superblock
  readonly geometry: Geometry
  readonly descriptors: GroupDescriptors
  readonly blocks: CachedBlocks
  readonly inodeBitmaps: GroupBitmaps
  readonly blockBitmaps: GroupBitmaps
  readonly store: InodeStore
  now(): Timestamp
}

function isDirectory(mode: number): boolean {
  return (mode & 0xf000) === FILE_TYPE_BITS.directory
}

/** Allocation of inode numbers by inode bitmaps. */
export class InodeAllocator {
  readonly #parts: InodeAllocatorParts
  #free: number

  /** @param free sum of the groups' free inodes */
  constructor(parts: InodeAllocatorParts, free: number) {
    this.#parts = parts
    this.#free = free
  }

  get freeInodes(): number {
    return this.#free
  }

  /** As `InodeTable.allocate`. */
  async allocate(parent: InodeNumber, mode: number): Promise<Inode> {
    const { geometry, inodeBitmaps } = this.#parts
    let fault: string | undefined
    const tried = new Set<number>()
    for await (const group of this.#candidates(parent, mode)) {
      if (tried.has(group)) continue
      tried.add(group)
      const bitmap = await inodeBitmaps.load(group)
      if (bitmap.fault !== undefined) {
        fault = bitmap.fault
        continue
      }
      const reserved = group === 0 ? geometry.firstInode - 1 : 0
      const bit = nextBit(bitmap.bytes, reserved, geometry.inodesPerGroup, false)
      if (bit < geometry.inodesPerGroup) return this.#take(group, bit, bitmap.bytes, mode)
    }
    if (fault !== undefined)
      throw new DrydiskError('ERR_CORRUPT', `${fault}; run e2fsck`, { structure: 'inode bitmap' })
    throw new DrydiskError(
      'ENOSPC',
      `ext4: all ${geometry.inodesCount} inodes are in use; no file can be made`,
    )
  }

  /**
   * A zeroed inode of a certain number, as the journal says it; `undefined` when it is in use already. `ERR_CORRUPT` for a
   * reserved one.
   */
  async claim(ino: InodeNumber, mode: number): Promise<Inode | undefined> {
    const { geometry, inodeBitmaps } = this.#parts
    if (!(ino >= geometry.firstInode && ino <= geometry.inodesCount))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `ext4: inode ${ino} is to be made, but files have inodes ${geometry.firstInode} to ${geometry.inodesCount}; run e2fsck`,
        { inode: ino },
      )
    const group = geometry.groupOfInode(ino)
    const bit = (ino - 1) % geometry.inodesPerGroup
    const { bytes, fault } = await inodeBitmaps.load(group)
    if (fault !== undefined)
      throw new DrydiskError('ERR_CORRUPT', `${fault}; run e2fsck`, { structure: 'inode bitmap', group })
    return testBit(bytes, bit) ? undefined : this.#take(group, bit, bytes, mode)
  }

  /** As `InodeTable.free`. */
  async free(inode: Inode): Promise<void> {
    const { geometry, descriptors, inodeBitmaps, store } = this.#parts
    const { ino } = inode
    if (ino < geometry.firstInode)
      throw new DrydiskError('ERR_CORRUPT', `ext4 inode ${ino} is reserved and cannot be freed; run e2fsck`, {
        inode: ino,
      })
    const group = geometry.groupOfInode(ino)
    const bit = (ino - 1) % geometry.inodesPerGroup
    const bitmap = await inodeBitmaps.load(group)
    if (bitmap.fault !== undefined)
      throw new DrydiskError('ERR_CORRUPT', `${bitmap.fault}; run e2fsck`, {
        structure: 'inode bitmap',
        group,
      })
    if (!testBit(bitmap.bytes, bit))
      throw new DrydiskError('ERR_CORRUPT', `ext4 inode ${ino} is in use but marked free; run e2fsck`, {
        inode: ino,
      })
    fillBits(bitmap.bytes, bit, 1, false)
    await inodeBitmaps.markChanged(group)
    await descriptors.change(group, descriptor => {
      descriptor.bg_free_inodes_count++
      if (inode.isDirectory && descriptor.bg_used_dirs_count > 0) descriptor.bg_used_dirs_count--
    })
    this.#free++
    inode.linksCount = 0
    // A deletion time that could be an inode number would look like a link of the orphan list to e2fsck.
    const seconds = Number(this.#parts.now() / 1_000_000_000n)
    inode.dtime = seconds > geometry.inodesCount && seconds <= 0xffff_ffff ? seconds : 0xffff_ffff
    store.markDirty(inode)
  }

  /**
   * Groups to look in, the best first. A directory in the root goes where there are fewest (so that unrelated trees do not
   * share a group, as Orlov's rule of the kernel has it); all else goes near its parent.
   */
  async *#candidates(parent: InodeNumber, mode: number): AsyncGenerator<number> {
    const { geometry, descriptors } = this.#parts
    const home = geometry.groupOfInode(parent)
    if (isDirectory(mode) && parent === ROOT_INODE) {
      const spread = await this.#emptiest()
      if (spread !== undefined) yield spread
    }
    const roomy = isDirectory(mode)
      ? (descriptor: GroupDescriptor) =>
          descriptor.bg_free_inodes_count > geometry.inodesPerGroup / 16 &&
          descriptor.bg_free_blocks_count > geometry.blocksPerGroup / 16
      : (descriptor: GroupDescriptor) =>
          descriptor.bg_free_inodes_count > 0 && descriptor.bg_free_blocks_count > 0
    for (const fits of [roomy, (descriptor: GroupDescriptor) => descriptor.bg_free_inodes_count > 0])
      for (let step = 0; step < geometry.groups; step++) {
        const group = (home + step) % geometry.groups
        if (fits(await descriptors.read(group))) yield group
      }
  }

  async #emptiest(): Promise<number | undefined> {
    const { geometry, descriptors } = this.#parts
    const average = this.#free / geometry.groups
    let best: number | undefined
    let fewest = Number.POSITIVE_INFINITY
    for (let group = 0; group < geometry.groups; group++) {
      const descriptor = await descriptors.read(group)
      const directories = descriptor.bg_used_dirs_count
      if (descriptor.bg_free_inodes_count < average || descriptor.bg_free_blocks_count === 0) continue
      if (directories >= fewest) continue
      best = group
      fewest = directories
    }
    return best
  }

  async #take(group: number, bit: number, bitmap: Uint8Array, mode: number): Promise<Inode> {
    const { geometry, descriptors, blocks, inodeBitmaps, blockBitmaps, store, superblock } = this.#parts
    const ino = group * geometry.inodesPerGroup + bit + 1
    const [block, offset] = await store.place(ino)
    const before = await descriptors.read(group)
    // The table may never have been written here: then its block is made, not read (as __ext4_get_inode_loc).
    const perBlock = Math.floor(geometry.blockSize / geometry.inodeSize)
    const firstBit = bit - (bit % perBlock)
    const lastBit = Math.min(firstBit + perBlock, geometry.inodesPerGroup)
    const untouched =
      descriptors.hasChecksums &&
      nextBit(bitmap, firstBit, lastBit, true) === lastBit &&
      !blocks.changed(block)
    const usesBlocks = before.hasFlag(GROUP_FLAG.BLOCK_UNINIT)
    const table = untouched ? blocks.fresh(block) : await blocks.read(block)
    const old = table.slice(offset, offset + geometry.inodeSize)

    fillBits(bitmap, bit, 1, true)
    await inodeBitmaps.markChanged(group)
    // As __ext4_new_inode: a group with inodes has a written block bitmap too.
    if (descriptors.hasChecksums && usesBlocks) await blockBitmaps.markChanged(group)
    await descriptors.change(group, descriptor => {
      descriptor.bg_free_inodes_count--
      if (isDirectory(mode)) descriptor.bg_used_dirs_count++
      // Where the feature was turned off the count may have stayed, and e2fsck still looks at it.
      if (descriptors.hasChecksums || descriptor.bg_itable_unused > 0)
        descriptor.bg_itable_unused = Math.min(
          before.hasFlag(GROUP_FLAG.INODE_UNINIT) ? geometry.inodesPerGroup : descriptor.bg_itable_unused,
          geometry.inodesPerGroup - bit - 1,
        )
    })
    this.#free--

    const inode = store.make(ino)
    inode.mode = mode
    if (geometry.inodeSize > GOOD_OLD_INODE_SIZE) inode.extraIsize = this.#extraIsize()
    inode.generation = this.#generation(superblock, ino, old)
    store.keep(inode)
    store.markDirty(inode)
    return inode
  }

  /** As ext4_fill_super sets s_want_extra_isize. */
  #extraIsize(): number {
    const { superblock, geometry } = this.#parts
    const room = geometry.inodeSize - GOOD_OLD_INODE_SIZE
    const wanted = superblock.has('extra_isize') ? superblock.s_want_extra_isize : 0
    const extra = Math.max(EXTRA_ISIZE, wanted)
    return extra > room || extra % 4 !== 0 ? EXTRA_ISIZE : extra
  }

  /** Differs from that of the number's last use, and is the same again for the same clock. */
  #generation(superblock: Superblock, ino: InodeNumber, old: Uint8Array): number {
    const time = this.#parts.now()
    const seed = crc32c(crc32c(superblock.checksumSeed, le32(ino)), le32(Number(BigInt.asUintN(32, time))))
    const previous = this.#parts.store.generationOf(old)
    return seed === previous ? (seed + 1) >>> 0 : seed
  }
}
