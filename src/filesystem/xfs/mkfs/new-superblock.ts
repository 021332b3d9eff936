import { bigEndian } from '../../../bytes/byte-view.ts'
import { INCOMPAT, RO_COMPAT, VERSION, VERSION2 } from '../features.ts'
import { XFS_SB_MAGIC } from '../superblock.ts'
import type { XfsLayout } from './layout.ts'
import type { XfsFeature, XfsSettings } from './options.ts'

/** XFS_INODE_BIG_CLUSTER_SIZE, for inodes of 256 bytes; it grows with them. */
const CLUSTER = 8192
const INODES_PER_CHUNK = 64
/** Real-time extents, of which there are none, have 4 KiB at least. */
const REALTIME_EXTENT = 4096

const VERSION_5 =
  5 | VERSION.NLINK | VERSION.ALIGN | VERSION.LOGV2 | VERSION.EXTFLG | VERSION.DIRV2 | VERSION.MOREBITS
const FEATURES2 = VERSION2.LAZYSBCOUNT | VERSION2.ATTR2 | VERSION2.PROJID32 | VERSION2.CRC

const RO_COMPAT_BITS = [
  ['finobt', RO_COMPAT.FINOBT],
  ['rmapbt', RO_COMPAT.RMAPBT],
  ['reflink', RO_COMPAT.REFLINK],
  ['inobtcount', RO_COMPAT.INOBTCNT],
] as const
const INCOMPAT_BITS = [
  ['sparse', INCOMPAT.SPINODES],
  ['bigtime', INCOMPAT.BIGTIME],
  ['nrext64', INCOMPAT.NREXT64],
] as const

/**
 * The first sector of a new filesystem (struct xfs_dsb), without a checksum, and without what is known only once the groups are
 * laid out: where the log begins, the first inodes, and the counters.
 */
export function newSuperblock(settings: XfsSettings, layout: XfsLayout): Uint8Array {
  const { blockSize, sectorSize, inodeSize, features } = settings
  const bytes = new Uint8Array(sectorSize)
  const view = bigEndian(bytes, 'xfs superblock')
  const bits = (table: readonly (readonly [XfsFeature, number])[]) =>
    table.reduce((word, [name, bit]) => (features.has(name) ? word | bit : word), 0)
  const hasSectors = sectorSize > 512
  const cluster = Math.floor((CLUSTER * (inodeSize / 256)) / blockSize)
  const chunk = Math.floor((INODES_PER_CHUNK * inodeSize) / blockSize)
  const sparse = features.has('sparse')

  view.setU32(0, XFS_SB_MAGIC)
  view.setU32(4, blockSize)
  view.setU64(8, layout.blocks)
  bytes.set(settings.uuid, 32)
  view.setU32(80, Math.max(1, REALTIME_EXTENT / blockSize))
  view.setU32(84, layout.agBlocks)
  view.setU32(88, layout.agCount)
  view.setU32(96, layout.logBlocks)
  view.setU16(100, hasSectors ? VERSION_5 | VERSION.SECTOR : VERSION_5)
  view.setU16(102, sectorSize)
  view.setU16(104, inodeSize)
  view.setU16(106, blockSize / inodeSize)
  bytes.set(settings.label, 108)
  view.setU8(120, Math.log2(blockSize))
  view.setU8(121, Math.log2(sectorSize))
  view.setU8(122, Math.log2(inodeSize))
  view.setU8(123, Math.log2(blockSize / inodeSize))
  view.setU8(124, Math.ceil(Math.log2(layout.agBlocks)))
  view.setU8(127, layout.imaxPct)
  // Whole chunks are aligned to themselves, and parts of them as chunks are where none are sparse.
  view.setU32(180, sparse ? chunk : cluster)
  view.setU8(192, Math.log2(settings.directoryBlockSize / blockSize))
  view.setU8(193, hasSectors ? Math.log2(sectorSize) : 0)
  view.setU16(194, hasSectors ? sectorSize : 0)
  view.setU32(196, layout.logUnit)
  view.setU32(200, FEATURES2)
  view.setU32(204, FEATURES2)
  view.setU32(212, bits(RO_COMPAT_BITS))
  view.setU32(216, INCOMPAT.FTYPE | bits(INCOMPAT_BITS))
  view.setU32(228, sparse ? cluster : 0)
  return bytes
}

/** Where the log begins and which inodes are the filesystem's own. */
export interface FirstPlaces {
  readonly logStart: number
  readonly rootino: number
}

export function setPlaces(sector: Uint8Array, { logStart, rootino }: FirstPlaces): void {
  const view = bigEndian(sector, 'xfs superblock')
  view.setU64(48, logStart)
  view.setU64(56, rootino)
  // sb_rbmino and sb_rsumino: bitmap and summary of the real-time device follow, though there is none.
  view.setU64(64, rootino + 1)
  view.setU64(72, rootino + 2)
}
