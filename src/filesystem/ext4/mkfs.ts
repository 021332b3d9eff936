import { crc32c } from '../../bytes/crc32c.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import type { Timestamp } from '../filesystem.ts'
import { countFree, fillBits } from './bitmap.ts'
import type { BlockNumber } from './context.ts'
import { type DescriptorChecksum, GROUP_FLAG, GroupDescriptor } from './group-descriptor.ts'
import { makeContents } from './mkfs-contents.ts'
import { type GroupPlaces, type MkfsLayout, mkfsLayout } from './mkfs-layout.ts'
import { type MakeExt4Options, mkfsSettings } from './mkfs-options.ts'
import { SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock } from './superblock.ts'
import { Ext4Volume, readSuperblock } from './volume.ts'

export type { MakeExt4Options } from './mkfs-options.ts'

/** Inodes 1 to 10 are the filesystem's own. */
const RESERVED_INODES = 10

/**
 * Makes a new ext4 filesystem that fills the device, with the features that mkfs.ext4 has today and `lost+found`. All that
 * was on the device is erased. Groups stay uninitialised where the features allow it, so a large filesystem costs little.
 *
 * `ERR_INVALID_ARGUMENT` for options that contradict each other, `ERR_UNSUPPORTED` for a feature by name, `ENOSPC` for a
 * device that is too small, `EROFS` for one that is not writable.
 */
export async function makeExt4(device: BlockDevice, options: MakeExt4Options = {}): Promise<void> {
  if (!device.writable)
    throw new DrydiskError('EROFS', 'cannot make a filesystem: the volume is open for reading only')
  const settings = mkfsSettings(device.size, options)
  const layout = mkfsLayout(device.size, settings)
  await device.erase(0, device.size)
  await writeGroups(device, layout)
  const now = (): Timestamp => BigInt(settings.seconds) * 1_000_000_000n
  const volume = new Ext4Volume(device, await readSuperblock(device), true, options.now ?? now)
  await volume.prepareWriting(true)
  await makeContents(volume, settings)
  await volume.sync()
  await writeBackups(device, volume)
  await device.flush()
}

/** Superblock, descriptors and the bitmaps that cannot be left uninitialised: an empty filesystem without a root. */
async function writeGroups(device: BlockDevice, layout: MkfsLayout): Promise<void> {
  const { superblock, geometry, groups, system } = layout
  const how = descriptorChecksum(superblock)
  const lazy = how.kind !== 'none'
  const table = new Uint8Array(geometry.descriptorBlocks * geometry.blockSize)
  let freeBlocks = 0
  for (const [group, places] of groups.entries()) {
    const at = group * geometry.descriptorSize
    const descriptor = new GroupDescriptor(table.subarray(at, at + geometry.descriptorSize), group)
    descriptor.bg_block_bitmap = places.blockBitmap
    descriptor.bg_inode_bitmap = places.inodeBitmap
    descriptor.bg_inode_table = places.inodeTable

    const first = geometry.groupFirstBlock(group)
    const blocks = geometry.groupBlocks(group)
    const blockBitmap = paddedBitmap(geometry.blockSize, blocks)
    for (const { start, end } of system.ranges(first, first + blocks))
      fillBits(blockBitmap, start - first, end - start, true)
    descriptor.bg_free_blocks_count = countFree(blockBitmap, blocks)
    freeBlocks += descriptor.bg_free_blocks_count
    // A kernel that initialises a bitmap marks the group's own structures and no other group's; and the last group's bitmap
    // has an end that is not the group's.
    const own =
      geometry.groupBaseBlocks(group) + blocksWithin(places, geometry.inodeTableBlocks, first, blocks)
    const ownOnly = descriptor.bg_free_blocks_count === blocks - own
    if (lazy && ownOnly && group > 0 && group < geometry.groups - 1)
      descriptor.setFlag(GROUP_FLAG.BLOCK_UNINIT, true)
    else {
      descriptor.blockBitmapChecksum = bitmapChecksum(how, blockBitmap, geometry.clustersPerGroup)
      await device.write(places.blockBitmap * geometry.blockSize, blockBitmap)
    }

    const reserved = group === 0 ? RESERVED_INODES : 0
    descriptor.bg_free_inodes_count = geometry.inodesPerGroup - reserved
    descriptor.bg_used_dirs_count = group === 0 ? 1 : 0
    if (lazy) {
      descriptor.bg_itable_unused = geometry.inodesPerGroup - reserved
      descriptor.setFlag(GROUP_FLAG.INODE_ZEROED, true)
    }
    if (lazy && group > 0) descriptor.setFlag(GROUP_FLAG.INODE_UNINIT, true)
    else {
      const inodeBitmap = paddedBitmap(geometry.blockSize, geometry.inodesPerGroup)
      fillBits(inodeBitmap, 0, reserved, true)
      descriptor.inodeBitmapChecksum = bitmapChecksum(how, inodeBitmap, geometry.inodesPerGroup)
      await device.write(places.inodeBitmap * geometry.blockSize, inodeBitmap)
    }
    descriptor.updateChecksum(group, how)
  }
  superblock.s_free_blocks_count = freeBlocks
  superblock.s_free_inodes_count = geometry.inodesCount - RESERVED_INODES
  superblock.updateChecksum()
  await device.write(geometry.descriptorBlock(0) * geometry.blockSize, table)
  await device.write(SUPERBLOCK_OFFSET, superblock.bytes)
}

/** How many blocks of a group's bitmaps and inode table lie within a window of the volume. */
function blocksWithin(places: GroupPlaces, tableBlocks: number, first: BlockNumber, count: number): number {
  const end = first + count
  const inside = (start: BlockNumber, length: number): number =>
    Math.max(0, Math.min(start + length, end) - Math.max(start, first))
  return (
    inside(places.blockBitmap, 1) + inside(places.inodeBitmap, 1) + inside(places.inodeTable, tableBlocks)
  )
}

function descriptorChecksum(superblock: Superblock): DescriptorChecksum {
  if (superblock.has('metadata_csum')) return { kind: 'crc32c', seed: superblock.checksumSeed }
  return superblock.has('uninit_bg') ? { kind: 'crc16', uuid: superblock.s_uuid } : { kind: 'none' }
}

function bitmapChecksum(how: DescriptorChecksum, bitmap: Uint8Array, bits: number): number {
  return how.kind === 'crc32c' ? crc32c(how.seed, bitmap.subarray(0, bits >>> 3)) : 0
}

/** A bitmap block whose first `bits` bits are free; the rest is all ones, as e2fsck wants it. */
function paddedBitmap(blockSize: number, bits: number): Uint8Array {
  const bitmap = new Uint8Array(blockSize)
  fillBits(bitmap, bits, blockSize * 8 - bits, true)
  return bitmap
}

/** Copies superblock and descriptors to the groups that keep a backup of them. */
async function writeBackups(device: BlockDevice, volume: Ext4Volume): Promise<void> {
  const { geometry } = volume
  const table = new Uint8Array(geometry.descriptorBlocks * geometry.blockSize)
  await device.read(geometry.descriptorBlock(0) * geometry.blockSize, table)
  const superblock = new Superblock(new Uint8Array(SUPERBLOCK_SIZE))
  superblock.bytes.set(volume.superblock.bytes)
  for (let group = 1; group < geometry.groups; group++) {
    if (!geometry.hasSuperblock(group)) continue
    superblock.s_block_group_nr = group & 0xffff
    superblock.updateChecksum()
    const at = geometry.groupFirstBlock(group) * geometry.blockSize
    await device.write(at, superblock.bytes)
    await device.write(at + geometry.blockSize, table)
  }
}
