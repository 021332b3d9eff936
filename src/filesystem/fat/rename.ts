import { byteKey, printable } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import type { FatDirectory } from './directory.ts'
import { ShortEntry } from './directory-entry.ts'
import type { NamedEntry } from './directory-index.ts'
import { freeData } from './file-data.ts'
import { ROOT_INODE } from './inode-numbers.ts'
import {
  eraseName,
  findName,
  nameBytes,
  planName,
  refuseSpecial,
  requireName,
  requireValidName,
  touch,
  writeName,
} from './names.ts'
import { parentCluster, removeEmpty } from './namespace.ts'
import type { FatVolume } from './volume.ts'

/** Where a name is. */
interface Named {
  readonly directory: FatDirectory
  readonly entry: NamedEntry
  readonly ino: InodeNumber
}

/**
 * As rename(2). What is replaced gives its entries to the file that takes its place, so the name stays as it was written there,
 * as in Linux. A new name for the same file that differs by case alone is given to it, as in Windows.
 */
export async function rename(
  volume: FatVolume,
  fromDirectory: FatDirectory,
  fromName: Uint8Array,
  toDirectory: FatDirectory,
  toName: Uint8Array,
): Promise<void> {
  refuseSpecial(fromName, 'EBUSY')
  refuseSpecial(toName, 'EBUSY')
  const from = named(volume, fromDirectory, requireName(fromDirectory, fromName))
  if (from.entry.isDirectory && (await isWithin(volume, toDirectory.ino, from.ino)))
    throw new DrydiskError('EINVAL', `'${printable(fromName)}' cannot be moved into itself`, {
      inode: from.ino,
    })
  const present = findName(toDirectory, toName)
  if (present === undefined) await toNewName(volume, from, toDirectory, requireValidName(toName))
  else {
    const target = named(volume, toDirectory, present)
    if (target.ino !== from.ino) await ontoPresent(volume, from, target, toName)
    else if (byteKey(nameBytes(present)) !== byteKey(toName))
      await toNewName(volume, from, toDirectory, requireValidName(toName))
    else return
  }
  await touch(volume, fromDirectory)
  if (toDirectory !== fromDirectory) await touch(volume, toDirectory)
}

function named(volume: FatVolume, directory: FatDirectory, entry: NamedEntry): Named {
  const ino = volume.numbers.at(directory.placeOf(entry.short))
  if (entry.isDirectory) volume.numbers.setParent(ino, directory.ino)
  return { directory, entry, ino }
}

/** Whether a directory is `ancestor` or lies below it. */
async function isWithin(volume: FatVolume, directory: InodeNumber, ancestor: InodeNumber): Promise<boolean> {
  for (let at = directory; at !== ancestor; at = await volume.parentOf(at))
    if (at === ROOT_INODE) return false
  return true
}

async function toNewName(
  volume: FatVolume,
  from: Named,
  directory: FatDirectory,
  name: string,
): Promise<void> {
  const same = directory === from.directory
  const plan = planName(volume, directory, name, same ? from.entry : undefined)
  volume.allocator.require(plan.growth)
  const { place } = await volume.node(from.ino)
  const entry = new ShortEntry((await volume.readEntry(place)).bytes.slice())
  await directory.grow(plan.growth)
  await eraseName(volume, from.directory, from.entry)
  const target = await writeName(volume, directory, { ...plan, growth: 0 }, entry)
  volume.numbers.move(from.ino, target)
  await setParent(volume, from, directory)
}

async function ontoPresent(volume: FatVolume, from: Named, target: Named, name: Uint8Array): Promise<void> {
  const directory = target.entry.isDirectory
  if (directory && (await isWithin(volume, from.directory.ino, target.ino)))
    throw new DrydiskError('ENOTEMPTY', `'${printable(name)}' is not empty`, { inode: target.ino })
  if (from.entry.isDirectory && !directory)
    throw new DrydiskError('ENOTDIR', `'${printable(name)}' is not a directory`, { inode: target.ino })
  if (!from.entry.isDirectory && directory)
    throw new DrydiskError('EISDIR', `'${printable(name)}' is a directory`, { inode: target.ino })
  if (directory) await removeEmpty(volume, target.ino, name)
  else await freeData(volume, await volume.node(target.ino))
  const { place } = await volume.node(from.ino)
  const moved = await volume.readEntry(place)
  const targetPlace = target.directory.placeOf(target.entry.short)
  const kept = await volume.editEntry(targetPlace)
  const [shortName, flags] = [kept.bytes.slice(0, 11), kept.DIR_NTRes]
  kept.bytes.set(moved.bytes)
  kept.bytes.set(shortName)
  kept.DIR_NTRes = flags
  await eraseName(volume, from.directory, from.entry)
  volume.numbers.move(from.ino, targetPlace)
  await setParent(volume, from, target.directory)
}

/** A directory that moved knows its new parent. */
async function setParent(volume: FatVolume, moved: Named, parent: FatDirectory): Promise<void> {
  if (!moved.entry.isDirectory) return
  volume.numbers.setParent(moved.ino, parent.ino)
  if (parent === moved.directory) return
  const directory = await volume.directory(moved.ino)
  const dots = await volume.editEntry(directory.placeOf(1))
  dots.setCluster(parentCluster(parent), volume.geometry.bits)
}
