/** Bits of incompat_flags that matter here (on-disk format, "Superblock"; include/uapi/linux/btrfs.h). */
export const INCOMPAT = {
  METADATA_UUID: 1n << 10n,
  RAID_STRIPE_TREE: 1n << 14n,
} as const

/**
 * All known bits and whether drydisk reads a filesystem with them. RAID56 and RAID1C34 say that a profile was used once; which one a
 * chunk has is looked at there. Zoned filesystems on ordinary devices keep the superblock where others do, and simple quotas
 * only add to references of extents.
 */
const FEATURES: readonly (readonly [bit: number, name: string, read: boolean])[] = [
  [0, 'mixed-backref', true],
  [1, 'default-subvol', true],
  [2, 'mixed-bg', true],
  [3, 'compress-lzo', true],
  [4, 'compress-zstd', true],
  [5, 'big-metadata', true],
  [6, 'extref', true],
  [7, 'raid56', true],
  [8, 'skinny-metadata', true],
  [9, 'no-holes', true],
  [10, 'metadata-uuid', true],
  [11, 'raid1c34', true],
  [12, 'zoned', true],
  [13, 'extent-tree-v2', false],
  [14, 'raid-stripe-tree', false],
  [16, 'simple-quota', true],
  [17, 'remap-tree', false],
]

/** Names of what keeps the filesystem from being read, unknown bits by their number. Features that only writers heed do not count. */
export function unreadableFeatures(incompat: bigint): string[] {
  const out: string[] = []
  for (let bit = 0; bit < 64; bit++) {
    if ((incompat & (1n << BigInt(bit))) === 0n) continue
    const known = FEATURES.find(feature => feature[0] === bit)
    if (known === undefined) out.push(`incompat bit ${bit}`)
    else if (!known[2]) out.push(known[1])
  }
  return out
}

/** Bits of the superblock's flags. */
export const SUPER_FLAG = {
  ERROR: 1n << 2n,
  SEEDING: 1n << 32n,
  METADUMP: 1n << 33n,
  METADUMP_V2: 1n << 34n,
  CHANGING_FSID: 1n << 35n,
  CHANGING_FSID_V2: 1n << 36n,
  CHANGING_BG_TREE: 1n << 38n,
  CHANGING_DATA_CSUM: 1n << 39n,
  CHANGING_META_CSUM: 1n << 40n,
} as const
