import type { Soon } from './soon.ts'
import type { XfsVolume } from './volume.ts'

/** sb_qflags (xfs_log_format.h): XFS_UQUOTA_CHKD, XFS_OQUOTA_CHKD, XFS_GQUOTA_CHKD, XFS_PQUOTA_CHKD. */
const CHECKED = 0x0004 | 0x0020 | 0x0100 | 0x0400
const SB_QFLAGS = 176

/**
 * Usage by users, groups and projects is not kept up to date here: the marks that it was counted go, and the next mount with
 * quota counts anew (xfs_qm_need_quotacheck). Only in a transaction.
 */
export function forgetQuotaCheck(volume: XfsVolume): Soon<void> {
  return (volume.superblock.sb_qflags & CHECKED) === 0 ? undefined : forgetMarks(volume)
}

async function forgetMarks(volume: XfsVolume): Promise<void> {
  const marks = (await volume.readSuperblock()).u16(SB_QFLAGS)
  if ((marks & CHECKED) !== 0) (await volume.editSuperblock()).setU16(SB_QFLAGS, marks & ~CHECKED)
}
