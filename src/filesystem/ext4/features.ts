/** Which word of the superblock a feature's bit is in, and so what not knowing it means (fs/ext4/ext4.h). */
export type FeatureSet = 'compat' | 'incompat' | 'ro_compat'

/** Every feature bit that has a name, as `dumpe2fs` prints it (e2fsprogs lib/e2p/feature.c, fs/ext4/ext4.h). */
export const FEATURES = {
  dir_prealloc: ['compat', 0x1],
  imagic_inodes: ['compat', 0x2],
  has_journal: ['compat', 0x4],
  ext_attr: ['compat', 0x8],
  resize_inode: ['compat', 0x10],
  dir_index: ['compat', 0x20],
  lazy_bg: ['compat', 0x40],
  exclude_inode: ['compat', 0x80],
  snapshot_bitmap: ['compat', 0x100],
  sparse_super2: ['compat', 0x200],
  fast_commit: ['compat', 0x400],
  stable_inodes: ['compat', 0x800],
  orphan_file: ['compat', 0x1000],

  compression: ['incompat', 0x1],
  filetype: ['incompat', 0x2],
  needs_recovery: ['incompat', 0x4],
  journal_dev: ['incompat', 0x8],
  meta_bg: ['incompat', 0x10],
  extent: ['incompat', 0x40],
  '64bit': ['incompat', 0x80],
  mmp: ['incompat', 0x100],
  flex_bg: ['incompat', 0x200],
  ea_inode: ['incompat', 0x400],
  dirdata: ['incompat', 0x1000],
  metadata_csum_seed: ['incompat', 0x2000],
  large_dir: ['incompat', 0x4000],
  inline_data: ['incompat', 0x8000],
  encrypt: ['incompat', 0x1_0000],
  casefold: ['incompat', 0x2_0000],

  sparse_super: ['ro_compat', 0x1],
  large_file: ['ro_compat', 0x2],
  btree_dir: ['ro_compat', 0x4],
  huge_file: ['ro_compat', 0x8],
  uninit_bg: ['ro_compat', 0x10],
  dir_nlink: ['ro_compat', 0x20],
  extra_isize: ['ro_compat', 0x40],
  has_snapshot: ['ro_compat', 0x80],
  quota: ['ro_compat', 0x100],
  bigalloc: ['ro_compat', 0x200],
  metadata_csum: ['ro_compat', 0x400],
  replica: ['ro_compat', 0x800],
  'read-only': ['ro_compat', 0x1000],
  project: ['ro_compat', 0x2000],
  shared_blocks: ['ro_compat', 0x4000],
  verity: ['ro_compat', 0x8000],
  orphan_present: ['ro_compat', 0x1_0000],
} as const satisfies Readonly<Record<string, readonly [FeatureSet, number]>>

export type FeatureName = keyof typeof FEATURES

/**
 * Incompatible features that are read here. `encrypt` and `casefold` concern single inodes, which are refused one by
 * one where the feature touches them; `needs_recovery` and `mmp` are looked at when opening.
 */
const READABLE: readonly FeatureName[] = [
  'filetype',
  'needs_recovery',
  'meta_bg',
  'extent',
  '64bit',
  'mmp',
  'flex_bg',
  'ea_inode',
  'metadata_csum_seed',
  'large_dir',
  'inline_data',
  'encrypt',
  'casefold',
]

/** Read-only compatible features that can be kept right while writing. */
const WRITABLE: readonly FeatureName[] = [
  'sparse_super',
  'large_file',
  // An abandoned experiment of ext3; the bit is set by no tool and means nothing to the kernel.
  'btree_dir',
  'huge_file',
  'uninit_bg',
  'dir_nlink',
  'extra_isize',
  'metadata_csum',
  'project',
  'verity',
  'orphan_present',
]

function mask(set: FeatureSet, names: readonly FeatureName[]): number {
  let bits = 0
  for (const name of names) if (FEATURES[name][0] === set) bits |= FEATURES[name][1]
  return bits >>> 0
}

const READABLE_INCOMPAT = mask('incompat', READABLE)
const WRITABLE_RO_COMPAT = mask('ro_compat', WRITABLE)

/** The features of one word by name; a bit without a name as `dumpe2fs` prints it (`FEATURE_I23`). */
export function featureNames(set: FeatureSet, word: number): string[] {
  const letter = { compat: 'C', incompat: 'I', ro_compat: 'R' }[set]
  const names: string[] = []
  for (let bit = 0; bit < 32; bit++) {
    if (((word >>> bit) & 1) === 0) continue
    const known = Object.entries(FEATURES).find(([, [of, value]]) => of === set && value === 2 ** bit)
    names.push(known?.[0] ?? `FEATURE_${letter}${bit}`)
  }
  return names
}

/** The names of incompatible features that keep the filesystem from being read. */
export function unreadableFeatures(incompat: number): string[] {
  return featureNames('incompat', (incompat & ~READABLE_INCOMPAT) >>> 0)
}

/** The names of features that keep a readable filesystem from being written. */
export function unwritableFeatures(roCompat: number): string[] {
  return featureNames('ro_compat', (roCompat & ~WRITABLE_RO_COMPAT) >>> 0)
}
