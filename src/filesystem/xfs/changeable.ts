import type { ByteView } from '../../bytes/byte-view.ts'
import { DIFLAG, DIFLAG2, type Dinode, FORMAT } from './dinode.ts'
import { corrupt } from './errors.ts'
import { INCOMPAT } from './features.ts'
import type { Superblock } from './superblock.ts'

/** Of di_flags: hints for the size of extents, a file's own and what a directory gives to new files. */
const EXTSIZE = 1 << 11
const EXTSZINHERIT = 1 << 12

/** The flags that matter here, in the low half of di_flags2: without BigInts reading them takes a fraction of the time. */
const FLAGS2 = {
  REFLINK: Number(DIFLAG2.REFLINK),
  COWEXTSIZE: Number(DIFLAG2.COWEXTSIZE),
  BIGTIME: Number(DIFLAG2.BIGTIME),
  NREXT64: Number(DIFLAG2.NREXT64),
  /** Of the metadata directory (metadir), without which no inode has it. */
  METADATA: 1 << 5,
} as const

const AT = {
  di_onlink: 6,
  di_v3_pad: 24,
  di_big_nextents: 24,
  di_size: 56,
  di_nblocks: 64,
  di_extsize: 72,
  di_nextents: 76,
  di_big_anextents: 76,
  di_anextents: 80,
  di_nrext64_pad: 80,
  flags2Low: 124,
  di_cowextsize: 128,
} as const

const EXTENT_BYTES = 16
/** XFS_MAX_BMBT_EXTLEN: blocks of one extent. */
const MOST_EXTENT = 2 ** 21 - 1
/** XFS_MAX_EXTCNT_*: the most extents that a fork's count may tell, with nrext64 and without. */
const MOST_EXTENTS = { data: 2 ** 31 - 1, attributes: 2 ** 15 - 1 } as const
const MOST_EXTENTS_LARGE = { data: 2 ** 48 - 1, attributes: 2 ** 32 - 1 } as const
/** XFS_DIR2_MAX_SPACES of XFS_DIR2_SPACE_SIZE: data, hashes and free space of a directory have 32 GiB each. */
const MOST_DIRECTORY_BYTES = 3 * 2 ** 35
/** A device number has 4 bytes, which take one unit of di_forkoff. */
const DEVICE_FORKOFF = 1

type Wrong = (field: string, what: string) => Error

/** A fork as the inode tells of it, and how much room it has there. */
interface ForkCore {
  readonly which: 'data' | 'attributes'
  readonly format: number
  readonly extents: number
  readonly room: number
}

/**
 * Checks an inode in use before it is changed for the first time: what Linux does not read (xfs_dinode_verify and what it calls,
 * fs/xfs/libxfs/xfs_inode_buf.c) is not to be built upon. Reading needs less; `checkDinode` was passed before.
 * `ERR_CORRUPT` names the inode and the field.
 */
export function checkChangeable(inode: Dinode, sb: Superblock): void {
  const { ino, di_version, di_nlink, type } = inode
  const { view } = inode
  const wrong: Wrong = (field, what) =>
    corrupt('inode', `inode ${ino} cannot be changed: its ${field} ${what}`, { inode: ino, field })

  // In versions above 1 nothing is left of it (Linux 6.13 calls it di_metatype).
  const di_onlink = view.u16(AT.di_onlink)
  if (di_version > 1 && di_onlink !== 0) throw wrong('di_onlink', `is ${di_onlink}, expected 0`)
  if (view.u32(AT.di_size) >= 0x8000_0000) throw wrong('di_size', 'is negative')
  if ((type === 'directory' || type === 'symlink') && wide(view, AT.di_size) === 0 && di_nlink !== 0)
    throw wrong('di_size', `is 0, and it is a ${type}`)

  const flags2 = di_version === 3 ? view.u32(AT.flags2Low) : 0
  const isLarge = (flags2 & FLAGS2.NREXT64) !== 0
  checkPadding(view, inode, sb, isLarge, wrong)
  checkForks(view, inode, sb, isLarge, wrong)
  checkExtentHint(view, inode, sb, wrong)
  if (di_version === 3) checkFlags2(view, inode, sb, flags2, wrong)
}

