import { bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import { checksumIsRight, storeChecksum } from './checksum.ts'
import { corrupt, unsupported } from './errors.ts'
import { INCOMPAT } from './features.ts'
import { Geometry } from './geometry.ts'
import { findActiveLog } from './log/find-tail.ts'
import { LogArea } from './log/log-area.ts'
import { nextCycle } from './log/record-header.ts'
import { unmountRecord } from './log/unmount-record.ts'
import { openXfs } from './open.ts'
import { readSuperblock } from './read-superblock.ts'
import { SB_CRC_OFFSET, type Superblock, XFS_SB_MAGIC } from './superblock.ts'

const AT = { uuid: 32, incompat: 216, metaUuid: 248 } as const

/**
 * Gives an XFS filesystem another UUID, as `xfs_admin -U` does. In version 5 all metadata holds the UUID that mkfs.xfs gave:
 * it moves to sb_meta_uuid, with the feature that says so (Linux 4.3, xfsprogs 4.2 and GRUB 2.02 know it), and the feature goes when
 * that UUID comes back. In version 4 only superblocks and log hold it. A log that is dirty is replayed first; then it gets the record of an
 * unmount with the new UUID, because a mount compares that of the last record.
 *
 * The changes are not atomic by themselves: the device's own commit has to make them so.
 *
 * @param uuid 16 bytes.
 * @throws ERR_UNSUPPORTED and ERR_CORRUPT as `openXfs` does for a filesystem that is to be written.
 */
export async function changeXfsUuid(device: BlockDevice, uuid: Uint8Array): Promise<void> {
  if (uuid.length !== 16 || uuid.every(byte => byte === 0))
    throw new DrydiskError('ERR_INVALID_ARGUMENT', 'xfs: a UUID has 16 bytes, and not all of them are 0')
  const opened = await openXfs(device, { writable: true })
  await opened.sync()
  await opened.close()

  const superblock = await readSuperblock(device)
  const log = new LogArea(device, superblock)
  const { head, newest, clean } = await findActiveLog(log)
  if (newest !== undefined && !clean) throw unsupported('the log does not end with the record of an unmount')
  await changeSuperblocks(device, superblock, uuid)
  if (newest !== undefined) {
    const cycle = nextCycle(await log.header(newest), head)
    const place = { cycle, block: head, logBlocks: log.blocks, previous: newest }
    await log.write(head, unmountRecord({ ...superblock, sb_uuid: uuid }, place))
  }
  await device.flush()
}

async function changeSuperblocks(
  device: BlockDevice,
  superblock: Superblock,
  uuid: Uint8Array,
): Promise<void> {
  const { isV5, metaUuid, sb_sectsize, sb_agcount } = superblock
  const geometry = new Geometry(superblock)
  const sector = new Uint8Array(sb_sectsize)
  const view = bigEndian(sector, 'XFS superblock')
  for (let agno = 0; agno < sb_agcount; agno++) {
    await device.read(geometry.agByte(agno), sector)
    if (view.u32(0) !== XFS_SB_MAGIC || (isV5 && !checksumIsRight(sector, SB_CRC_OFFSET)))
      throw corrupt('superblock', `the copy of the superblock in allocation group ${agno} is damaged`)
  }
  // The first one last: it is the one that counts.
  for (let agno = sb_agcount - 1; agno >= 0; agno--) {
    await device.read(geometry.agByte(agno), sector)
    sector.set(uuid, AT.uuid)
    if (isV5) {
      const same = equalBytes(uuid, metaUuid)
      const incompat = view.u32(AT.incompat)
      view.setU32(AT.incompat, (same ? incompat & ~INCOMPAT.META_UUID : incompat | INCOMPAT.META_UUID) >>> 0)
      sector.fill(0, AT.metaUuid, AT.metaUuid + 16)
      if (!same) sector.set(metaUuid, AT.metaUuid)
      storeChecksum(sector, SB_CRC_OFFSET)
    }
    await device.write(geometry.agByte(agno), sector.slice())
  }
}
