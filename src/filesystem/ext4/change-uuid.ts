import { littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import { type BitmapKind, blockBitmapKind, inodeBitmapKind } from './group-bitmaps.ts'
import { type DescriptorChecksum, GroupDescriptor } from './group-descriptor.ts'
import { openExt4 } from './open.ts'
import { resealInodes } from './reseal.ts'
import { STATE, SUPERBLOCK_OFFSET, Superblock } from './superblock.ts'
import { Ext4Volume, readSuperblock } from './volume.ts'

/** mmp_checksum is the last word of struct mmp_struct. */
const MMP_CHECKSUM = 0x3fc

/**
 * Gives an ext2, ext3 or ext4 filesystem another UUID, as `tune2fs -U` does. With metadata_csum every checksum starts from the
 * UUID, and all are made anew, unless metadata_csum_seed keeps what they start from; with uninit_bg those of the group
 * descriptors are. The journal keeps its own UUID, from which its checksums start. A journal with something to recover is replayed first.
 *
 * The changes are not atomic by themselves: the device's own commit has to make them so. After an error nothing of it is of use.
 *
 * @param uuid 16 bytes.
 * @throws ERR_UNSUPPORTED where the UUID is part of what is stored (ea_inode without metadata_csum_seed, stable_inodes), and what
 * `openExt4` refuses to write; ERR_CORRUPT for metadata whose checksum is wrong now.
 */
export async function changeExt4Uuid(device: BlockDevice, uuid: Uint8Array): Promise<void> {
  if (uuid.length !== 16) throw new RangeError('a UUID has 16 bytes')
  const opened = await openExt4(device, { writable: true })
  await opened.sync()
  await opened.close()

  const superblock = await readSuperblock(device)
  refuseBound(superblock)
  const volume = new Ext4Volume(device, superblock, true, () => 0n)
  const renewed = new Superblock(superblock.bytes.slice())
  renewed.s_uuid.set(uuid)
  if (volume.metadataChecksums && renewed.checksumSeed !== volume.checksumSeed) {
    await resealInodes(volume, renewed.checksumSeed)
    await resealMmp(volume, renewed.checksumSeed)
    await resealBitmaps(volume, renewed.checksumSeed)
  }
  if (volume.descriptors.hasChecksums) {
    await resealDescriptors(volume, renewed)
    await volume.blocks.flush()
    await copyDescriptors(volume)
  }
  await writeSuperblocks(volume, renewed)
  await device.flush()
}

/** As tune2fs refuses: what is encrypted, or hashed, depends on the UUID. */
function refuseBound(superblock: Superblock): void {
  const bound = superblock.has('stable_inodes')
    ? 'stable_inodes'
    : superblock.has('ea_inode') && superblock.has('metadata_csum') && !superblock.has('metadata_csum_seed')
      ? 'ea_inode without metadata_csum_seed'
      : undefined
  if (bound !== undefined)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `ext4: with the feature ${bound} contents depend on the filesystem's UUID, so it stays`,
      { features: bound },
    )
}

async function resealMmp({ superblock, blocks, checksumSeed }: Ext4Volume, seed: number): Promise<void> {
  if (!superblock.has('mmp')) return
  const bytes = await blocks.edit(superblock.s_mmp_block)
  const view = littleEndian(bytes, 'mmp block')
  const summed = bytes.subarray(0, MMP_CHECKSUM)
  if (view.u32(MMP_CHECKSUM) !== crc32c(checksumSeed, summed))
    throw damaged('the checksum of the block of multiple mount protection is wrong')
  view.setU32(MMP_CHECKSUM, crc32c(seed, summed))
}

/** The checksums of bitmaps are in the descriptors; those of bitmaps that were never written say nothing. */
async function resealBitmaps(volume: Ext4Volume, seed: number): Promise<void> {
  const { geometry, blocks, descriptors, checksumSeed } = volume
  const kinds: readonly BitmapKind[] = [blockBitmapKind(geometry, () => []), inodeBitmapKind(geometry)]
  for (let group = 0; group < geometry.groups; group++)
    for (const kind of kinds) {
      const descriptor = await descriptors.read(group)
      if (descriptor.hasFlag(kind.uninitialised)) continue
      const summed = (await blocks.read(kind.place(descriptor))).subarray(0, kind.checksummed)
      if (!kind.checksumIs(descriptor, crc32c(checksumSeed, summed)))
        throw damaged(`the checksum of the ${kind.name} of group ${group} is wrong`)
      await descriptors.change(group, changed => kind.setChecksum(changed, crc32c(seed, summed)))
    }
}

async function resealDescriptors(volume: Ext4Volume, renewed: Superblock): Promise<void> {
  const { geometry, blocks, descriptors } = volume
  const how: DescriptorChecksum = renewed.has('metadata_csum')
    ? { kind: 'crc32c', seed: renewed.checksumSeed }
    : { kind: 'crc16', uuid: renewed.s_uuid.slice() }
  const { descriptorsPerBlock, descriptorSize, groups } = geometry
  for (let group = 0; group < groups; group++) {
    // Verified where it was not yet.
    await descriptors.read(group)
    const block = geometry.descriptorBlock(Math.floor(group / descriptorsPerBlock))
    const at = (group % descriptorsPerBlock) * descriptorSize
    const bytes = (await blocks.edit(block)).subarray(at, at + descriptorSize)
    new GroupDescriptor(bytes, group).updateChecksum(group, how)
  }
}

/** Groups with a superblock have a copy of the descriptors behind it; with meta_bg, two groups of each meta group have one. */
async function copyDescriptors({ superblock, geometry, blocks, device }: Ext4Volume): Promise<void> {
  const { descriptorBlocks, descriptorsPerBlock, groups, blockSize } = geometry
  const firstMeta = superblock.has('meta_bg') ? superblock.s_first_meta_bg : descriptorBlocks
  for (let index = 0; index < descriptorBlocks; index++) {
    const bytes = (await blocks.read(geometry.descriptorBlock(index))).slice()
    const copies: number[] = []
    if (index < firstMeta) {
      for (let group = 1; group < groups; group++)
        if (geometry.hasSuperblock(group)) copies.push(geometry.groupFirstBlock(group) + 1 + index)
    } else {
      const first = index * descriptorsPerBlock
      for (const group of [first + 1, first + descriptorsPerBlock - 1])
        if (group < groups)
          copies.push(geometry.groupFirstBlock(group) + (geometry.hasSuperblock(group) ? 1 : 0))
    }
    for (const block of copies) await device.write(block * blockSize, bytes)
  }
}

async function writeSuperblocks({ geometry, device }: Ext4Volume, renewed: Superblock): Promise<void> {
  for (let group = 1; group < geometry.groups; group++) {
    if (!geometry.hasSuperblock(group)) continue
    // As ext2fs_flush of e2fsprogs: a copy is never marked clean.
    const copy = new Superblock(renewed.bytes.slice())
    copy.s_block_group_nr = group
    copy.s_state &= ~STATE.VALID
    copy.updateChecksum()
    await device.write(geometry.groupFirstBlock(group) * geometry.blockSize, copy.bytes)
  }
  renewed.updateChecksum()
  await device.write(SUPERBLOCK_OFFSET, renewed.bytes)
}

function damaged(what: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `ext4: ${what}; run e2fsck`)
}
