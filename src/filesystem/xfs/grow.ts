import { bigEndian } from '../../bytes/byte-view.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import { AG_SECTOR } from './ag-header.ts'
import { AGF_CRC_OFFSET } from './agf.ts'
import { AGI_CRC_OFFSET } from './agi.ts'
import { storeChecksum } from './checksum.ts'
import { unsupported } from './errors.ts'
import { INCOMPAT, whyUnwritable } from './features.ts'
import { Inodes } from './inodes.ts'
import { findActiveLog } from './log/find-tail.ts'
import { LogArea } from './log/log-area.ts'
import { agImage } from './mkfs/ag-image.ts'
import { openXfs } from './open.ts'
import { readSuperblock } from './read-superblock.ts'
import { createSpace } from './space/space.ts'
import { SB_CRC_OFFSET, type Superblock } from './superblock.ts'
import { inTransaction } from './transaction.ts'
import { XfsVolume } from './volume.ts'
import { OWN, structureOwner } from './writer.ts'

/** XFS_MIN_AG_BLOCKS: a shorter last group is not made. */
const LEAST_AG_BLOCKS = 64
/** Where agf_length and agi_length are. */
const LENGTH_AT = 12
/** Bytes of struct xfs_dsb that version 4 has, and version 5 without features that are not written. */
const SUPERBLOCK_BYTES = { v4: 208, v5: 264 } as const

/** What `growXfs` takes. */
export interface GrowXfsOptions {
  /** Bytes of the volume that the filesystem is to fill; all of them when left out. */
  readonly size?: number
}

/** What `growXfs` did. Sizes are in bytes. */
export interface GrownXfs {
  /** Bytes of the filesystem. The same as `after` where there is no room for more. */
  readonly before: number
  readonly after: number
  /** Allocation groups, and the bytes of each but the last. */
  readonly agCount: number
  readonly agSize: number
}

/**
 * Makes an XFS filesystem fill a volume that became larger, as xfs_growfs(8) makes a mounted one: the last allocation group becomes as
 * long as the others, and new ones follow. Less than 64 blocks at the end are left over. A log that is dirty is replayed first.
 *
 * The superblock and the groups change together only where the device's own commit makes them: on an image, not on a bare disk.
 *
 * `EROFS`; `ERR_INVALID_ARGUMENT` for a size that is smaller than the filesystem, or larger than the volume; `ERR_UNSUPPORTED` for what
 * drydisk does not write; `ERR_CORRUPT`.
 */
export async function growXfs(device: BlockDevice, options: GrowXfsOptions = {}): Promise<GrownXfs> {
  if (!device.writable)
    throw new DrydiskError('EROFS', 'xfs: the volume is open for reading only, so its filesystem cannot grow')
  const before = await readSuperblock(device)
  const size = options.size ?? device.size
  const length = before.sb_dblocks * before.sb_blocksize
  if (size > device.size || (options.size !== undefined && size < length))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `xfs: the filesystem has ${length} bytes and cannot be made to have ${size} in a volume of ${device.size}: it can grow, not shrink`,
      { size, filesystem: length, volume: device.size },
    )
  const { blocks, agCount } = shapeFor(before, size)
  if (blocks > before.sb_dblocks) {
    requireWritable(before)
    await settleLog(device, before)
    await growTo(device, await readSuperblock(device), blocks, agCount)
    await device.flush()
  }
  return {
    before: length,
    after: blocks * before.sb_blocksize,
    agCount,
    agSize: before.sb_agblocks * before.sb_blocksize,
  }
}

/** xfs_growfs_data_private */
function shapeFor(sb: Superblock, size: number): { blocks: number; agCount: number } {
  const blocks = Math.floor(size / sb.sb_blocksize)
  const rest = blocks % sb.sb_agblocks
  const used = rest < LEAST_AG_BLOCKS ? blocks - rest : blocks
  return used <= sb.sb_dblocks
    ? { blocks: sb.sb_dblocks, agCount: sb.sb_agcount }
    : { blocks: used, agCount: Math.ceil(used / sb.sb_agblocks) }
}

