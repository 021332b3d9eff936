import { crc32c } from '../../bytes/crc32c.ts'
import { RangeSet } from '../../bytes/range-set.ts'
import { DrydiskError } from '../../errors.ts'
import type { BlockNumber } from './context.ts'
import { Geometry } from './geometry.ts'
import type { MkfsSettings } from './mkfs-options.ts'
import { EXT_MAGIC, STATE, SUPERBLOCK_FLAG, SUPERBLOCK_SIZE, Superblock } from './superblock.ts'

const FIRST_INODE = 11
const LOG_GROUPS_PER_FLEX = 4
const EXTRA_ISIZE = 32
const HALF_MD4 = 1
/** EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL, as mke2fs.conf has them. */
const DEFAULT_MOUNT_OPTIONS = 0x4 | 0x8
/** A last group with less room than this beside its own metadata is left off (ext2fs_initialize). */
const WORTHWHILE_BLOCKS = 50

/** Where one group's structures are put. */
export interface GroupPlaces {
  readonly blockBitmap: BlockNumber
  readonly inodeBitmap: BlockNumber
  readonly inodeTable: BlockNumber
}

export interface MkfsLayout {
  readonly superblock: Superblock
  readonly geometry: Geometry
  readonly groups: readonly GroupPlaces[]
  /** All blocks that hold superblocks, descriptors, bitmaps and inode tables. */
  readonly system: RangeSet
}

/** Decides the shape of a new filesystem as mke2fs does. `ENOSPC` when the volume is too small. */
export function mkfsLayout(deviceSize: number, settings: MkfsSettings): MkfsLayout {
  const { blockSize } = settings
  const firstDataBlock = blockSize === 1024 ? 1 : 0
  const blocksPerGroup = Math.min(blockSize * 8, 65528)
  let blocks = Math.floor(deviceSize / blockSize)
  const most = settings.features.has('64bit') ? 2 ** 48 : 2 ** 32 - 1
  if (blocks > most)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `cannot make an ext4 filesystem of ${blocks} blocks: the most is ${most}${settings.features.has('64bit') ? '' : ' without 64bit'}`,
    )
  const inodesWanted = Math.min(Math.floor((blocks * blockSize) / settings.inodeRatio), 0xffff_ffff)
  for (;;) {
    const groups = Math.ceil((blocks - firstDataBlock) / blocksPerGroup)
    if (groups < 1) throw tooSmall(deviceSize)
    const superblock = newSuperblock(settings, blocks, groups, blocksPerGroup, inodesWanted)
    const geometry = new Geometry(superblock, deviceSize)
    const rest = (blocks - firstDataBlock) % blocksPerGroup
    const overhead = 2 + geometry.inodeTableBlocks + geometry.groupBaseBlocks(groups - 1)
    if (rest !== 0 && (groups === 1 ? rest < overhead : rest < overhead + WORTHWHILE_BLOCKS)) {
      if (groups === 1) throw tooSmall(deviceSize)
      blocks -= rest
      continue
    }
    const system = new RangeSet()
    for (let group = 0; group < groups; group++) {
      const base = geometry.groupFirstBlock(group)
      system.add(base, base + geometry.groupBaseBlocks(group))
    }
    const places = placeGroups(geometry, system, deviceSize)
    superblock.s_free_blocks_count = blocks - firstDataBlock - system.total
    superblock.s_overhead_clusters = firstDataBlock + system.total
    return { superblock, geometry, groups: places, system }
  }
}

