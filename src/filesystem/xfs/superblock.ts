import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { checksumIsRight } from './checksum.ts'
import { corrupt, unsupported } from './errors.ts'
import { INCOMPAT, RO_COMPAT, unreadableFeatures, VERSION, VERSION2 } from './features.ts'

export const XFS_SB_MAGIC = 0x5846_5342
/** What is read to parse one: version 5 ends at 264, and its checksum is of the whole sector. */
export const SUPERBLOCK_SIZE = 512
export const SB_CRC_OFFSET = 224
/** Where the counters are, 8 bytes each. */
export const SB_COUNTERS = { icount: 128, ifree: 136, fdblocks: 144 } as const

const MOST_SECTOR = 32_768
const LEAST_BLOCK = 512
const MOST_BLOCK = 65_536
const LEAST_INODE = 256
const MOST_INODE = 2048
/** XFS_MIN_AG_BYTES: of shorter groups there could be very many, and much goes through all of them. */
const LEAST_AG_BYTES = 2 ** 24
/** XFS_MAX_AG_BYTES is 2^40, so no AG has more blocks of 512 bytes. */
const MOST_AG_BLOCKS_LOG = 31

/** struct xfs_dsb, the superblock (xfs_format.h), without what only a real-time device needs. */
export interface Superblock {
  readonly sb_blocksize: number
  /** Of the data device, in blocks. */
  readonly sb_dblocks: number
  readonly sb_rblocks: number
  readonly sb_rextsize: number
  /** The UUID that a user sees. */
  readonly sb_uuid: Uint8Array
  /** First block of the log as a filesystem block number; 0: the log is on another device. */
  readonly sb_logstart: number
  readonly sb_rootino: number
  readonly sb_rbmino: bigint
  readonly sb_rsumino: bigint
  readonly sb_agblocks: number
  readonly sb_agcount: number
  readonly sb_logblocks: number
  readonly sb_versionnum: number
  readonly sb_sectsize: number
  readonly sb_inodesize: number
  readonly sb_inopblock: number
  readonly sb_fname: Uint8Array
  readonly sb_blocklog: number
  readonly sb_sectlog: number
  readonly sb_inodelog: number
  readonly sb_inopblog: number
  readonly sb_agblklog: number
  readonly sb_imax_pct: number
  readonly sb_icount: number
  readonly sb_ifree: number
  readonly sb_fdblocks: number
  readonly sb_uquotino: bigint
  readonly sb_gquotino: bigint
  readonly sb_pquotino: bigint
  readonly sb_qflags: number
  readonly sb_inoalignmt: number
  readonly sb_unit: number
  readonly sb_width: number
  readonly sb_dirblklog: number
  readonly sb_logsectlog: number
  readonly sb_logsectsize: number
  readonly sb_logsunit: number
  /** With sb_bad_features2, which old kernels wrote instead (xfs_sb_has_mismatched_features2). */
  readonly sb_features2: number
  readonly sb_features_compat: number
  readonly sb_features_ro_compat: number
  readonly sb_features_incompat: number
  readonly sb_features_log_incompat: number
  readonly sb_spino_align: number
  readonly sb_lsn: bigint
  /** What metadata of version 5 holds: sb_meta_uuid with that feature, else sb_uuid. */
  readonly metaUuid: Uint8Array
  /** Version 5: metadata has checksums and says what and where it is. */
  readonly isV5: boolean
  /** Directory entries tell the type of their inode. */
  readonly hasFtype: boolean
  readonly hasLazyCounts: boolean
  readonly hasBigtime: boolean
  readonly hasSparseInodes: boolean
  readonly hasFinobt: boolean
  readonly hasRmapbt: boolean
  readonly hasReflink: boolean
  readonly hasInobtCounts: boolean
  /** Names match whatever the case of their letters (mkfs.xfs -n version=ci). */
  readonly hasAsciiCi: boolean
  readonly needsRepair: boolean
  /** Bytes of a directory block. */
  readonly dirBlockSize: number
}

/** The sector size that a superblock gives, to read the sector that its checksum is of; `ERR_CORRUPT` where it cannot be one. */
export function superblockSectorSize(bytes: Uint8Array): number {
  const view = bigEndian(bytes, 'xfs superblock')
  if (view.u32(0) !== XFS_SB_MAGIC)
    throw corrupt(
      'superblock',
      `the magic number is 0x${view.u32(0).toString(16)}, expected 0x58465342 (XFSB)`,
    )
  const size = view.u16(102)
  checkPower('sb_sectsize', size, 512, MOST_SECTOR)
  return size
}

