/** sb_versionnum (xfs_format.h, XFS_SB_VERSION_*). */
export const VERSION = {
  NUMBITS: 0x000f,
  ATTR: 0x0010,
  NLINK: 0x0020,
  QUOTA: 0x0040,
  ALIGN: 0x0080,
  DALIGN: 0x0100,
  SHARED: 0x0200,
  LOGV2: 0x0400,
  SECTOR: 0x0800,
  EXTFLG: 0x1000,
  DIRV2: 0x2000,
  BORG: 0x4000,
  MOREBITS: 0x8000,
} as const

/** sb_features2 (XFS_SB_VERSION2_*). */
export const VERSION2 = {
  LAZYSBCOUNT: 0x0002,
  ATTR2: 0x0008,
  PARENT: 0x0010,
  PROJID32: 0x0080,
  CRC: 0x0100,
  FTYPE: 0x0200,
} as const

/** sb_features_ro_compat of version 5 (XFS_SB_FEAT_RO_COMPAT_*). */
export const RO_COMPAT = { FINOBT: 1, RMAPBT: 2, REFLINK: 4, INOBTCNT: 8 } as const

/** sb_features_incompat of version 5 (XFS_SB_FEAT_INCOMPAT_*; the last ones from Linux 6.10 to 6.15). */
export const INCOMPAT = {
  FTYPE: 1,
  SPINODES: 2,
  META_UUID: 4,
  BIGTIME: 8,
  NEEDSREPAIR: 16,
  NREXT64: 32,
  EXCHRANGE: 64,
  PARENT: 128,
  METADIR: 256,
  ZONED: 512,
  ZONE_GAPS: 1024,
} as const

/** sb_features_log_incompat of version 5 (XFS_SB_FEAT_INCOMPAT_LOG_*): what a log that is not clean may hold. */
export const LOG_INCOMPAT = { XATTRS: 1 } as const

/** mkfs.xfs's names, and whether drydisk reads a filesystem with the feature. */
const INCOMPAT_NAMES: readonly (readonly [bit: number, name: string, read: boolean])[] = [
  [INCOMPAT.FTYPE, 'ftype', true],
  [INCOMPAT.SPINODES, 'sparse', true],
  [INCOMPAT.META_UUID, 'metauuid', true],
  [INCOMPAT.BIGTIME, 'bigtime', true],
  [INCOMPAT.NEEDSREPAIR, 'needsrepair', true],
  [INCOMPAT.NREXT64, 'nrext64', true],
  // Says only that files may have exchanged their extents, which the log tells of.
  [INCOMPAT.EXCHRANGE, 'exchange', true],
  // Attributes of their own kind, which are not shown.
  [INCOMPAT.PARENT, 'parent', true],
  [INCOMPAT.METADIR, 'metadir', false],
  [INCOMPAT.ZONED, 'zoned', false],
  [INCOMPAT.ZONE_GAPS, 'zone gaps', false],
]

const RO_COMPAT_NAMES: readonly (readonly [bit: number, name: string])[] = [
  [RO_COMPAT.FINOBT, 'finobt'],
  [RO_COMPAT.RMAPBT, 'rmapbt'],
  [RO_COMPAT.REFLINK, 'reflink'],
  [RO_COMPAT.INOBTCNT, 'inobtcount'],
]

function bitsOf(word: number): number[] {
  const bits: number[] = []
  for (let bit = 0; bit < 32; bit++) if ((word >>> bit) & 1) bits.push((1 << bit) >>> 0)
  return bits
}

/** Names of what keeps a version 5 filesystem from being read; unknown bits by their value. */
export function unreadableFeatures(incompat: number): string[] {
  const names: string[] = []
  for (const bit of bitsOf(incompat)) {
    const known = INCOMPAT_NAMES.find(feature => feature[0] === bit)
    if (known === undefined) names.push(`incompat 0x${bit.toString(16)}`)
    else if (!known[2]) names.push(known[1])
  }
  return names
}

/** What a version 5 filesystem has that may change the meaning of its free space, because nothing is known of it. */
export function unknownRoCompat(roCompat: number): string[] {
  return bitsOf(roCompat)
    .filter(bit => !RO_COMPAT_NAMES.some(feature => feature[0] === bit))
    .map(bit => `ro_compat 0x${bit.toString(16)}`)
}

/** What keeps a filesystem that is read from being written; each follows "the filesystem ". */
export function whyUnwritable(sb: {
  readonly isV5: boolean
  readonly needsRepair: boolean
  readonly sb_logstart: number
  readonly sb_features_ro_compat: number
  readonly sb_features_incompat: number
}): string[] {
  const reasons: string[] = []
  if (sb.needsRepair) reasons.push('is marked as needing repair (run xfs_repair first)')
  if (sb.sb_logstart === 0) reasons.push('has its log on another device, which may hold what is not here yet')
  const unknown = unknownRoCompat(sb.sb_features_ro_compat)
  if (unknown.length > 0) reasons.push(`has features that are not known: ${unknown.join(', ')}`)
  // Every name would have to be recorded a second time, in its inode.
  if ((sb.sb_features_incompat & INCOMPAT.PARENT) !== 0)
    reasons.push('keeps parent pointers (mkfs.xfs -n parent=1), which drydisk does not write')
  return reasons
}
