import { bigEndian } from '../../../bytes/byte-view.ts'
import { equalBytes } from '../../../bytes/compare.ts'
import { CRC32C_START, crc32c } from '../../../bytes/crc32c.ts'
import { BBSIZE } from './basic-block.ts'
import { corruptLog, unsupportedLog } from './errors.ts'

/** XLOG_HEADER_MAGIC_NUM: no cycle number takes this value. */
export const RECORD_MAGIC = 0xfeedbabe
/** XLOG_HEADER_CYCLE_SIZE: the data whose saved words one header sector holds. */
export const CYCLE_SIZE = 32 * 1024
const CYCLES_PER_HEADER = CYCLE_SIZE / BBSIZE
/** XLOG_MAX_RECORD_BSIZE. */
export const MOST_RECORD = 256 * 1024
/** Records of version 1 are at most this long, and their headers do not say so (XLOG_BIG_RECORD_BSIZE). */
export const V1_RECORD = 32 * 1024
export const FMT_LINUX_LE = 1
const CYCLE_DATA_AT = 44
/** What the checksum covers of a header: to the end of h_pad0, or of h_size where it was written on i386 (xlog_cksum). */
const SUMMED_SIZES: readonly number[] = [328, 324]
const EXTENDED_SUMMED = 260

/** Linux, xfs_log_format.h: struct xlog_rec_header. */
export interface RecordHeader {
  /** Where it lies, in basic blocks from the start of the log. */
  readonly block: number
  readonly cycle: number
  readonly version: number
  /** Bytes of data behind the header. */
  readonly len: number
  readonly lsn: bigint
  readonly tailLsn: bigint
  readonly crc: number
  readonly numLogops: number
  readonly fmt: number
  readonly uuid: Uint8Array
  /** Bytes that a record of this writer can have at most. */
  readonly size: number
  /** Basic blocks of the header with its extensions. */
  readonly headerBlocks: number
}

/** Whether a basic block begins a record. */
export function isRecordHeader(bytes: Uint8Array, at = 0): boolean {
  return bigEndian(bytes, 'XFS log record').u32(at) === RECORD_MAGIC
}

/**
 * The cycle of the record that goes behind the newest one: a new one where that reached the end of the log or went round it (xlog_set_state).
 * @param head the basic block where it begins.
 */
export function nextCycle(newest: Pick<RecordHeader, 'block' | 'cycle'>, head: number): number {
  return newest.cycle + (newest.block >= head ? 1 : 0)
}

export function lsnBlock(lsn: bigint): number {
  return Number(lsn & 0xffff_ffffn)
}

/** @param bytes a basic block that begins with the magic number. @param logV2 from the superblock. */
export function parseRecordHeader(bytes: Uint8Array, block: number, logV2: boolean): RecordHeader {
  const view = bigEndian(bytes, 'XFS log record')
  if (view.u32(0) !== RECORD_MAGIC)
    throw corruptLog(`no record at basic block ${block}, where one has to be`, { block })
  const version = view.u32(8)
  const size = logV2 && (version & 2) !== 0 ? view.u32(320) : V1_RECORD
  return {
    block,
    cycle: view.u32(4),
    version,
    len: view.u32(12),
    lsn: view.big(16),
    tailLsn: view.big(24),
    crc: new DataView(bytes.buffer, bytes.byteOffset).getUint32(32, true),
    numLogops: view.u32(40),
    fmt: view.u32(300),
    uuid: bytes.slice(304, 320),
    size,
    headerBlocks: size > CYCLE_SIZE ? Math.ceil(Math.min(size, MOST_RECORD) / CYCLE_SIZE) : 1,
  }
}

/** xlog_valid_rec_header and xlog_header_check_recover: what has to hold before lengths are trusted. */
export function checkRecordHeader(header: RecordHeader, logBlocks: number, uuid: Uint8Array): void {
  const { block, version, len, size, fmt } = header
  const where = { block }
  if (version === 0 || version > 3)
    throw unsupportedLog(`record at basic block ${block} has version ${version}; 1 and 2 are known`, where)
  // mkfs wrote h_size too small in one version: a lone record of one operation may be longer (xlog_do_recovery_pass).
  const most = header.numLogops === 1 ? Math.max(size, V1_RECORD) : size
  if (len === 0 || len > most || len > MOST_RECORD)
    throw corruptLog(`record at basic block ${block} has ${len} bytes, and there is room for ${size}`, where)
  if (header.headerBlocks + Math.ceil(len / BBSIZE) > logBlocks)
    throw corruptLog(`record at basic block ${block} has ${len} bytes, more than the log`, where)
  if (fmt !== FMT_LINUX_LE)
    throw unsupportedLog(
      `it was written by a machine with another byte order or by IRIX (format ${fmt})`,
      where,
    )
  if (!equalBytes(header.uuid, uuid))
    throw corruptLog(`record at basic block ${block} has the UUID of another filesystem`, where)
}

/** Whether the checksum over header and data, as they lie on disk, is the one in the header. */
export function recordChecksumHolds(header: RecordHeader, head: Uint8Array, data: Uint8Array): boolean {
  return SUMMED_SIZES.some(summed => recordChecksum(header, head, data, summed) === header.crc)
}

/** The checksum over header and data as they lie on disk, with the field itself as zeros. */
export function recordChecksum(
  { version, len }: Pick<RecordHeader, 'version' | 'len'>,
  head: Uint8Array,
  data: Uint8Array,
  summed = 328,
): number {
  const first = head.slice(0, summed)
  first.fill(0, 32, 36)
  let crc = crc32c(CRC32C_START, first)
  if ((version & 2) !== 0)
    for (let i = 1; i < Math.ceil(len / CYCLE_SIZE); i++)
      crc = crc32c(crc, head.subarray(i * BBSIZE, i * BBSIZE + EXTENDED_SUMMED))
  return ~crc32c(crc, data.subarray(0, len)) >>> 0
}

/** Puts back the first word of every basic block: the writer kept it in the header and stamped the cycle number in its place. */
export function restoreCycleWords(header: RecordHeader, head: Uint8Array, data: Uint8Array): void {
  for (let i = 0; i < Math.ceil(header.len / BBSIZE); i++) {
    const extension = Math.floor(i / CYCLES_PER_HEADER)
    if (extension >= header.headerBlocks)
      throw corruptLog(
        `record at basic block ${header.block} has ${header.len} bytes and too short a header`,
        {
          block: header.block,
        },
      )
    const at = extension * BBSIZE + (extension === 0 ? CYCLE_DATA_AT : 4) + (i % CYCLES_PER_HEADER) * 4
    data.set(head.subarray(at, at + 4), i * BBSIZE)
  }
}