/** xfs_dinode_verify_nrext64: what the counts of extents leave free holds nothing. */
function checkPadding(view: ByteView, inode: Dinode, sb: Superblock, isLarge: boolean, wrong: Wrong): void {
  if (isLarge) {
    if ((sb.sb_features_incompat & INCOMPAT.NREXT64) === 0)
      throw wrong('di_flags2', 'has NREXT64, and the filesystem has not')
    if (view.u16(AT.di_nrext64_pad) !== 0) throw wrong('di_nrext64_pad', 'is not 0')
  } else if (inode.di_version === 3 && wide(view, AT.di_v3_pad) !== 0) throw wrong('di_v3_pad', 'is not 0')
}

function checkForks(view: ByteView, inode: Dinode, sb: Superblock, isLarge: boolean, wrong: Wrong): void {
  const { type, di_version, di_forkoff, di_format, di_aformat, literalSize } = inode
  const extents = isLarge ? wide(view, AT.di_big_nextents) : view.u32(AT.di_nextents)
  const attributeExtents = isLarge ? view.u32(AT.di_big_anextents) : view.u16(AT.di_anextents)
  const blocks = wide(view, AT.di_nblocks)
  if (extents + attributeExtents > blocks)
    throw wrong('di_nblocks', `is ${blocks}, fewer than its ${extents + attributeExtents} extents`)
  // Said of version 3 alone, after the rest.
  if (di_version === 3 && extents + attributeExtents === 0 && blocks !== 0)
    throw wrong('di_nblocks', `is ${blocks}, and it has no extents`)
  if (type === 'directory' && extents > MOST_DIRECTORY_BYTES / sb.sb_blocksize)
    throw wrong('di_nextents', `is ${extents}, more than a directory has blocks`)

  // That it lies within the inode checkDinode has seen to.
  if (di_forkoff !== 0 && di_format === FORMAT.DEV && di_forkoff !== DEVICE_FORKOFF)
    throw wrong('di_forkoff', `is ${di_forkoff}, expected ${DEVICE_FORKOFF} for a ${type}`)
  const room = di_forkoff === 0 ? literalSize : di_forkoff * 8
  if (type === 'file' || type === 'directory' || type === 'symlink') {
    checkSizeAndFormat(wide(view, AT.di_size), inode, room, wrong)
    checkFork({ which: 'data', format: di_format, extents, room }, isLarge, wrong)
  }
  if (di_forkoff !== 0) {
    const left = literalSize - room
    const fork: ForkCore = { which: 'attributes', format: di_aformat, extents: attributeExtents, room: left }
    checkFork(fork, isLarge, wrong)
    return
  }
  // 0 is what a new chunk has.
  if (di_aformat !== 0 && di_aformat !== FORMAT.EXTENTS)
    throw wrong('di_aformat', `is ${di_aformat}, and it has no attributes`)
  if (attributeExtents !== 0) throw wrong('di_anextents', `is ${attributeExtents}, and it has no attributes`)
}

/** Whether what a directory or symlink holds may lie where it does. */
function checkSizeAndFormat(size: number, { type, di_format }: Dinode, room: number, wrong: Wrong): void {
  if (di_format === FORMAT.LOCAL) {
    if (size > room) throw wrong('di_size', `is ${size}, and the inode that holds it has room for ${room}`)
    return
  }
  if (size > room) return
  // A directory that is given up has lost its blocks. A symlink may keep its block when attributes go.
  if (type === 'directory' && size !== 0)
    throw wrong('di_format', `is ${di_format}, and its ${size} bytes would lie in the inode`)
  if (type === 'symlink' && di_format !== FORMAT.EXTENTS)
    throw wrong('di_format', `is ${di_format}, and its target has ${size} bytes`)
}