function newSuperblock(
  settings: MkfsSettings,
  blocks: number,
  groups: number,
  blocksPerGroup: number,
  inodesWanted: number,
): Superblock {
  const { blockSize, features, inodeSize, seconds } = settings
  const s = new Superblock(new Uint8Array(SUPERBLOCK_SIZE))
  for (const feature of features) s.setFeature(feature, true)
  s.s_magic = EXT_MAGIC
  s.s_rev_level = 1
  s.s_state = STATE.VALID
  s.s_errors = 1
  s.s_max_mnt_count = 0xffff
  s.s_log_block_size = Math.log2(blockSize) - 10
  s.s_log_cluster_size = s.s_log_block_size
  s.s_first_data_block = blockSize === 1024 ? 1 : 0
  s.s_blocks_count = blocks
  s.s_r_blocks_count = Math.floor((blocks * settings.reservedPercent) / 100)
  s.s_blocks_per_group = blocksPerGroup
  s.s_clusters_per_group = blocksPerGroup
  s.s_first_ino = FIRST_INODE
  s.s_inode_size = inodeSize
  s.s_inodes_per_group = inodesPerGroup(settings, groups, inodesWanted)
  s.s_inodes_count = s.s_inodes_per_group * groups
  s.s_free_inodes_count = s.s_inodes_count
  s.s_wtime = seconds
  s.s_lastcheck = seconds
  s.s_mkfs_time = seconds
  s.s_uuid.set(settings.uuid)
  s.s_volume_name = settings.label
  s.s_hash_seed.set(settings.hashSeed)
  s.s_def_hash_version = HALF_MD4
  s.s_flags = SUPERBLOCK_FLAG.SIGNED_HASH
  s.s_default_mount_opts = DEFAULT_MOUNT_OPTIONS
  if (features.has('64bit')) s.s_desc_size = 64
  if (features.has('flex_bg')) s.s_log_groups_per_flex = LOG_GROUPS_PER_FLEX
  if (features.has('metadata_csum')) s.s_checksum_type = 1
  if (features.has('metadata_csum_seed')) s.s_checksum_seed = crc32c(0xffff_ffff, settings.uuid)
  if (inodeSize > 128) {
    s.s_min_extra_isize = EXTRA_ISIZE
    s.s_want_extra_isize = EXTRA_ISIZE
  }
  if (features.has('resize_inode'))
    s.s_reserved_gdt_blocks = reservedDescriptorBlocks(s, blocks, groups, blocksPerGroup)
  return s
}

/** Whole blocks of inodes and a multiple of 8, enough for the wanted number and the reserved ones. */
function inodesPerGroup(settings: MkfsSettings, groups: number, wanted: number): number {
  const perBlock = settings.blockSize / settings.inodeSize
  const limit = Math.min(settings.blockSize * 8, 65536 - perBlock, Math.floor(0xffff_ffff / groups))
  const least = Math.ceil((FIRST_INODE + 5) / groups)
  const each = Math.min(limit, Math.max(least, Math.ceil(wanted / groups)))
  const whole = Math.min(limit, Math.ceil(each / perBlock) * perBlock)
  return Math.max(8, whole - (whole % 8))
}

/** calc_reserved_gdt_blocks of e2fsprogs: room to grow to 1024 times the size, or to 2^32 blocks. */
function reservedDescriptorBlocks(
  superblock: Superblock,
  blocks: number,
  groups: number,
  blocksPerGroup: number,
): number {
  const blockSize = 1024 << superblock.s_log_block_size
  const perBlock = blockSize / (superblock.has('64bit') ? superblock.s_desc_size : 32)
  const largest = Math.min(blocks * 1024, 0xffff_ffff)
  const grown = Math.ceil((largest - superblock.s_first_data_block) / blocksPerGroup)
  const more = Math.ceil(grown / perBlock) - Math.ceil(groups / perBlock)
  return Math.max(0, Math.min(more, blockSize / 4))
}

/** The bitmaps and tables of the groups of one flex group lie together at its start. Adds them to `system`. */
function placeGroups(geometry: Geometry, system: RangeSet, deviceSize: number): GroupPlaces[] {
  const places: GroupPlaces[] = []
  for (let first = 0; first < geometry.groups; first += geometry.groupsPerFlex) {
    const count = Math.min(geometry.groupsPerFlex, geometry.groups - first)
    let at = geometry.groupFirstBlock(first)
    const place = (length: number): BlockNumber => {
      at = nextGap(system, at, length)
      // At the end of the volume what is left lies before.
      if (at + length > geometry.blocksCount) at = nextGap(system, geometry.firstDataBlock, length)
      if (at + length > geometry.blocksCount) throw tooSmall(deviceSize)
      system.add(at, at + length)
      at += length
      return at - length
    }
    const blockBitmaps = Array.from({ length: count }, () => place(1))
    const inodeBitmaps = Array.from({ length: count }, () => place(1))
    for (let index = 0; index < count; index++)
      places.push({
        blockBitmap: blockBitmaps[index] ?? 0,
        inodeBitmap: inodeBitmaps[index] ?? 0,
        inodeTable: place(geometry.inodeTableBlocks),
      })
  }
  return places
}

/** The first place from `from` on where a run of blocks is not in the set. */
function nextGap(taken: RangeSet, from: BlockNumber, length: number): BlockNumber {
  let at = from
  for (const { start, end } of taken.ranges(from)) {
    if (start >= at + length) break
    at = end
  }
  return at
}

function tooSmall(deviceSize: number): DrydiskError {
  return new DrydiskError('ENOSPC', `a volume of ${deviceSize} bytes is too small for an ext4 filesystem`)
}
