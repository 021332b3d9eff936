import type { BlockDevice } from '../../device/block-device.ts'
import { corrupt, unsupported } from './errors.ts'
import { XfsFileSystem } from './filesystem.ts'
import { Inodes } from './inodes.ts'
import { recoverLog } from './log/recover.ts'
import { readSuperblock } from './read-superblock.ts'
import type { Superblock } from './superblock.ts'
import { XfsVolume } from './volume.ts'

export { readSuperblock } from './read-superblock.ts'

export interface OpenXfsOptions {
  /** Only `false` is possible; `true` is `ERR_UNSUPPORTED`. */
  readonly writable?: boolean
}

/**
 * Opens an XFS filesystem for reading. A log that is dirty is replayed in memory first, and nothing is written.
 * `ERR_UNSUPPORTED` names what is not read; `ERR_CORRUPT` when the superblock contradicts itself or the volume.
 */
export async function openXfs(device: BlockDevice, options: OpenXfsOptions = {}): Promise<XfsFileSystem> {
  if (options.writable)
    throw unsupported(
      'the filesystem is read by drydisk and not written, so nothing was changed. Its files can be listed, read and copied out; to change them, mount the image with Linux (losetup -P, mount)',
      { type: 'xfs' },
    )
  const atRest = await readSuperblock(device)
  const recovery = hasInternalLog(atRest) ? await recoverLog(device, atRest) : undefined
  const superblock = recovery?.dirty ? await readSuperblock(recovery.device) : atRest
  const volume = new XfsVolume(recovery?.device ?? device, superblock)
  const root = await new Inodes(volume).read(superblock.sb_rootino)
  if (root.type !== 'directory')
    throw corrupt('inode', `the root, inode ${root.ino}, is a ${root.type} and no directory`, {
      inode: root.ino,
    })
  const warnings = [...(recovery?.warnings ?? []), ...warningsOf(superblock)]
  return new XfsFileSystem(volume, { warnings, replayed: recovery?.dirty ?? false })
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