/** xfs_dinode_verify_fork, and of xfs_iformat_btree what the inode itself tells. */
function checkFork({ which, format, extents, room }: ForkCore, isLarge: boolean, wrong: Wrong): void {
  const field = which === 'data' ? 'di_nextents' : 'di_anextents'
  const inside = Math.floor(room / EXTENT_BYTES)
  if (format === FORMAT.LOCAL && extents !== 0)
    throw wrong(field, `is ${extents}, and the inode itself holds its ${which}`)
  if (format === FORMAT.EXTENTS && extents > inside)
    throw wrong(field, `is ${extents}, and there is room for ${inside}`)
  if (format !== FORMAT.BTREE) return
  const most = (isLarge ? MOST_EXTENTS_LARGE : MOST_EXTENTS)[which]
  if (extents > most) throw wrong(field, `is ${extents}, more than ${most}`)
  if (extents <= inside) throw wrong(field, `is ${extents}, too few for a tree: the inode would hold them`)
}

/** xfs_inode_validate_extsize. */
function checkExtentHint(view: ByteView, inode: Dinode, sb: Superblock, wrong: Wrong): void {
  const { di_flags, type } = inode
  const isRealtime = (di_flags & DIFLAG.REALTIME) !== 0
  if (isRealtime && sb.sb_rblocks === 0)
    throw wrong('di_flags', 'has REALTIME, and the filesystem has no real-time device')
  if ((di_flags & EXTSIZE) !== 0 && type !== 'file')
    throw wrong('di_flags', `has EXTSIZE, and it is a ${type}`)
  if ((di_flags & EXTSZINHERIT) !== 0 && type !== 'directory')
    throw wrong('di_flags', `has EXTSZINHERIT, and it is a ${type}`)
  const has = (di_flags & (EXTSIZE | EXTSZINHERIT)) !== 0
  checkHint('di_extsize', view.u32(AT.di_extsize), has, isRealtime, sb, wrong)
}

/** xfs_inode_validate_cowextsize, and how the flags of version 3 go together. */
function checkFlags2(view: ByteView, inode: Dinode, sb: Superblock, flags2: number, wrong: Wrong): void {
  const { di_flags, type } = inode
  const isRealtime = (di_flags & DIFLAG.REALTIME) !== 0
  const hasHint = (flags2 & FLAGS2.COWEXTSIZE) !== 0
  if ((flags2 & FLAGS2.BIGTIME) !== 0 && !sb.hasBigtime)
    throw wrong('di_flags2', 'has BIGTIME, and the filesystem has not')
  if ((flags2 & FLAGS2.METADATA) !== 0) throw wrong('di_flags2', 'has METADATA, and the filesystem has not')
  if ((flags2 & (FLAGS2.REFLINK | FLAGS2.COWEXTSIZE)) !== 0 && !sb.hasReflink)
    throw wrong('di_flags2', 'has REFLINK or COWEXTSIZE, and the filesystem has no reflink')
  if ((flags2 & FLAGS2.REFLINK) !== 0) {
    if (type !== 'file') throw wrong('di_flags2', `has REFLINK, and it is a ${type}`)
    // Linux 6.14 has reflinks there, with metadir alone.
    if (isRealtime) throw wrong('di_flags2', 'has REFLINK, and its data is on the real-time device')
  }
  if (hasHint && type !== 'file' && type !== 'directory')
    throw wrong('di_flags2', `has COWEXTSIZE, and it is a ${type}`)
  checkHint('di_cowextsize', view.u32(AT.di_cowextsize), hasHint, isRealtime, sb, wrong)
}

function checkHint(
  field: string,
  blocks: number,
  has: boolean,
  isRealtime: boolean,
  sb: Superblock,
  wrong: Wrong,
): void {
  if (has !== (blocks !== 0))
    throw wrong(field, `is ${blocks}, and its flags say that there is ${has ? 'a' : 'no'} hint`)
  if (blocks === 0) return
  // So that what is aligned to it does not leave its allocation group.
  const most = isRealtime ? MOST_EXTENT : Math.min(MOST_EXTENT, Math.floor(sb.sb_agblocks / 2))
  if (blocks > most) throw wrong(field, `is ${blocks} blocks, more than ${most}`)
  if (isRealtime && blocks % sb.sb_rextsize !== 0)
    throw wrong(field, `is ${blocks} blocks, not a multiple of the real-time extent of ${sb.sb_rextsize}`)
}

/** 64 bits to be compared: above 2^53 not all of them, where `u64` would give an error that names no inode. */
function wide(view: ByteView, at: number): number {
  return view.u32(at) * 2 ** 32 + view.u32(at + 4)
}
