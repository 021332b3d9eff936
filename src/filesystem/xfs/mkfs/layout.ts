import { DrydiskError } from '../../../errors.ts'
import { leastLogBlocks } from './log-size.ts'
import { invalid, type XfsSettings } from './options.ts'
import { leastFreeList, treeLevels } from './tree-levels.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30
const TIB = 2 ** 40

/** XFS_AG_MIN_BYTES and XFS_AG_MAX_BYTES of mkfs.xfs */
const LEAST_AG = 16 * MIB
const MOST_AG = TIB
/** What mkfs.xfs 6.1 makes: four groups and a log of 64 MiB fit with room to spare. */
const LEAST_VOLUME = 300 * MIB
/** XFS_MIN_LOG_BLOCKS, XFS_MAX_LOG_BLOCKS, XFS_MIN_LOG_BYTES, XFS_MAX_LOG_BYTES */
const LEAST_LOG_BLOCKS = 512
const MOST_LOG_BLOCKS = 2 ** 20
const LEAST_LOG = 10 * MIB
const MOST_LOG = 2 * GIB - LEAST_LOG
/** XFS_MIN_REALISTIC_LOG_BLOCKS: what a log has where the filesystem is large enough for it. */
const SENSIBLE_LOG = 64 * MIB
/** The log has this part of the volume. */
const LOG_RATIO = 2048
const INODES_PER_CHUNK = 64
/** XFS_ALLOCBT_AGFL_RESERVE */
const FREE_LIST_RESERVE = 4

/** The shape of a new filesystem, in blocks. */
export interface XfsLayout {
  readonly blocks: number
  readonly agBlocks: number
  readonly agCount: number
  readonly logAg: number
  readonly logBlocks: number
  /** sb_logsunit: bytes; 1 where the log is not written in units. */
  readonly logUnit: number
  /** Blocks of the free list of every group. */
  readonly freeList: number
  /** Percent of the space that inodes may take. */
  readonly imaxPct: number
}

/** Decides the shape of a new filesystem as mkfs.xfs does. `ENOSPC` when the volume is too small, `ERR_INVALID_ARGUMENT`. */
export function xfsLayout(deviceSize: number, settings: XfsSettings): XfsLayout {
  const { blockSize, sectorSize, features, small } = settings
  const leastAg = LEAST_AG / blockSize
  let blocks = Math.floor(deviceSize / blockSize)
  if (!small && blocks * blockSize < LEAST_VOLUME)
    throw new DrydiskError(
      'ENOSPC',
      `the volume of ${deviceSize} bytes is too small for an XFS filesystem: that takes 300 MiB`,
      { size: deviceSize },
    )
  if (blocks < leastAg) throw tooSmall(deviceSize)
  const agBlocks = agSize(blocks, settings)
  // A last group that is too short is left off.
  const rest = blocks % agBlocks
  if (rest !== 0 && rest < leastAg) blocks -= rest
  const agCount = Math.ceil(blocks / agBlocks)
  const geometry = {
    ...settings,
    agBlocks,
    rmapbt: features.has('rmapbt'),
    reflink: features.has('reflink'),
    finobt: features.has('finobt'),
    nrext64: features.has('nrext64'),
    // The log is written in sectors: what fills one up is a unit (calc_stripe_factors).
    logUnit: sectorSize > 512 ? blockSize : 1,
  }
  const least = Math.max(LEAST_LOG_BLOCKS, leastLogBlocks(geometry))
  const freeList = leastFreeList(treeLevels(geometry))
  const log = logBlocks(deviceSize, settings, { blocks, agBlocks, agCount, least, freeList })
  if (!small) requireSupported(agCount, log * blockSize)
  return {
    blocks,
    agBlocks,
    agCount,
    logAg: Math.floor(agCount / 2),
    logBlocks: log,
    logUnit: geometry.logUnit,
    freeList,
    imaxPct: imaxPct(blocks * blockSize),
  }
}

/** What mkfs.xfs 6.1 does not make either (validate_supported). */
function requireSupported(agCount: number, logBytes: number): void {
  if (agCount < 2)
    throw invalid('one allocation group has no second superblock to be repaired with; two is the least')
  if (logBytes < SENSIBLE_LOG)
    throw invalid(
      `a log of ${logBytes} bytes is too slow; 64 MiB is the least, for which few groups have room`,
    )
}

/** calc_default_ag_geometry: four groups, of at most 1 TiB each; fewer where they would be very short. */
function agSize(blocks: number, { blockSize, agCount }: XfsSettings): number {
  const bytes = blocks * blockSize
  const [least, most] = [LEAST_AG / blockSize, Math.floor((MOST_AG - 1) / blockSize)]
  if (agCount !== undefined) {
    const size = Math.ceil(blocks / agCount)
    if (size < least || size > most)
      throw invalid(
        `${agCount} allocation groups of ${size} blocks: they have ${least} to ${most} blocks of ${blockSize} bytes`,
      )
    return size
  }
  if (bytes >= 4 * TIB) return most
  const groups = bytes >= 64 * MIB ? 4 : bytes >= 32 * MIB ? 2 : 1
  return Math.min(most, Math.ceil(blocks / groups))
}

/** calculate_log_size */
function logBlocks(
  deviceSize: number,
  settings: XfsSettings,
  shape: { blocks: number; agBlocks: number; agCount: number; least: number; freeList: number },
): number {
  const { blockSize, sectorSize, inodeSize, features } = settings
  const { blocks, agBlocks, agCount } = shape
  const trees = ['finobt', 'rmapbt', 'reflink'] as const
  const headers =
    Math.ceil((4 * sectorSize) / blockSize) +
    Math.max(FREE_LIST_RESERVE, shape.freeList) +
    3 +
    trees.filter(tree => features.has(tree)).length
  // mkfs.xfs reckons with four blocks of the free list, where rmapbt has six: its group with the log can be left without one.
  // In the only group the first inodes must find their place too (adjust_ag0_internal_logblocks).
  const chunk = agCount === 1 ? Math.floor((INODES_PER_CHUNK * inodeSize) / blockSize) * 4 : 0
  const most = Math.min(agBlocks - headers - 1 - chunk, MOST_LOG_BLOCKS, Math.floor(MOST_LOG / blockSize))
  const wanted = settings.logBlocks
  if (wanted !== undefined) {
    if (wanted < shape.least || wanted > most)
      throw invalid(`a log of ${wanted} blocks: here it has ${shape.least} to ${most}`)
    return wanted
  }
  const bytes = blocks * blockSize
  const least = bytes >= GIB ? Math.max(shape.least, Math.floor(LEAST_LOG / blockSize)) : shape.least
  if (least > most) throw tooSmall(deviceSize)
  if (bytes < LEAST_VOLUME) return least
  const sensible = Math.max(Math.floor(bytes / LOG_RATIO / blockSize), SENSIBLE_LOG / blockSize)
  return Math.min(most, Math.max(least, sensible))
}

/** calculate_imaxpct */
function imaxPct(bytes: number): number {
  if (bytes < TIB) return 25
  return bytes < 50 * TIB ? 5 : 1
}

function tooSmall(size: number): DrydiskError {
  return new DrydiskError(
    'ENOSPC',
    `the volume of ${size} bytes is too small for an XFS filesystem of this shape`,
    { size },
  )
}
