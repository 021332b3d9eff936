import { bigEndian } from '../../../bytes/byte-view.ts'
import { VERSION } from '../features.ts'
import type { Superblock } from '../superblock.ts'
import { BBSIZE } from './basic-block.ts'
import { corruptLog } from './errors.ts'
import { OP, OP_CLIENT, OP_HEADER_SIZE } from './operation.ts'
import { CYCLE_SIZE, FMT_LINUX_LE, MOST_RECORD, RECORD_MAGIC, recordChecksum } from './record-header.ts'

/** struct xfs_unmount_log_format */
const UNMOUNT_FORMAT_SIZE = 8
/** XLOG_UNMOUNT_TYPE, "Un". */
const UNMOUNT_TYPE = 0x556e
/** Tickets have random identifiers; this is the one that mkfs.xfs gives its record (xfs_log_header in libxfs). */
const TID = 0xb0c0d0d0

/** Where a record goes. Positions are basic blocks. */
export interface RecordPlace {
  readonly cycle: number
  readonly block: number
  readonly logBlocks: number
  /** The record before. */
  readonly previous: number
}

/** A cycle number and a basic block. */
export function lsn(cycle: number, block: number): bigint {
  return (BigInt(cycle) << 32n) | BigInt(block)
}

/** A record's fields that do not depend on what it holds. */
export function fillHeader(
  header: Uint8Array,
  { sb_versionnum, sb_uuid }: Superblock,
  fields: { readonly cycle: number; readonly block: number; readonly tailLsn: bigint },
): void {
  const view = bigEndian(header, 'XFS log record')
  view.setU32(0, RECORD_MAGIC)
  view.setU32(4, fields.cycle)
  view.setU32(8, (sb_versionnum & VERSION.LOGV2) === 0 ? 1 : 2)
  view.setBig(16, lsn(fields.cycle, fields.block))
  view.setBig(24, fields.tailLsn)
  view.setU32(300, FMT_LINUX_LE)
  header.set(sb_uuid, 304)
}

/** Basic blocks that records of version 2 begin and end at multiples of (l_iclog_roundoff in xfs_log.c). */
function recordUnit({ sb_versionnum, sb_logsunit }: Superblock): number {
  if ((sb_versionnum & VERSION.LOGV2) === 0 || sb_logsunit <= 1) return 1
  if (sb_logsunit % BBSIZE !== 0 || sb_logsunit > MOST_RECORD)
    throw corruptLog(`its stripe unit is ${sb_logsunit} bytes`)
  return sb_logsunit / BBSIZE
}

/**
 * The record that an unmount writes last (Linux, xlog_write_unmount_record and xlog_sync), as it lies on disk. Its own start is
 * its tail: nothing before it counts.
 */
export function unmountRecord(superblock: Superblock, place: RecordPlace): Uint8Array {
  const { cycle, block, logBlocks, previous } = place
  const unit = recordUnit(superblock)
  const isV2 = (superblock.sb_versionnum & VERSION.LOGV2) !== 0
  const size = Math.max(CYCLE_SIZE, unit * BBSIZE)
  const headerBlocks = isV2 ? Math.ceil(size / CYCLE_SIZE) : 1
  const end = Math.ceil((block + headerBlocks + 1) / unit) * unit
  if (end - block >= logBlocks) throw corruptLog(`its ${logBlocks} basic blocks have no room for a record`)

  const bytes = new Uint8Array((end - block) * BBSIZE)
  const header = bytes.subarray(0, headerBlocks * BBSIZE)
  const data = bytes.subarray(header.length)
  const len = isV2 ? data.length : OP_HEADER_SIZE + UNMOUNT_FORMAT_SIZE
  const operation = bigEndian(data, 'XFS log operation')
  operation.setU32(0, TID)
  operation.setU32(4, UNMOUNT_FORMAT_SIZE)
  operation.setU8(8, OP_CLIENT.LOG)
  operation.setU8(9, OP.UNMOUNT)
  // In the byte order of the machine, as the header's format says.
  data[OP_HEADER_SIZE] = UNMOUNT_TYPE & 0xff
  data[OP_HEADER_SIZE + 1] = UNMOUNT_TYPE >>> 8

  fillHeader(header, superblock, { cycle, block, tailLsn: lsn(cycle, block) })
  const view = bigEndian(header, 'XFS log record')
  view.setU32(12, len)
  view.setU32(36, previous)
  view.setU32(40, 1)
  view.setU32(320, size)
  stampCycles(header, data, place)
  const crc = recordChecksum({ version: view.u32(8), len }, header, data)
  new DataView(header.buffer, header.byteOffset).setUint32(32, crc, true)
  return bytes
}

/** xlog_pack_data and xlog_split_iclog: the first word of each basic block goes into the header, and its cycle takes the place. */
function stampCycles(header: Uint8Array, data: Uint8Array, { cycle, block, logBlocks }: RecordPlace): void {
  const perHeader = CYCLE_SIZE / BBSIZE
  const first = block + header.length / BBSIZE
  const head = bigEndian(header, 'XFS log record')
  const body = bigEndian(data, 'XFS log record')
  const cycleOf = (where: number) => (where < logBlocks ? cycle : cycle + 1)
  for (let i = 1; i < header.length / BBSIZE; i++) head.setU32(i * BBSIZE, cycleOf(block + i))
  for (let i = 0; i < data.length / BBSIZE; i++) {
    const extension = Math.floor(i / perHeader)
    const at = extension * BBSIZE + (extension === 0 ? 44 : 4) + (i % perHeader) * 4
    head.setU32(at, body.u32(i * BBSIZE))
    body.setU32(i * BBSIZE, cycleOf(first + i))
  }
}