/**
 * Parses and checks the primary superblock, as xfs_validate_sb_common and xfs_validate_sb_read of Linux do.
 * @param sector the whole first sector.
 */
export function parseSuperblock(sector: Uint8Array): Superblock {
  superblockSectorSize(sector)
  const view = bigEndian(sector, 'xfs superblock')
  const sb_versionnum = view.u16(100)
  const version = sb_versionnum & VERSION.NUMBITS
  if (version !== 4 && version !== 5)
    throw unsupported(`the filesystem has version ${version}, and drydisk reads 4 and 5`, { version })
  const isV5 = version === 5
  const incompat = isV5 ? view.u32(216) : 0
  // A checksum first: what a damaged sector calls a feature is none.
  if (isV5 && !checksumIsRight(sector, SB_CRC_OFFSET))
    throw corrupt('superblock', 'the checksum of the superblock is wrong')
  const unreadable = isV5 ? unreadableFeatures(incompat) : []
  if (unreadable.length > 0)
    throw unsupported(`the filesystem has features that drydisk does not read: ${unreadable.join(', ')}`, {
      features: unreadable.join(','),
    })
  const superblock = fields(view, isV5)
  if (!isV5) refuseOldVersions(sb_versionnum)
  checkGeometry(superblock)
  return superblock
}

function refuseOldVersions(versionnum: number): void {
  if ((versionnum & VERSION.DIRV2) === 0) throw unsupported('directories are of version 1, before Linux 2.4')
  if ((versionnum & VERSION.EXTFLG) === 0)
    throw unsupported('extents cannot be unwritten (mkfs.xfs of IRIX), which Linux does not mount either')
  if ((versionnum & VERSION.SHARED) !== 0)
    throw unsupported('the feature bit "shared" is set, which Linux does not know either')
}

function fields(view: ByteView, isV5: boolean): Superblock {
  const sb_versionnum = view.u16(100)
  const more = isV5 || (sb_versionnum & VERSION.MOREBITS) !== 0
  const sb_features2 = more ? (view.u32(200) | view.u32(204)) >>> 0 : 0
  const v5 = (at: number) => (isV5 ? view.u32(at) : 0)
  const [roCompat, incompat] = [v5(212), v5(216)]
  const sb_uuid = view.slice(32, 16).slice()
  const sb_dirblklog = view.u8(192)
  const sb_blocksize = view.u32(4)
  return {
    sb_blocksize,
    sb_dblocks: view.u64(8),
    sb_rblocks: view.u64(16),
    sb_rextsize: view.u32(80),
    sb_uuid,
    sb_logstart: view.u64(48),
    sb_rootino: view.u64(56),
    sb_rbmino: view.big(64),
    sb_rsumino: view.big(72),
    sb_agblocks: view.u32(84),
    sb_agcount: view.u32(88),
    sb_logblocks: view.u32(96),
    sb_versionnum,
    sb_sectsize: view.u16(102),
    sb_inodesize: view.u16(104),
    sb_inopblock: view.u16(106),
    sb_fname: view.slice(108, 12).slice(),
    sb_blocklog: view.u8(120),
    sb_sectlog: view.u8(121),
    sb_inodelog: view.u8(122),
    sb_inopblog: view.u8(123),
    sb_agblklog: view.u8(124),
    sb_imax_pct: view.u8(127),
    sb_icount: view.u64(SB_COUNTERS.icount),
    sb_ifree: view.u64(SB_COUNTERS.ifree),
    sb_fdblocks: view.u64(SB_COUNTERS.fdblocks),
    sb_uquotino: view.big(160),
    sb_gquotino: view.big(168),
    sb_pquotino: isV5 ? view.big(232) : 0n,
    sb_qflags: view.u16(176),
    sb_inoalignmt: view.u32(180),
    sb_unit: view.u32(184),
    sb_width: view.u32(188),
    sb_dirblklog,
    sb_logsectlog: view.u8(193),
    sb_logsectsize: view.u16(194),
    sb_logsunit: view.u32(196),
    sb_features2,
    sb_features_compat: v5(208),
    sb_features_ro_compat: roCompat,
    sb_features_incompat: incompat,
    sb_features_log_incompat: v5(220),
    sb_spino_align: v5(228),
    sb_lsn: isV5 ? view.big(240) : 0n,
    metaUuid: (incompat & INCOMPAT.META_UUID) === 0 ? sb_uuid : view.slice(248, 16).slice(),
    isV5,
    hasFtype: isV5 ? (incompat & INCOMPAT.FTYPE) !== 0 : (sb_features2 & VERSION2.FTYPE) !== 0,
    hasLazyCounts: isV5 || (sb_features2 & VERSION2.LAZYSBCOUNT) !== 0,
    hasBigtime: (incompat & INCOMPAT.BIGTIME) !== 0,
    hasSparseInodes: (incompat & INCOMPAT.SPINODES) !== 0,
    hasFinobt: (roCompat & RO_COMPAT.FINOBT) !== 0,
    hasRmapbt: (roCompat & RO_COMPAT.RMAPBT) !== 0,
    hasReflink: (roCompat & RO_COMPAT.REFLINK) !== 0,
    hasInobtCounts: (roCompat & RO_COMPAT.INOBTCNT) !== 0,
    hasAsciiCi: (sb_versionnum & VERSION.BORG) !== 0,
    needsRepair: (incompat & INCOMPAT.NEEDSREPAIR) !== 0,
    dirBlockSize: sb_blocksize * 2 ** sb_dirblklog,
  }
}

