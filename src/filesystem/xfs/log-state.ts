import type { BlockDevice } from '../../device/block-device.ts'
import { isDrydiskError } from '../../errors.ts'
import { findActiveLog } from './log/find-tail.ts'
import { LogArea } from './log/log-area.ts'
import { readSuperblock } from './read-superblock.ts'

/** Whether the log has something to replay, by its last records alone; `false` where that cannot be told. */
export async function isXfsLogDirty(device: BlockDevice): Promise<boolean> {
  try {
    const superblock = await readSuperblock(device)
    if (superblock.sb_logstart === 0) return false
    const { clean, head, tail } = await findActiveLog(new LogArea(device, superblock))
    return !clean && head !== tail
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return false
  }
}
