import { littleEndian } from '../../../bytes/byte-view.ts'
import { corruptLog } from './errors.ts'
import type { LogItem } from './transactions.ts'

/** Bytes of struct xfs_disk_dquot, and of struct xfs_dqblk, which has checksum and sequence number behind it. */
const DISK_DQUOT_SIZE = 104
export const DQBLK_SIZE = 136
export const DQBLK_CRC = 108
export const DQBLK_LSN = 112
export const DQUOT_MAGIC = 0x4451

/** A dquot log item, struct xfs_dq_logformat: the limits and usage of one user, group or project. */
export interface DquotItem {
  /** The buffer that holds it, in basic blocks. */
  readonly blkno: number
  readonly len: number
  /** Bytes into the buffer. */
  readonly boffset: number
  /** struct xfs_disk_dquot as it goes to disk. */
  readonly dquot: Uint8Array
  /** 1 user, 2 project, 4 group: as a buffer item's quota bits. */
  readonly type: number
}

export function parseDquotItem(item: LogItem): DquotItem {
  const [format, dquot] = item.regions
  const view = littleEndian(format ?? new Uint8Array(), 'XFS log dquot item')
  if (dquot === undefined || dquot.length < DISK_DQUOT_SIZE || dquot.length > DQBLK_SIZE)
    throw corruptLog(`a logged dquot has ${dquot?.length ?? 0} bytes, expected ${DISK_DQUOT_SIZE}`)
  if (dquot[0] !== DQUOT_MAGIC >> 8 || dquot[1] !== (DQUOT_MAGIC & 0xff))
    throw corruptLog('a logged dquot has no magic number')
  return {
    blkno: view.u64(8),
    len: view.i32(16),
    boffset: view.u32(20),
    dquot,
    type: (dquot[3] ?? 0) & 7,
  }
}

/** The quota types that a quotaoff item turns off, as a buffer item's quota bits (XFS_UQUOTA_ACCT, XFS_PQUOTA_ACCT, XFS_GQUOTA_ACCT). */
export function quotaoffTypes(item: LogItem): number {
  const flags = littleEndian(item.regions[0] ?? new Uint8Array(), 'XFS log quotaoff item').u32(4)
  return ((flags & 0x1) !== 0 ? 1 : 0) | ((flags & 0x8) !== 0 ? 2 : 0) | ((flags & 0x40) !== 0 ? 4 : 0)
}