function checkPower(name: string, value: number, least: number, most: number): void {
  if (value < least || value > most || (value & (value - 1)) !== 0)
    throw corrupt('superblock', `${name} is ${value}, expected a power of two from ${least} to ${most}`)
}

function checkGeometry(sb: Superblock): void {
  checkPower('sb_blocksize', sb.sb_blocksize, LEAST_BLOCK, MOST_BLOCK)
  checkPower('sb_inodesize', sb.sb_inodesize, LEAST_INODE, MOST_INODE)
  const wrong = (name: keyof Superblock, expected: string) =>
    corrupt('superblock', `${name} is ${String(sb[name])}, expected ${expected}`)
  const logs = [
    ['sb_blocklog', sb.sb_blocksize],
    ['sb_sectlog', sb.sb_sectsize],
    ['sb_inodelog', sb.sb_inodesize],
    ['sb_inopblog', sb.sb_inopblock],
  ] as const
  for (const [name, value] of logs)
    if (2 ** sb[name] !== value) throw wrong(name, `the logarithm of ${value}`)
  if (sb.sb_inopblock * sb.sb_inodesize !== sb.sb_blocksize)
    throw wrong('sb_inopblock', `${sb.sb_blocksize / sb.sb_inodesize}`)
  if (sb.sb_sectsize > sb.sb_blocksize) throw wrong('sb_sectsize', `at most a block (${sb.sb_blocksize})`)
  if (sb.sb_blocklog + sb.sb_dirblklog > 16) throw wrong('sb_dirblklog', 'directory blocks of 64 KiB at most')
  if (sb.sb_agblocks * sb.sb_blocksize < LEAST_AG_BYTES)
    throw wrong('sb_agblocks', `${LEAST_AG_BYTES / sb.sb_blocksize}, which are 16 MiB, at least`)
  const agblklog = Math.ceil(Math.log2(sb.sb_agblocks))
  if (sb.sb_agblklog !== agblklog || agblklog > MOST_AG_BLOCKS_LOG)
    throw wrong('sb_agblklog', `${agblklog} for ${sb.sb_agblocks} blocks`)
  const before = (sb.sb_agcount - 1) * sb.sb_agblocks
  if (sb.sb_agcount < 1 || sb.sb_dblocks <= before || sb.sb_dblocks > before + sb.sb_agblocks)
    throw corrupt(
      'superblock',
      `there are ${sb.sb_dblocks} blocks in ${sb.sb_agcount} allocation groups of ${sb.sb_agblocks}, which do not agree`,
    )
}

/** Of the superblock's sector, whose checksum is the caller's. */
export function setCounters(
  sector: Uint8Array,
  counters: { readonly icount: number; readonly ifree: number; readonly fdblocks: number },
): void {
  const view = bigEndian(sector, 'xfs superblock')
  view.setU64(SB_COUNTERS.icount, counters.icount)
  view.setU64(SB_COUNTERS.ifree, counters.ifree)
  view.setU64(SB_COUNTERS.fdblocks, counters.fdblocks)
}
