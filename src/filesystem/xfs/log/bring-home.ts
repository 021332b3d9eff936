import { bigEndian } from '../../../bytes/byte-view.ts'
import type { BlockDevice } from '../../../device/block-device.ts'
import type { Storage } from '../../../device/storage.ts'
import { DrydiskError } from '../../../errors.ts'
import { storeChecksum } from '../checksum.ts'
import { LOG_INCOMPAT } from '../features.ts'
import { SB_CRC_OFFSET, type Superblock } from '../superblock.ts'
import { BBSIZE } from './basic-block.ts'
import { corruptLog } from './errors.ts'
import { MOST_IN_FLIGHT } from './find-head.ts'
import { type ActiveLog, findActiveLog } from './find-tail.ts'
import { cycleAt, LogArea } from './log-area.ts'
import { lsnBlock, MOST_RECORD, nextCycle, V1_RECORD } from './record-header.ts'
import { type LogRecovery, replayLog } from './recover.ts'
import { fillHeader, unmountRecord } from './unmount-record.ts'

const SB_FEATURES_LOG_INCOMPAT = 220

/**
 * Replays the log of a filesystem that was not unmounted onto the device, and leaves the log as an unmount does, so that
 * Linux, xfs_repair and the next open find nothing to replay. A log that is clean stays as it is.
 *
 * All that can be refused is refused before the first write.
 * @returns the device itself; `dirty`: there was something to replay, and the superblock may have changed.
 * @throws as `recoverLog` does, and ERR_UNSUPPORTED for a log on another device.
 */
export async function bringLogHome(
  device: BlockDevice,
  superblock: Superblock,
  options: { readonly spill?: () => Promise<Storage> } = {},
): Promise<LogRecovery> {
  if (superblock.sb_logstart === 0)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      'the log of this XFS filesystem lies on another device, so whether changes wait in it cannot be seen, and nothing was changed. It can be read; to change it, mount it with Linux (mount -o logdev=DEVICE)',
      { structure: 'XFS log' },
    )
  const log = new LogArea(device, superblock)
  const active = await findActiveLog(log)
  const cleaning = active.newest === undefined ? [] : await planCleaning(log, active, active.newest)
  const { overlay, ...rest } = await replayLog(device, log, active, { ...options, exact: true })
  try {
    await overlay?.writeBack()
  } finally {
    await overlay?.rollback()
  }
  for (const { block, bytes } of cleaning) await log.write(block, bytes)
  await clearLogFeatures(device, superblock)
  return { device, dirty: overlay !== undefined, ...rest }
}

/** A clean log holds nothing that an older Linux could not read (xfs_clear_incompat_log_features). */
async function clearLogFeatures(device: BlockDevice, { isV5, sb_sectsize }: Superblock): Promise<void> {
  if (!isV5) return
  const sector = new Uint8Array(sb_sectsize)
  await device.read(0, sector)
  const view = bigEndian(sector, 'XFS superblock')
  const features = view.u32(SB_FEATURES_LOG_INCOMPAT)
  if ((features & LOG_INCOMPAT.XATTRS) === 0) return
  view.setU32(SB_FEATURES_LOG_INCOMPAT, features & ~LOG_INCOMPAT.XATTRS)
  storeChecksum(sector, SB_CRC_OFFSET)
  await device.write(0, sector)
}

interface LogWrite {
  readonly block: number
  readonly bytes: Uint8Array
}

/** What makes a log clean; nothing where it is. */
async function planCleaning(log: LogArea, active: ActiveLog, newest: number): Promise<LogWrite[]> {
  const { head, tail, clean, torn } = active
  if (torn === 0 && (clean || head === tail)) return []
  const header = await log.header(newest)
  const cycle = nextCycle(header, head)
  const tailCycle = Number(header.tailLsn >> 32n)
  const tailBlock = lsnBlock(header.tailLsn)
  const isAhead = cycle === tailCycle ? head >= tailBlock : cycle === tailCycle + 1 && head < tailBlock
  if (!isAhead)
    throw corruptLog(
      `its head is at basic block ${head} of cycle ${cycle} and its tail at ${tailBlock} of cycle ${tailCycle}, which no log has`,
    )
  const unmount = unmountRecord(log.superblock, {
    cycle,
    block: head,
    logBlocks: log.blocks,
    previous: newest,
  })
  const room = cycle === tailCycle ? log.blocks - head + tailBlock : tailBlock - head
  const stale = await staleBlocks(log, { head, cycle, tailLsn: header.tailLsn, room })
  return [...stale, { block: head, bytes: unmount }]
}

/**
 * Records that were under way at the crash may lie behind the head, with its cycle number: a reader would take them for ones
 * that followed. They become empty headers of the cycle before (Linux, xlog_clear_stale_blocks).
 */
async function staleBlocks(
  log: LogArea,
  { head, cycle, tailLsn, room }: { head: number; cycle: number; tailLsn: bigint; room: number },
): Promise<LogWrite[]> {
  const reach = ((log.isV2 ? MOST_RECORD : V1_RECORD) / BBSIZE) * MOST_IN_FLIGHT
  const bytes = await log.read(head, Math.min(reach, room))
  const cycleOf = (index: number) => (head + index < log.blocks ? cycle : cycle + 1)
  let count = bytes.length / BBSIZE
  while (count > 0 && cycleAt(bytes, (count - 1) * BBSIZE) < cycleOf(count - 1)) count--
  const cleared = bytes.subarray(0, count * BBSIZE).fill(0)
  for (let index = 0; index < count; index++)
    fillHeader(cleared.subarray(index * BBSIZE, (index + 1) * BBSIZE), log.superblock, {
      cycle: cycleOf(index) - 1,
      block: (head + index) % log.blocks,
      tailLsn,
    })
  return count === 0 ? [] : [{ block: head, bytes: cleared }]
}
