import { toBytes } from '../../bytes/names.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import { type Checksum, loadChecksum, matches } from './checksum.ts'
import { corrupt, unsupported } from './errors.ts'
import { SUPER_FLAG } from './features.ts'
import { BtrfsFileSystem } from './filesystem.ts'
import { OBJECTID } from './key.ts'
import { subvolumeOptions } from './mount-options.ts'
import type { Subvolume } from './subvolumes.ts'
import {
  parseSuperblock,
  SUPERBLOCK_SIZE,
  SUPERBLOCKS_AT,
  type Superblock,
  superblockChecksummed,
  superblockCsumType,
  superblockGeneration,
} from './superblock.ts'
import { BtrfsVolume, type OpenedVolume, openVolume } from './volume.ts'

export interface OpenBtrfsOptions {
  /** Only `false` is possible; `true` is `ERR_UNSUPPORTED`. */
  readonly writable?: boolean
  /** As in the fourth field of fstab(5): `subvol=` and `subvolid=` choose the subvolume; the default one when left out. */
  readonly mountOptions?: readonly string[]
}

/**
 * Opens a btrfs filesystem of one device for reading. `ERR_UNSUPPORTED` names what is not read: features, other devices, RAID
 * profiles; `ERR_CORRUPT` when no copy of a structure is right; `ENOENT` when there is no such subvolume.
 *
 * A log tree (data of fsync since the last commit) is not replayed: what is read is the last commit, and a warning says so.
 */
export async function openBtrfs(
  device: BlockDevice,
  options: OpenBtrfsOptions = {},
): Promise<BtrfsFileSystem> {
  if (options.writable)
    throw unsupported(
      'the filesystem is read by drydisk and not written, so nothing was changed. Its files can be listed, read and copied out; to change them, mount the image with Linux (losetup -P, mount)',
      { type: 'btrfs' },
    )
  const { bytes, checksum, warnings } = await readSuperblock(device)
  const superblock = parseSuperblock(bytes)
  // Linux does not mount it either, not even for reading.
  if (superblock.deviceBytes > device.size)
    throw corrupt(
      'superblock',
      `the filesystem takes ${superblock.deviceBytes} bytes and its volume has ${device.size}: it was cut off`,
    )
  const opened = await openVolume(device, superblock, checksum)
  const mounted = await chooseSubvolume(opened, options.mountOptions ?? [])
  const volume = new BtrfsVolume(opened, mounted)
  const path = await opened.subvolumes.pathOf(mounted.id)
  return new BtrfsFileSystem(volume, { id: Number(mounted.id), path }, [
    ...warnings,
    ...warningsOf(superblock),
  ])
}

/** The first copy, as Linux takes it; the newest of the others when it is damaged. */
async function readSuperblock(
  device: BlockDevice,
): Promise<{ bytes: Uint8Array; checksum: Checksum; warnings: string[] }> {
  const found: { bytes: Uint8Array; checksum: Checksum; at: number }[] = []
  let problem: unknown = corrupt('superblock', 'no superblock is where it has to be')
  for (const at of SUPERBLOCKS_AT) {
    if (at + SUPERBLOCK_SIZE > device.size) break
    const bytes = new Uint8Array(SUPERBLOCK_SIZE)
    await device.read(at, bytes)
    const csumType = superblockCsumType(bytes, at)
    if (csumType === undefined) continue
    try {
      const checksum = await loadChecksum(csumType)
      const { stored, content } = superblockChecksummed(bytes)
      if (!matches(checksum, content, stored))
        throw corrupt('superblock', 'the checksum of the superblock is wrong')
      found.push({ bytes, checksum, at })
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      problem = error
    }
    if (found[0]?.at === SUPERBLOCKS_AT[0]) break
  }
  found.sort((a, b) => Number(superblockGeneration(b.bytes) - superblockGeneration(a.bytes)))
  const [newest] = found
  if (newest === undefined) throw problem
  const { bytes, checksum, at } = newest
  const warnings =
    at === SUPERBLOCKS_AT[0]
      ? []
      : [`the first superblock is damaged, and the copy at ${at} is used; run \`btrfs rescue super-recover\``]
  return { bytes, checksum, warnings }
}

async function chooseSubvolume(opened: OpenedVolume, mountOptions: readonly string[]): Promise<Subvolume> {
  const { subvolumes } = opened
  const { subvol, subvolid } = subvolumeOptions(mountOptions)
  if (subvol === undefined) return subvolumes.require(subvolid ?? (await subvolumes.defaultId()))
  const found = await byPath(opened, subvol)
  if (subvolid !== undefined && subvolid !== found.id)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `btrfs: subvol=${subvol} is subvolume ${found.id}, and subvolid=${subvolid} says another; Linux does not mount that`,
      { subvolume: found.id },
    )
  return found
}

/** A path from the top level that ends in a subvolume. */
async function byPath(opened: OpenedVolume, path: string): Promise<Subvolume> {
  const top = await opened.subvolumes.require(OBJECTID.FS_TREE)
  const volume = new BtrfsVolume(opened, top)
  const fs = new BtrfsFileSystem(volume, { id: 5, path: '/' }, [])
  const notThere = (why: string) =>
    new DrydiskError('ENOENT', `btrfs: there is no subvolume ${path}: ${why}`, { subvolume: path })
  let ino = fs.root
  for (const name of path.split('/').filter(part => part !== ''))
    try {
      ino = await fs.lookup(ino, toBytes(name))
    } catch (error) {
      if (isDrydiskError(error, 'ENOENT', 'ENOTDIR', 'ENAMETOOLONG')) throw notThere('no such directory')
      throw error
    }
  const place = volume.numbers.at(ino)
  if (place.kind === 'inode' && place.objectid === place.subvolume.rootDirid) return place.subvolume
  throw notThere('that is no subvolume')
}

function warningsOf(superblock: Superblock): string[] {
  const warnings: string[] = []
  if (superblock.logRoot !== 0)
    warnings.push(
      'the filesystem was not cleanly unmounted, and its log tree is not replayed: what was written last with fsync is not shown. Mounting it once with Linux replays the log',
    )
  if ((superblock.flags & SUPER_FLAG.ERROR) !== 0n)
    warnings.push('the filesystem is marked as having errors; run `btrfs check` on a copy')
  if ((superblock.flags & SUPER_FLAG.SEEDING) !== 0n)
    warnings.push('the filesystem is a seed device: filesystems of other devices may be built on it')
  return warnings
}