function requireWritable(sb: Superblock): void {
  // Parent pointers are in inodes, and no inode changes.
  const reasons = whyUnwritable({ ...sb, sb_features_incompat: sb.sb_features_incompat & ~INCOMPAT.PARENT })
  if (reasons.length > 0)
    throw unsupported(`the filesystem ${reasons.join('; it ')}: nothing was changed, and it does not grow`)
}

async function settleLog(device: BlockDevice, sb: Superblock): Promise<void> {
  const { clean, head, tail, torn } = await findActiveLog(new LogArea(device, sb))
  if (torn === 0 && (clean || head === tail)) return
  const fs = await openXfs(device, { writable: true })
  await fs.close()
}

async function growTo(device: BlockDevice, sb: Superblock, blocks: number, agCount: number): Promise<void> {
  const grown: Superblock = { ...sb, sb_dblocks: blocks, sb_agcount: agCount }
  const last = sb.sb_agcount - 1
  const old = new XfsVolume(device, sb)
  // What is to become longer has to be sound first.
  await old.readAgf(last)
  await old.readAgi(last)

  const volume = new XfsVolume(device, grown)
  const { geometry } = volume
  let free = 0
  for (let agno = sb.sb_agcount; agno < agCount; agno++) {
    // As Linux leaves it: the free list is filled when something is allocated.
    const image = agImage(grown, { agno, length: geometry.agLength(agno), freeList: 0 })
    await device.write(geometry.agByte(agno), image.bytes)
    free += image.free
  }
  await inTransaction({ volume, inodes: new Inodes(volume) }, async () => {
    await extendGroup(volume, last, old.geometry.agLength(last))
    const view = await volume.editSuperblock()
    view.setU64(8, blocks)
    view.setU32(88, agCount)
    await volume.count({ fdblocks: free })
  })
  await volume.buffers.flush()
  await copySuperblock(device, volume)
}

/** The last group becomes longer: its headers say so, and what it gains is free (xfs_ag_extend_space). */
async function extendGroup(volume: XfsVolume, agno: number, before: number): Promise<void> {
  const { geometry } = volume
  const length = geometry.agLength(agno)
  if (length === before) return
  await setLength(volume, agno, AG_SECTOR.AGF, AGF_CRC_OFFSET, length)
  await setLength(volume, agno, AG_SECTOR.AGI, AGI_CRC_OFFSET, length)
  const gained = { start: geometry.fsBlock(agno, before), count: length - before }
  await createSpace(volume).free(gained, structureOwner(OWN.NULL))
}

/** The volume reads a header only when it has the length that the superblock gives, which it has not yet. */
async function setLength(
  volume: XfsVolume,
  agno: number,
  number: number,
  crcAt: number,
  length: number,
): Promise<void> {
  const { sb_sectsize, sb_blocksize } = volume.superblock
  const byte = number * sb_sectsize
  const at = byte % sb_blocksize
  const block = volume.geometry.inAg(agno, Math.floor(byte / sb_blocksize))
  const buffer = await volume.buffers.edit([block], { at, length: sb_sectsize, crcAt })
  bigEndian(buffer, 'xfs header of an allocation group').setU32(at + LENGTH_AT, length)
  // It is read and checked before it is written, which is when its checksum is stored otherwise.
  if (volume.superblock.isV5) storeChecksum(buffer.subarray(at, at + sb_sectsize), crcAt)
}

/** Every group but the first has a copy of the superblock, which xfs_repair goes by when the first is damaged. */
async function copySuperblock(device: BlockDevice, { superblock, geometry }: XfsVolume): Promise<void> {
  const { isV5, sb_sectsize } = superblock
  const sector = new Uint8Array(sb_sectsize)
  await device.read(0, sector)
  sector.fill(0, isV5 ? SUPERBLOCK_BYTES.v5 : SUPERBLOCK_BYTES.v4)
  if (isV5) storeChecksum(sector, SB_CRC_OFFSET)
  for (let agno = 1; agno < geometry.agCount; agno++) await device.write(geometry.agByte(agno), sector)
}
