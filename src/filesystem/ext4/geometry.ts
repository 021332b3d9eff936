import { DrydiskError } from '../../errors.ts'
import type { BlockNumber } from './context.ts'
import { GOOD_OLD_INODE_SIZE } from './inode.ts'
import { EXT_MAGIC, type Superblock } from './superblock.ts'

/** EXT4_MAX_BLOCK_LOG_SIZE - EXT4_MIN_BLOCK_LOG_SIZE: blocks of 64 KiB. */
const MAX_LOG_BLOCK_SIZE = 6
const GOOD_OLD_FIRST_INO = 11
const MIN_DESC_SIZE = 32
const MIN_DESC_SIZE_64BIT = 64
const MAX_DESC_SIZE = 1024

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value))
}

/** Whether a group number is 1 or a power of `base`. */
function isPowerOf(value: number, base: number): boolean {
  let power = base
  while (power < value) power *= base
  return power === value
}

function corrupt(field: string, found: number, expected: string): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `ext4 superblock: ${field} is ${found}, expected ${expected}; e2fsck may repair it from a backup superblock`,
    { structure: 'superblock', field, found },
  )
}

/** Where everything is: numbers from the superblock, checked against each other and against the volume. */
export class Geometry {
  /** Bytes; 1024 to 65536. */
  readonly blockSize: number
  readonly blocksCount: number
  readonly firstDataBlock: BlockNumber
  readonly blocksPerGroup: number
  /** Blocks per cluster; 1 without bigalloc. */
  readonly clusterRatio: number
  readonly clustersPerGroup: number
  readonly groups: number
  readonly inodesCount: number
  readonly inodesPerGroup: number
  readonly inodeSize: number
  /** First inode that is not reserved. */
  readonly firstInode: number
  readonly inodeTableBlocks: number
  /** Bytes of a group descriptor. */
  readonly descriptorSize: number
  readonly descriptorsPerBlock: number
  /** Blocks that all group descriptors fill. */
  readonly descriptorBlocks: number
  readonly groupsPerFlex: number
  /** Blocks behind the descriptors that resize_inode keeps for more of them. */
  readonly reservedDescriptorBlocks: number
  /** The block that the primary superblock is in. */
  readonly superblockBlock: BlockNumber
  readonly #superblock: Superblock
  readonly #metaBlockGroups: boolean
  readonly #firstMetaBlockGroup: number

