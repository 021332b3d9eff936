import { bigEndian } from '../../../bytes/byte-view.ts'
import { isDrydiskError } from '../../../errors.ts'
import { BBSIZE } from './basic-block.ts'
import { corruptLog } from './errors.ts'
import { findHead, MOST_IN_FLIGHT } from './find-head.ts'
import type { LogArea, LogRecord } from './log-area.ts'
import { OP, OP_HEADER_SIZE } from './operation.ts'
import { lsnBlock } from './record-header.ts'

/** More basic blocks than a record takes with its header. */
const MOST_REACH = 1024

/** The part of the log that holds changes which may not have reached their places. */
export interface ActiveLog {
  /** First basic block of the oldest record that counts. */
  readonly tail: number
  /** The basic block behind the newest one. */
  readonly head: number
  /** The newest record says that the filesystem was unmounted. */
  readonly clean: boolean
  /** Where the newest record begins; `undefined` in a log without any. */
  readonly newest: number | undefined
  /** Records at the end that were being written at the crash, and are left out. */
  readonly torn: number
}

/**
 * Head and tail of a log. Records in flight at the crash may be damaged: the log ends before the first such one
 * (Linux, xlog_find_tail and xlog_verify_head).
 */
export async function findActiveLog(log: LogArea): Promise<ActiveLog> {
  const { head, empty } = await findHead(log)
  if (empty) return { tail: 0, head: 0, clean: true, newest: undefined, torn: 0 }
  const [newest] = await recordsBefore(log, head, head, 1)
  if (newest === undefined) throw corruptLog(`no record before its head at basic block ${head}`)
  const whole = await positions(log, newest, head)
  if (whole.clean || whole.tail === head) return { ...whole, torn: 0 }

  const last = await recordsBefore(log, head, whole.tail, MOST_IN_FLIGHT)
  const good = await leadingGood(log, last)
  if (good === last.length) return { ...whole, torn: 0 }
  const cut = last[good] ?? head
  const [before] = await recordsBefore(log, cut, cut, 1)
  if (before === undefined) throw corruptLog(`no whole record before its head at basic block ${cut}`)
  return { ...(await positions(log, before, cut)), torn: last.length - good }
}

async function positions(log: LogArea, newest: number, head: number): Promise<Omit<ActiveLog, 'torn'>> {
  const header = await log.header(newest)
  const tail = lsnBlock(header.tailLsn)
  if (tail >= log.blocks)
    throw corruptLog(`record at basic block ${newest} puts the tail at ${tail}, outside ${log.blocks} blocks`)
  const end = (newest + header.headerBlocks + Math.ceil(header.len / BBSIZE)) % log.blocks
  let clean = false
  if (end === head && header.numLogops === 1) {
    const operation = bigEndian(await log.read(newest + header.headerBlocks, 1), 'XFS log operation')
    clean = (operation.u8(9) & OP.UNMOUNT) !== 0 && header.len >= OP_HEADER_SIZE
  }
  return { tail, head, clean, newest }
}

/** Starts of up to `most` records before `head`, oldest first, none of them before `tail`. */
async function recordsBefore(log: LogArea, head: number, tail: number, most: number): Promise<number[]> {
  const starts: number[] = []
  let from = head
  let left = Math.min(log.distance(tail, head) || log.blocks, most * MOST_REACH)
  while (starts.length < most && left > 0) {
    const low = Math.max(0, from - left)
    const found = await log.findHeaderBefore(low, from)
    left -= from - (found ?? low)
    from = found ?? log.blocks
    if (found !== undefined) starts.unshift(found)
  }
  return starts
}

/** How many of those records, from the oldest, are whole. */
async function leadingGood(log: LogArea, starts: readonly number[]): Promise<number> {
  for (const [index, start] of starts.entries()) {
    const record = await readable(log, start)
    if (record === undefined || record.damaged) return index
  }
  return starts.length
}

async function readable(log: LogArea, start: number): Promise<LogRecord | undefined> {
  try {
    return await log.record(start)
  } catch (error) {
    if (isDrydiskError(error, 'ERR_CORRUPT')) return undefined
    throw error
  }
}
