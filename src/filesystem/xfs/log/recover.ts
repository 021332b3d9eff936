import type { BlockDevice } from '../../../device/block-device.ts'
import { OverlayDevice } from '../../../device/overlay-device.ts'
import type { Storage } from '../../../device/storage.ts'
import { isDrydiskError } from '../../../errors.ts'
import { LOG_INCOMPAT } from '../features.ts'
import type { Superblock } from '../superblock.ts'
import { sumCounters } from './counters.ts'
import { corruptLog, unsupportedLog } from './errors.ts'
import { type ActiveLog, findActiveLog } from './find-tail.ts'
import { finishOver } from './finish-over.ts'
import type { OpenIntent } from './intents.ts'
import { LogArea, type LogRecord } from './log-area.ts'
import { Replay } from './replay.ts'
import { TransactionReader } from './transactions.ts'

/** Bytes of replayed buffers: without a file for them, and with one. The largest log has 2 GiB. */
const MOST_IN_MEMORY = 2 ** 30
const MOST_SPILLED = 64 * 2 ** 30

/** What became of a log. */
export interface LogRecovery {
  /** The device itself where the log is clean, else an overlay with the replayed blocks; the superblock may have changed. */
  readonly device: BlockDevice
  readonly dirty: boolean
  readonly transactions: number
  /** How many steps transactions had promised and none had done: they were carried out behind the replay. */
  readonly finished: number
  readonly warnings: readonly string[]
}

/**
 * Replays the log of a filesystem that was not unmounted, as the kernel does at mount, into an overlay: nothing is written to
 * the device. The log is read whole and checked before the overlay is given out, so there is never half a replay.
 *
 * @throws ERR_CORRUPT where the log is damaged, ERR_UNSUPPORTED where it holds what cannot be replayed (such as a log on another
 * device); both name the transaction.
 */
export async function recoverLog(
  device: BlockDevice,
  superblock: Superblock,
  options: Pick<ReplayOptions, 'spill'> = {},
): Promise<LogRecovery> {
  const log = new LogArea(device, superblock)
  const replayed = await replayLog(device, log, await findActiveLog(log), options)
  const { overlay, ...rest } = replayed
  return { device: overlay ?? device, dirty: overlay !== undefined, ...rest }
}

/** What a replay gives. */
export interface ReplayedLog {
  /** The device with the replayed blocks; `undefined` where there is nothing to replay. */
  readonly overlay: OverlayDevice | undefined
  readonly transactions: number
  readonly finished: number
  readonly warnings: readonly string[]
}

export interface ReplayOptions {
  /** Makes a file for what memory does not hold, as for an OverlayDevice. */
  readonly spill?: () => Promise<Storage>
  /** What does not change any file has to be right too, as for writing. */
  readonly exact?: boolean
}

/** Replays what the active part of a log holds into an overlay over the device. */
export async function replayLog(
  device: BlockDevice,
  log: LogArea,
  active: ActiveLog,
  options: ReplayOptions,
): Promise<ReplayedLog> {
  const { superblock } = log
  const warnings: string[] = []
  if (active.torn > 0)
    warnings.push(
      `the last ${active.torn} records of the log were being written when the machine stopped, and are left out`,
    )
  if (active.clean || active.head === active.tail)
    return { overlay: undefined, transactions: 0, finished: 0, warnings }
  refuseUnknownFeatures(superblock)

  const replayed = await replayTransactions(device, log, active, options)
  const { overlay, transactions, open } = replayed
  warnings.push(...replayed.warnings)
  try {
    const uncounted = await sumCounters(overlay, superblock.sb_sectsize)
    if (uncounted !== undefined && options.exact) throw corruptLog(uncounted)
    if (uncounted !== undefined) warnings.push(uncounted)
    if (open.length > 0) await finish(overlay, open, options.exact ?? false, warnings)
    return { overlay, transactions, finished: open.length, warnings }
  } catch (error) {
    await overlay.rollback()
    throw error
  }
}

/** The replay alone: the steps that transactions left are still to be done. */
export async function replayTransactions(
  device: BlockDevice,
  log: LogArea,
  active: ActiveLog,
  { spill }: ReplayOptions,
): Promise<{
  readonly overlay: OverlayDevice
  readonly transactions: number
  readonly open: readonly OpenIntent[]
  readonly warnings: readonly string[]
}> {
  const overlay = new OverlayDevice(device, spill === undefined ? {} : { spill })
  const warnings: string[] = []
  try {
    const mostBytes = spill === undefined ? MOST_IN_MEMORY : MOST_SPILLED
    const { transactions, intents } = await replayInto(overlay, log, active, mostBytes, warnings)
    return { overlay, transactions, open: intents.open, warnings }
  } catch (error) {
    await overlay.rollback()
    throw error
  }
}

/** What the log alone has, and a superblock tells of for that reason. */
function refuseUnknownFeatures({ sb_features_log_incompat: features }: Superblock): void {
  const unknown = (features & ~LOG_INCOMPAT.XATTRS) >>> 0
  if (unknown !== 0)
    throw unsupportedLog(`it may hold what is not known (log_incompat 0x${unknown.toString(16)})`)
}

async function replayInto(
  overlay: OverlayDevice,
  log: LogArea,
  active: ActiveLog,
  mostBytes: number,
  warnings: string[],
): Promise<Replay> {
  const replay = new Replay(overlay, log.superblock, mostBytes)
  let damaged = 0
  const first = new TransactionReader()
  for await (const record of records(log, active)) {
    if (record.damaged) damaged++
    for (const transaction of first.read(record)) replay.learn(transaction)
  }
  const second = new TransactionReader()
  for await (const record of records(log, active))
    for (const transaction of second.read(record)) await replay.apply(transaction)
  await replay.finish()
  if (damaged > 0)
    warnings.push(`${damaged} records of the log have a wrong checksum, which version 4 does not rely on`)
  return replay
}

/** The records from tail to head. With version 5 a wrong checksum ends it: the metadata relies on it. */
async function* records(log: LogArea, { tail, head }: ActiveLog): AsyncIterable<LogRecord> {
  let left = log.distance(tail, head)
  for (let at = tail; left > 0; ) {
    const record = await log.record(at)
    if (record.damaged && log.superblock.isV5)
      throw corruptLog(`the record at basic block ${at} has a wrong checksum`, { block: at })
    left -= record.end - at
    if (left < 0)
      throw corruptLog(`the record at basic block ${at} goes beyond the head at ${head}`, { block: at })
    yield record
    at = record.end % log.blocks
  }
}

/** Where intents that only keep account of space cannot be carried out, files can be read all the same. */
async function finish(
  overlay: OverlayDevice,
  intents: readonly OpenIntent[],
  exact: boolean,
  warnings: string[],
): Promise<void> {
  try {
    await finishOver(overlay, intents)
  } catch (error) {
    if (exact || !isDrydiskError(error) || intents.some(({ content }) => content)) throw error
    warnings.push(`files are whole, free space is not exact: ${error.message}`)
  }
}
