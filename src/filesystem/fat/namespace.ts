import { printable } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber, NewInode } from '../filesystem.ts'
import { ClusterChain } from './cluster-chain.ts'
import type { FatDirectory } from './directory.ts'
import { ATTR, newEntry } from './directory-entry.ts'
import { freeData } from './file-data.ts'
import { ROOT_INODE } from './inode-numbers.ts'
import {
  eraseName,
  findName,
  type NamePlan,
  planName,
  refuseSpecial,
  requireName,
  requireValidName,
  touch,
  writeName,
} from './names.ts'
import type { FatVolume } from './volume.ts'

const DOT = new Uint8Array(11).fill(0x20).fill(0x2e, 0, 1)
const DOT_DOT = new Uint8Array(11).fill(0x20).fill(0x2e, 0, 2)

/** `EEXIST` when a name is taken. */
export function requireNew(directory: FatDirectory, name: Uint8Array): void {
  refuseSpecial(name, 'EEXIST')
  if (findName(directory, name) !== undefined)
    throw new DrydiskError('EEXIST', `'${printable(name)}' exists`, { inode: directory.ino })
}

/** Checks a new name and finds room for it. */
function planNew(volume: FatVolume, directory: FatDirectory, name: Uint8Array): NamePlan {
  requireNew(directory, name)
  return planName(volume, directory, requireValidName(name))
}

/** Mode and owner are those of the mount: a new file is like any other. */
export async function create(
  volume: FatVolume,
  directory: FatDirectory,
  name: Uint8Array,
  attributes: NewInode,
): Promise<InodeNumber> {
  const plan = planNew(volume, directory, name)
  volume.allocator.require(plan.growth)
  const entry = newEntry(plan.shortName.bytes, ATTR.ARCHIVE, attributes.time ?? volume.now())
  const place = await writeName(volume, directory, plan, entry)
  await touch(volume, directory)
  return volume.numbers.at(place)
}

export async function mkdir(
  volume: FatVolume,
  directory: FatDirectory,
  name: Uint8Array,
  attributes: NewInode,
): Promise<InodeNumber> {
  const { geometry, numbers } = volume
  const plan = planNew(volume, directory, name)
  volume.allocator.require(plan.growth + 1)
  const time = attributes.time ?? volume.now()
  const [run] = await volume.extend(new ClusterChain(), 1)
  if (run === undefined) throw new DrydiskError('ENOSPC', 'FAT: no space left')
  volume.zeroClusters(run)
  const place = geometry.offsetOf(run.cluster) / 32
  for (const [index, special] of [DOT, DOT_DOT].entries()) {
    const entry = newEntry(special, ATTR.DIRECTORY, time)
    entry.setCluster(index === 0 ? run.cluster : parentCluster(directory), geometry.bits)
    ;(await volume.editEntry(place + index)).bytes.set(entry.bytes)
  }
  const entry = newEntry(plan.shortName.bytes, ATTR.DIRECTORY, time)
  entry.setCluster(run.cluster, geometry.bits)
  const ino = numbers.at(await writeName(volume, directory, plan, entry))
  numbers.setParent(ino, directory.ino)
  await touch(volume, directory)
  return ino
}

/** What `..` of a directory in this one says: the root is 0 there, whatever its cluster (fatgen103). */
export function parentCluster(directory: FatDirectory): number {
  return directory.ino === ROOT_INODE ? 0 : directory.firstCluster
}

export async function unlink(volume: FatVolume, directory: FatDirectory, name: Uint8Array): Promise<void> {
  refuseSpecial(name, 'EISDIR')
  const entry = requireName(directory, name)
  const ino = volume.numbers.at(directory.placeOf(entry.short))
  if (entry.isDirectory)
    throw new DrydiskError('EISDIR', `'${printable(name)}' is a directory`, { inode: ino })
  await freeData(volume, await volume.node(ino))
  await eraseName(volume, directory, entry)
  volume.numbers.forget(ino)
  await touch(volume, directory)
}

export async function rmdir(volume: FatVolume, directory: FatDirectory, name: Uint8Array): Promise<void> {
  refuseSpecial(name, 'EINVAL')
  const entry = requireName(directory, name)
  const ino = volume.numbers.at(directory.placeOf(entry.short))
  if (!entry.isDirectory)
    throw new DrydiskError('ENOTDIR', `'${printable(name)}' is not a directory`, { inode: ino })
  volume.numbers.setParent(ino, directory.ino)
  await removeEmpty(volume, ino, name)
  await eraseName(volume, directory, entry)
  volume.numbers.forget(ino)
  await touch(volume, directory)
}

/** Frees the clusters of a directory; `ENOTEMPTY` before anything changes. */
export async function removeEmpty(volume: FatVolume, ino: InodeNumber, name: Uint8Array): Promise<void> {
  const removed = await volume.directory(ino)
  if (removed.index.size > 0)
    throw new DrydiskError('ENOTEMPTY', `'${printable(name)}' is not empty`, { inode: ino })
  await volume.dropDirectory(removed)
}
