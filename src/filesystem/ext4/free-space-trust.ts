import { RangeSet } from '../../bytes/range-set.ts'
import { DrydiskError } from '../../errors.ts'
import { FEATURES, type FeatureName, featureNames } from './features.ts'
import { JournalFile } from './journal-file.ts'
import { locateJournal } from './journal-location.ts'
import { refuseWhenInUse } from './mmp.ts'
import { STATE } from './superblock.ts'
import { systemBlocks } from './system-blocks.ts'
import type { Ext4Volume } from './volume.ts'

/**
 * Read-only compatible features under which a clear bit of the block bitmap still means "free". A feature of this kind may
 * change what bitmaps mean (bigalloc did), so one that is not known here keeps its filesystem whole. Left out:
 * has_snapshot and replica, which were never in Linux.
 */
const BITMAPS_MEAN_FREE: readonly FeatureName[] = [
  'sparse_super',
  'large_file',
  'btree_dir',
  'huge_file',
  'uninit_bg',
  'dir_nlink',
  'extra_isize',
  'quota',
  'bigalloc',
  'metadata_csum',
  'read-only',
  'project',
  'shared_blocks',
  'verity',
  'orphan_present',
]

/** The volume as it lies on disk, where what is read is its state after a replay that was not written. */
export interface Unreplayed {
  readonly device: { read(offset: number, into: Uint8Array): Promise<void> }
  /** Whether changes since the last transaction are applied in what is read. */
  readonly fastCommits: boolean
}

/** What is in use whatever a bitmap says. */
export interface NeverFree {
  /** Superblocks, descriptors, bitmaps and inode tables. */
  readonly system: RangeSet
  /** The internal journal, which the guest may still have to replay. */
  readonly journal: RangeSet
}

function doubt(what: string, structure: string): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `ext4: ${what}: its free space is not to be believed; run e2fsck first`,
    {
      structure,
    },
  )
}

/**
 * Whether bitmaps can be believed at all, before any is read: they are what e2fsck would rebuild first, and space that is
 * free by mistake is a file lost. Reads descriptors and the journal's superblock only.
 * @param doubts what was odd when the filesystem was opened; all that opening warns of are reasons to doubt the accounting:
 * errors marked by the kernel, a journal stopped by an error, no clean unmount without a journal.
 */
export async function requireTrust(
  volume: Ext4Volume,
  doubts: readonly string[],
  unreplayed: Unreplayed | undefined,
): Promise<NeverFree> {
  const { superblock, geometry, descriptors } = volume
  const [first] = doubts
  if (first !== undefined) throw doubt(first, 'superblock')
  if ((superblock.s_state & STATE.VALID) === 0)
    throw doubt('the filesystem is not marked as cleanly unmounted', 'superblock')
  const known = BITMAPS_MEAN_FREE.reduce((bits, name) => bits | FEATURES[name][1], 0)
  const unknown = featureNames('ro_compat', (superblock.s_feature_ro_compat & ~known) >>> 0)
  if (unknown.length > 0)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `ext4: the filesystem has features that may change what its bitmaps mean: ${unknown.join(', ')}`,
      { features: unknown.join(',') },
    )
  if (unreplayed?.fastCommits === true)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      'ext4: the journal has fast commits to apply, and applying them reads blocks that they free; mount the filesystem once or run e2fsck -p',
      { feature: 'fast_commit' },
    )
  await refuseWhenInUse(volume)
  for (let group = 0; group < geometry.groups; group++)
    if (!(await descriptors.checksumIsRight(group)))
      throw doubt(`the checksum of the descriptor of group ${group} is wrong`, 'group descriptor')
  if (unreplayed === undefined) await requireSameCount(volume)
  return {
    system: await systemBlocks(superblock, geometry, descriptors),
    journal: await journalBlocks(volume),
  }
}

/** After a replay the superblock's count is of the last mount; else e2fsck takes a difference for a reason to check everything. */
async function requireSameCount(volume: Ext4Volume): Promise<void> {
  const blocks = (await volume.countFree()).blocks * volume.geometry.clusterRatio
  const { s_free_blocks_count } = volume.superblock
  if (blocks !== s_free_blocks_count)
    throw doubt(
      `the superblock counts ${s_free_blocks_count} free, but its groups count ${blocks}`,
      'superblock',
    )
}

async function journalBlocks(volume: Ext4Volume): Promise<RangeSet> {
  const blocks = new RangeSet()
  const { superblock, blockSize } = volume
  const external = superblock.s_journal_inum === 0 || superblock.s_journal_uuid.some(byte => byte !== 0)
  if (!superblock.has('has_journal') || external) return blocks
  const runs = await locateJournal(volume)
  for (const { block, count } of runs) blocks.add(block, block + count)
  const { errno } = (await JournalFile.open(volume.device, blockSize, runs)).superblock
  if (errno !== 0) throw doubt(`the journal was stopped by error ${errno}`, 'journal')
  return blocks
}