  /** @param deviceSize bytes; a filesystem that is larger is `ERR_CORRUPT`. */
  constructor(superblock: Superblock, deviceSize: number) {
    this.#superblock = superblock
    const s = superblock
    if (s.s_magic !== EXT_MAGIC) throw corrupt('s_magic', s.s_magic, `${EXT_MAGIC}`)
    if (s.s_log_block_size > MAX_LOG_BLOCK_SIZE)
      throw corrupt('s_log_block_size', s.s_log_block_size, `at most ${MAX_LOG_BLOCK_SIZE}`)
    this.blockSize = 1024 << s.s_log_block_size
    const bits = this.blockSize * 8

    const bigalloc = s.has('bigalloc')
    if (bigalloc) {
      if (s.s_log_cluster_size < s.s_log_block_size || s.s_log_cluster_size > 20)
        throw corrupt('s_log_cluster_size', s.s_log_cluster_size, `${s.s_log_block_size} to 20`)
    } else if (s.s_log_cluster_size !== s.s_log_block_size && s.s_rev_level > 0)
      throw corrupt('s_log_cluster_size', s.s_log_cluster_size, `${s.s_log_block_size} without bigalloc`)
    this.clusterRatio = bigalloc ? 2 ** (s.s_log_cluster_size - s.s_log_block_size) : 1
    this.clustersPerGroup = bigalloc ? s.s_clusters_per_group : s.s_blocks_per_group
    this.blocksPerGroup = s.s_blocks_per_group
    if (this.clustersPerGroup < 8 || this.clustersPerGroup > bits || this.clustersPerGroup % 8 !== 0)
      throw corrupt('s_blocks_per_group', s.s_blocks_per_group, `a multiple of 8 up to ${bits}`)
    if (this.blocksPerGroup !== this.clustersPerGroup * this.clusterRatio)
      throw corrupt(
        's_blocks_per_group',
        s.s_blocks_per_group,
        `${this.clustersPerGroup * this.clusterRatio}`,
      )

    this.firstDataBlock = s.s_first_data_block
    const expectedFirst = this.blockSize === 1024 && !bigalloc ? 1 : 0
    if (this.firstDataBlock !== expectedFirst)
      throw corrupt('s_first_data_block', this.firstDataBlock, `${expectedFirst}`)
    this.superblockBlock = this.blockSize === 1024 ? 1 : 0
    this.blocksCount = s.s_blocks_count
    const held = Math.floor(deviceSize / this.blockSize)
    if (this.blocksCount <= this.firstDataBlock || this.blocksCount > held)
      throw corrupt('s_blocks_count', this.blocksCount, `1 to the ${held} blocks that the volume holds`)
    this.groups = Math.ceil((this.blocksCount - this.firstDataBlock) / this.blocksPerGroup)

    const dynamic = s.s_rev_level > 0
    this.inodeSize = dynamic ? s.s_inode_size : GOOD_OLD_INODE_SIZE
    if (
      this.inodeSize < GOOD_OLD_INODE_SIZE ||
      this.inodeSize > this.blockSize ||
      !isPowerOfTwo(this.inodeSize)
    )
      throw corrupt('s_inode_size', this.inodeSize, `a power of two from 128 to ${this.blockSize}`)
    this.firstInode = dynamic ? s.s_first_ino : GOOD_OLD_FIRST_INO
    if (this.firstInode < GOOD_OLD_FIRST_INO)
      throw corrupt('s_first_ino', this.firstInode, `at least ${GOOD_OLD_FIRST_INO}`)
    this.inodesPerGroup = s.s_inodes_per_group
    if (this.inodesPerGroup < 1 || this.inodesPerGroup > bits)
      throw corrupt('s_inodes_per_group', this.inodesPerGroup, `1 to ${bits}`)
    this.inodesCount = s.s_inodes_count
    if (this.inodesCount !== this.groups * this.inodesPerGroup)
      throw corrupt(
        's_inodes_count',
        this.inodesCount,
        `${this.groups} groups of ${this.inodesPerGroup} inodes`,
      )
    if (this.inodesCount < this.firstInode)
      throw corrupt('s_inodes_count', this.inodesCount, `at least ${this.firstInode}`)
    this.inodeTableBlocks = Math.ceil((this.inodesPerGroup * this.inodeSize) / this.blockSize)

    this.descriptorSize = MIN_DESC_SIZE
    if (s.has('64bit')) {
      this.descriptorSize = s.s_desc_size
      if (
        this.descriptorSize < MIN_DESC_SIZE_64BIT ||
        this.descriptorSize > MAX_DESC_SIZE ||
        !isPowerOfTwo(this.descriptorSize)
      )
        throw corrupt('s_desc_size', this.descriptorSize, 'a power of two from 64 to 1024')
    }
    this.descriptorsPerBlock = this.blockSize / this.descriptorSize
    this.descriptorBlocks = Math.ceil(this.groups / this.descriptorsPerBlock)
    this.#metaBlockGroups = s.has('meta_bg')
    this.#firstMetaBlockGroup = s.s_first_meta_bg
    if (this.#metaBlockGroups && this.#firstMetaBlockGroup > this.descriptorBlocks)
      throw corrupt('s_first_meta_bg', this.#firstMetaBlockGroup, `at most ${this.descriptorBlocks}`)
    const log = s.s_log_groups_per_flex
    this.groupsPerFlex = s.has('flex_bg') && log >= 1 && log <= 31 ? 2 ** log : 1
    this.reservedDescriptorBlocks = s.s_reserved_gdt_blocks
    if (this.reservedDescriptorBlocks > this.blockSize / 4)
      throw corrupt('s_reserved_gdt_blocks', this.reservedDescriptorBlocks, `at most ${this.blockSize / 4}`)
    if (s.has('metadata_csum') && s.s_checksum_type !== 1)
      throw corrupt('s_checksum_type', s.s_checksum_type, '1 (crc32c)')
  }

  groupFirstBlock(group: number): BlockNumber {
    return this.firstDataBlock + group * this.blocksPerGroup
  }
  /** Blocks in a group; the last one may be short. */
  groupBlocks(group: number): number {
    return Math.min(this.blocksPerGroup, this.blocksCount - this.groupFirstBlock(group))
  }
  /** Clusters in a group: what its bitmap has bits for. */
  groupClusters(group: number): number {
    return Math.ceil(this.groupBlocks(group) / this.clusterRatio)
  }
  groupOfBlock(block: BlockNumber): number {
    return Math.floor((block - this.firstDataBlock) / this.blocksPerGroup)
  }
  groupOfInode(ino: number): number {
    return Math.floor((ino - 1) / this.inodesPerGroup)
  }

  /** Whether a group starts with a superblock (ext4_bg_has_super). */
  hasSuperblock(group: number): boolean {
    if (group === 0) return true
    if (this.#superblock.has('sparse_super2')) return this.#superblock.s_backup_bgs.includes(group)
    if (group === 1 || !this.#superblock.has('sparse_super')) return true
    if (group % 2 === 0) return false
    return isPowerOf(group, 3) || isPowerOf(group, 5) || isPowerOf(group, 7)
  }

  /** Blocks at the start of a group that hold superblock, descriptors and reserved descriptors (ext4_num_base_meta_clusters). */
  groupBaseBlocks(group: number): number {
    const superblocks = this.hasSuperblock(group) ? 1 : 0
    const metaGroup = Math.floor(group / this.descriptorsPerBlock)
    if (this.#metaBlockGroups && metaGroup >= this.#firstMetaBlockGroup) {
      const within = group % this.descriptorsPerBlock
      return superblocks + (within <= 1 || within === this.descriptorsPerBlock - 1 ? 1 : 0)
    }
    if (superblocks === 0) return 0
    // ext4_bg_num_gdb_nometa: with meta_bg, what comes after the first meta group has its own places.
    const descriptors = this.#metaBlockGroups ? this.#firstMetaBlockGroup : this.descriptorBlocks
    // With 64 KiB or bigalloc blocks nothing moves: block 0 holds the superblock. Bigalloc with 1 KiB blocks
    // has the boot block in block 0 and the superblock in block 1.
    const boot = group === 0 && this.superblockBlock > this.firstDataBlock ? 1 : 0
    return boot + superblocks + descriptors + this.reservedDescriptorBlocks
  }

  /** Where block number `index` of the descriptor table is (descriptor_loc). */
  descriptorBlock(index: number): BlockNumber {
    if (!this.#metaBlockGroups || index < this.#firstMetaBlockGroup) return this.superblockBlock + 1 + index
    const group = index * this.descriptorsPerBlock
    const boot = group === 0 && this.superblockBlock > this.firstDataBlock ? 1 : 0
    return this.groupFirstBlock(group) + boot + (this.hasSuperblock(group) ? 1 : 0)
  }
}
