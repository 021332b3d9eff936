import type { BlockDevice } from '../../device/block-device.ts'
import { OverlayDevice } from '../../device/overlay-device.ts'
import { DrydiskError } from '../../errors.ts'
import type { Timestamp } from '../filesystem.ts'
import { refuseBadMetadata } from './bad-blocks.ts'
import type { FastCommitRecord } from './fast-commit-records.ts'
import { replayFastCommits } from './fast-commit-replay.ts'
import { unreadableFeatures, unwritableFeatures } from './features.ts'
import { Ext4FileSystem, ROOT_INODE } from './filesystem.ts'
import { requireJournalInode } from './journal-location.ts'
import { recoverJournal } from './journal-recovery.ts'
import { refuseWhenInUse } from './mmp.ts'
import { cleanOrphans } from './orphans.ts'
import { EXT_MAGIC, STATE, type Superblock } from './superblock.ts'
import { Ext4Volume, readSuperblock } from './volume.ts'

/** What `openExt4` takes. */
export interface OpenExt4Options {
  /** Whether changes are allowed; default `false`. Needs a writable device. */
  readonly writable?: boolean
  /** The clock for times in inodes; the system's when left out. */
  readonly now?: () => Timestamp
}

/**
 * Opens an ext2, ext3 or ext4 filesystem. A journal with something to recover is replayed first: onto the device when
 * opened for writing, in memory otherwise.
 *
 * `ERR_UNSUPPORTED` names each feature that is not read or, for a writable open, not written; `ERR_CORRUPT` when the
 * superblock contradicts itself or the volume; `EROFS` for a writable open of a read-only device.
 */
export async function openExt4(device: BlockDevice, options: OpenExt4Options = {}): Promise<Ext4FileSystem> {
  const writable = options.writable ?? false
  if (writable && !device.writable)
    throw new DrydiskError('EROFS', 'ext4: the volume is open for reading only, so its filesystem is too')
  const now = options.now ?? systemTime
  let volume = await openVolume(device, writable, now)
  if (writable) await refuseWhenInUse(volume)
  const atRest = volume.superblock
  const warnings: string[] = []
  const recovery = await recoverJournal(volume, (recovered, commits) => rehearse(recovered, commits, now))
  if (recovery !== undefined) {
    warnings.push(...recovery.warnings)
    volume = await openVolume(recovery.device, writable, now)
  }
  warnings.push(...warningsOf(volume.superblock, atRest))
  if (writable) {
    await volume.prepareWriting(recovery !== undefined)
    await refuseBadMetadata(volume)
    if (recovery !== undefined) await replayFastCommits(volume, recovery.fastCommits)
    await cleanOrphans(volume)
  }
  const unreplayed =
    recovery === undefined || writable ? undefined : { device, fastCommits: recovery.fastCommits.length > 0 }
  return new Ext4FileSystem(volume, warnings, unreplayed)
}

/**
 * Fast commits applied in memory: what a read-only open reads, and what tells whether they can be applied at all. A journal
 * without checksums may hold anything: one that takes away the filesystem's own inodes is refused, as the kernel refuses to
 * mount what it leaves.
 */
async function rehearse(
  recovered: BlockDevice,
  commits: readonly FastCommitRecord[],
  now: () => Timestamp,
): Promise<BlockDevice> {
  const after = await openVolume(recovered, false, now)
  const root = await after.inodes.read(ROOT_INODE)
  if (!root.isDirectory)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `ext4: replaying the journal would leave a root that is no directory (mode 0${root.mode.toString(8)}); run e2fsck on a copy`,
      { structure: 'journal', inode: ROOT_INODE },
    )
  await requireJournalInode(after)
  if (commits.length === 0) return recovered
  const scratch = new OverlayDevice(recovered)
  const volume = await openVolume(scratch, true, now)
  await volume.prepareWriting(true)
  await replayFastCommits(volume, commits)
  await volume.sync()
  return scratch
}

async function openVolume(device: BlockDevice, writable: boolean, now: () => Timestamp): Promise<Ext4Volume> {
  const superblock = await readSuperblock(device)
  checkSuperblock(superblock, writable)
  return new Ext4Volume(device, superblock, writable, now)
}

function systemTime(): Timestamp {
  return BigInt(Date.now()) * 1_000_000n
}

/** Magic, checksum and features; what is named here can be said before anything else is looked at. */
function checkSuperblock(superblock: Superblock, writable: boolean): void {
  if (superblock.s_magic !== EXT_MAGIC)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `no ext filesystem: the magic number is 0x${superblock.s_magic.toString(16)}, expected 0xef53`,
      { structure: 'superblock' },
    )
  const unreadable = unreadableFeatures(superblock.s_feature_incompat)
  if (unreadable.length > 0)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `ext4: the filesystem has features that drydisk does not read: ${unreadable.join(', ')}`,
      { features: unreadable.join(',') },
    )
  if (superblock.has('metadata_csum') && !superblock.checksumIsRight)
    throw new DrydiskError(
      'ERR_CORRUPT',
      'ext4: the checksum of the superblock is wrong; e2fsck may repair it from a backup superblock',
      { structure: 'superblock' },
    )
  const unwritable = writable ? unwritableFeatures(superblock.s_feature_ro_compat) : []
  if (unwritable.length > 0)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `ext4: the filesystem has features that drydisk reads but does not write: ${unwritable.join(', ')}; open it read-only`,
      { features: unwritable.join(',') },
    )
}

/** @param atRest the superblock before the journal was replayed: a mark in it outlives the replay (ext4_load_journal). */
function warningsOf(superblock: Superblock, atRest: Superblock): string[] {
  const warnings: string[] = []
  if (((superblock.s_state | atRest.s_state) & STATE.ERROR) !== 0)
    warnings.push('the filesystem is marked as having errors; run e2fsck')
  else if (!superblock.has('has_journal') && (superblock.s_state & STATE.VALID) === 0)
    warnings.push('the filesystem has no journal and was not cleanly unmounted; run e2fsck')
  return warnings
}
