import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import type { Timestamp } from '../filesystem.ts'
import { createWriter } from './create-writer.ts'
import { corrupt, unsupported } from './errors.ts'
import { whyUnwritable } from './features.ts'
import { XfsFileSystem } from './filesystem.ts'
import { finishUnlinked } from './inode-space/unlinked.ts'
import { Inodes } from './inodes.ts'
import { bringLogHome } from './log/bring-home.ts'
import { recoverLog } from './log/recover.ts'
import { destroyInode } from './new-inode.ts'
import { forgetQuotaCheck } from './quota.ts'
import { readSuperblock } from './read-superblock.ts'
import { recoverCow } from './space/recover-cow.ts'
import type { Superblock } from './superblock.ts'
import { inTransaction } from './transaction.ts'
import { XfsVolume } from './volume.ts'

export { readSuperblock } from './read-superblock.ts'

/** What `openXfs` takes. */
export interface OpenXfsOptions {
  /** Whether changes are allowed; default `false`. Needs a writable device. */
  readonly writable?: boolean
  /** The clock for times in inodes; the system's when left out. */
  readonly now?: () => Timestamp
}

/**
 * Opens an XFS filesystem. A log that is dirty is replayed first: onto the device when opened for writing, in memory otherwise.
 * Opened for writing, what a crash left behind is finished too: promises of the log, files without a name, blocks set aside
 * for copy-on-write.
 *
 * `ERR_UNSUPPORTED` names what is not read or, for a writable open, not written; `ERR_CORRUPT` when the superblock contradicts
 * itself or the volume; `EROFS` for a writable open of a read-only device.
 */
export async function openXfs(device: BlockDevice, options: OpenXfsOptions = {}): Promise<XfsFileSystem> {
  const writable = options.writable ?? false
  if (writable && !device.writable)
    throw new DrydiskError('EROFS', 'xfs: the volume is open for reading only, so its filesystem is too')
  const atRest = await readSuperblock(device)
  const reasons = writable ? whyUnwritable(atRest) : []
  if (reasons.length > 0)
    throw unsupported(
      `the filesystem ${reasons.join('; it ')}: nothing was changed. It can be read; to change it, mount it with Linux`,
    )
  const log = hasInternalLog(atRest)
    ? await (writable ? bringLogHome(device, atRest) : recoverLog(device, atRest))
    : undefined
  const current = log?.device ?? device
  const superblock = log?.dirty ? await readSuperblock(current) : atRest
  const volume = new XfsVolume(current, superblock)
  const inodes = new Inodes(volume)
  const root = await inodes.read(superblock.sb_rootino)
  if (root.type !== 'directory')
    throw corrupt('inode', `the root, inode ${root.ino}, is a ${root.type} and no directory`, {
      inode: root.ino,
    })
  const state = {
    warnings: [...(log?.warnings ?? []), ...warningsOf(superblock)],
    replayed: !writable && (log?.dirty ?? false),
  }
  if (!writable) return new XfsFileSystem(volume, inodes, undefined, { ...state, changed: false })
  const writer = createWriter(volume, inodes, options.now)
  await inTransaction(writer, () => recoverCow(writer))
  const unlinked = await finishUnlinked(writer, inode => destroyInode(writer, inode))
  if (unlinked.count > 0) await inTransaction(writer, () => forgetQuotaCheck(volume))
  state.warnings.push(...unlinked.warnings)
  return new XfsFileSystem(volume, inodes, writer, { ...state, changed: volume.buffers.changedBytes > 0 })
}

function hasInternalLog({ sb_logstart }: Superblock): boolean {
  return sb_logstart !== 0
}

function warningsOf(superblock: Superblock): string[] {
  const warnings: string[] = []
  if (superblock.needsRepair) warnings.push('the filesystem is marked as needing repair; run xfs_repair')
  if (!hasInternalLog(superblock))
    warnings.push('the log is on another device, so whether it has to be replayed is not known')
  return warnings
}
