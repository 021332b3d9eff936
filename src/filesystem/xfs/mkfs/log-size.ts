import { contiguousExtents, type TreeGeometry, treeLevels } from './tree-levels.ts'

const BBSIZE = 512
/** xfs_buf_log_overhead: an operation header and xfs_buf_log_format, in units of 128. */
const BUFFER_OVERHEAD = 128
/** XFS_DQUOT_LOGRES: six dquots with their formats. */
const DQUOTS = 6 * (24 + 104)
/** Four operation headers and xfs_inode_log_format, with the headers of two roots of version 5 (xfs_calc_inode_res). */
const INODE_OVERHEAD = 4 * 12 + 56 + 2 * 72
/** XFS_DA_NODE_MAXDEPTH */
const HASH_TREE_LEVELS = 5
const MOST_SYMLINK = 1024
/** What Linux reckoned with in the first years of reflink, and still asks a log to have room for (XFS_WRITE_LOG_COUNT_REFLINK). */
const REFLINK_COUNT = 8
/** A record in the largest log buffer, and its header with the extensions. */
const RECORD = 256 * 1024
const RECORD_HEADER = 8 * BBSIZE
const OPERATION_HEADER = 12
const TRANSACTION_HEADER = 16
/** XFS_MIN_LOG_FACTOR */
const TRANSACTIONS = 3

export interface LogGeometry extends TreeGeometry {
  readonly sectorSize: number
  readonly directoryBlockSize: number
  readonly finobt: boolean
  /** Bytes; 1 where the log is not written in units. */
  readonly logUnit: number
}

/** Bytes that a kind of transaction may log, and how many times in a row. */
interface Reservation {
  readonly bytes: number
  readonly count: number
}

/**
 * The largest transaction of Linux on such a filesystem (xfs_log_get_max_trans_res, of the sums in xfs_trans_resv.c). Kinds that
 * are always smaller than one of these are left out.
 */
function largestReservation(geometry: LogGeometry): Reservation {
  const { blockSize, sectorSize, inodeSize, directoryBlockSize, finobt, reflink } = geometry
  const levels = treeLevels(geometry)
  const buffers = (count: number, size = blockSize) => count * (size + BUFFER_OVERHEAD)
  const inodes = (count: number) => count * (inodeSize + INODE_OVERHEAD)
  const sectors = (count: number) => buffers(count, sectorSize)
  /** Both free-space trees and the reverse mapping split at every level, for so many extents. */
  const extents = (count: number) =>
    buffers(count * 2 * (2 * levels.alloc - 1) + (levels.rmap === 0 ? 0 : count * (2 * levels.rmap - 1)))
  const refcounts = (count: number) => (reflink ? buffers(count * (2 * levels.refcount - 1)) : 0)
  const contiguous = contiguousExtents(blockSize)
  const moreExtents = (count: number, height: number) => Math.ceil(count / contiguous) * (height - 1)

  const write =
    DQUOTS +
    refcounts(2) +
    Math.max(inodes(1) + buffers(levels.data) + sectors(3) + extents(2), sectors(5) + extents(2))
  const truncate =
    DQUOTS + Math.max(inodes(1) + buffers(levels.data + 1), sectors(9) + extents(4) + refcounts(4))
  const perName = directoryBlockSize / blockSize
  const nameBlocks = (HASH_TREE_LEVELS + 2) * (perName + moreExtents(perName, levels.data)) + 1
  const rename = DQUOTS + Math.max(inodes(5) + buffers(2 * nameBlocks), sectors(7) + extents(3))
  const inobt = buffers(levels.inobt) + extents(1)
  const newInode = Math.max(
    sectors(2) + sectorSize + extents(1) + inobt + (finobt ? inobt : 0),
    inodes(2) + sectors(1) + blockSize + buffers(nameBlocks) + (finobt ? inobt : 0),
  )
  const count = reflink ? REFLINK_COUNT : 2
  const kinds: Reservation[] = [
    { bytes: truncate, count },
    // Of a quota file: its new block too.
    { bytes: write + buffers(1, blockSize - 1), count },
    { bytes: rename, count: 2 },
    { bytes: DQUOTS + newInode + buffers(1, MOST_SYMLINK), count: 3 },
  ]
  const largest = kinds.reduce((a, b) => (b.bytes * b.count > a.bytes * a.count ? b : a))

  // xfs_log_calc_max_attrsetm_res: the longest value that is not in blocks of its own.
  const value = Math.floor((blockSize * 3) / 4) - 256 - 1
  const valueBlocks =
    HASH_TREE_LEVELS * (1 + moreExtents(1, levels.attribute)) +
    Math.ceil(value / blockSize) +
    moreExtents(value, levels.attribute)
  const attribute =
    DQUOTS +
    inodes(1) +
    sectors(1) +
    buffers(HASH_TREE_LEVELS) +
    valueBlocks * (sectors(1) + buffers(levels.attribute))
  return attribute > largest.bytes * largest.count ? { bytes: attribute, count: 3 } : largest
}

/** What a transaction takes in the log with all headers and padding (xfs_log_calc_unit_res). */
function withHeaders(bytes: number, logUnit: number): number {
  const room = RECORD - RECORD_HEADER
  let total = bytes + 2 * OPERATION_HEADER + TRANSACTION_HEADER
  let headers = Math.ceil(total / room)
  total += headers * OPERATION_HEADER
  while (Math.ceil(total / room) > headers) {
    total += OPERATION_HEADER
    headers++
  }
  return total + (headers + 1) * RECORD_HEADER + 2 * (logUnit > 1 ? logUnit : BBSIZE)
}

/** Blocks of the smallest log that Linux mounts the filesystem with (xfs_log_calc_minimum_size). */
export function leastLogBlocks(geometry: LogGeometry): number {
  const { bytes, count } = largestReservation(geometry)
  const sectors = Math.ceil((withHeaders(bytes, geometry.logUnit) * count) / BBSIZE)
  const unit = geometry.logUnit > 1 ? geometry.logUnit / BBSIZE : 0
  // Two basic blocks are meant where there is no unit, and two of them in bytes it became.
  const padded = unit > 0 ? Math.ceil(sectors / unit) * unit + 2 * unit : sectors + 2 * BBSIZE
  return Math.ceil((padded * TRANSACTIONS * BBSIZE) / geometry.blockSize)
}
