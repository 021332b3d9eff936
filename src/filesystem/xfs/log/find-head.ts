import { equalBytes } from '../../../bytes/compare.ts'
import { BBSIZE } from './basic-block.ts'
import { corruptLog } from './errors.ts'
import type { LogArea } from './log-area.ts'

/** XLOG_MAX_ICLOGS: so many records may be on their way to the disk at once, and arrive in any order. */
export const MOST_IN_FLIGHT = 8

/** Basic blocks that the largest record takes (XLOG_REC_SHIFT). */
function recordReach(log: LogArea): number {
  return (log.isV2 ? 256 * 1024 : 32 * 1024) / BBSIZE
}

/**
 * Where the next record would be written: the basic block behind the last whole record. 0 in a log without any record.
 *
 * Every basic block holds the number of the cycle it was written in, and a cycle goes once round the log; so the head is
 * where the number falls by one. Records in flight at the crash may have left holes before it (Linux, xlog_find_head).
 */
export async function findHead(log: LogArea): Promise<{ head: number; empty: boolean }> {
  const inFlight = recordReach(log) * MOST_IN_FLIGHT
  const first = await log.cycle(0)
  const last = await log.cycle(log.blocks - 1)
  if (first === 0) return { head: 0, empty: true }
  if (last === 0) return { head: await headBeforeZeros(log, inFlight), empty: false }

  let head = log.blocks
  let holeCycle = last - 1
  if (first !== last) {
    head = await boundary(log, last)
    holeCycle = last
  }
  const scan = Math.min(log.blocks, inFlight)
  if (head >= scan) head = (await log.findCycle(head - scan, scan, holeCycle)) ?? head
  else {
    const start = log.blocks - (scan - head)
    const early = await log.findCycle(start, scan - head, holeCycle - 1)
    head = early ?? (await log.findCycle(0, head, holeCycle)) ?? head
  }
  head = await dropPartialRecord(log, head)
  return { head: head === log.blocks ? 0 : head, empty: false }
}

/** The log was never written to its end. */
async function headBeforeZeros(log: LogArea, inFlight: number): Promise<number> {
  let head = await boundary(log, 0)
  const scan = Math.min(head, inFlight)
  head = (await log.findCycle(head - scan, scan, 0)) ?? head
  return dropPartialRecord(log, head)
}

/** The first block with the cycle number of the log's last block, when all before it have another. */
async function boundary(log: LogArea, cycle: number): Promise<number> {
  let [low, high] = [0, log.blocks - 1]
  while (high - low > 1) {
    const middle = (low + high) >>> 1
    if ((await log.cycle(middle)) === cycle) high = middle
    else low = middle
  }
  return high
}

/** Goes back to the start of the last record if the head cuts through it (xlog_find_verify_log_record). */
async function dropPartialRecord(log: LogArea, head: number): Promise<number> {
  const reach = recordReach(log) + MOST_IN_FLIGHT
  const start = Math.max(0, head - reach)
  let found = await log.findHeaderBefore(start, head)
  let end = head
  if (found === undefined && start === 0) {
    end = log.blocks + head
    found = await log.findHeaderBefore(Math.max(head, log.blocks - (reach - head)), log.blocks)
  }
  if (found === undefined)
    throw corruptLog(`no record in the ${reach} basic blocks before its head at ${head}`)
  const header = await log.header(found)
  if (!equalBytes(header.uuid, log.superblock.sb_uuid) && header.uuid.some(byte => byte !== 0))
    throw corruptLog(`record at basic block ${found} has the UUID of another filesystem`, { block: found })
  return found + header.headerBlocks + Math.ceil(header.len / BBSIZE) === end ? head : found
}
