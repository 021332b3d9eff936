import { equalBytes } from '../../bytes/compare.ts'
import { printable } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { DirectoryEntry, InodeNumber } from '../filesystem.ts'
import { type DirItem, entryType, MOST_NAME, nameHash, parseDirItems, refuseName } from './dir-item.ts'
import { corrupt } from './errors.ts'
import { parentDirectory } from './inode-ref.ts'
import { ITEM, MOST } from './key.ts'
import type { Subvolume } from './subvolumes.ts'
import type { BtrfsVolume } from './volume.ts'

/** A directory of a subvolume. */
export interface DirectoryPlace {
  readonly ino: InodeNumber
  readonly subvolume: Subvolume
  readonly objectid: bigint
}

export async function lookupName(
  volume: BtrfsVolume,
  directory: DirectoryPlace,
  name: Uint8Array,
): Promise<InodeNumber> {
  const { subvolume, objectid } = directory
  if (name.length > MOST_NAME)
    throw new DrydiskError(
      'ENAMETOOLONG',
      `a name of ${name.length} bytes, and btrfs has room for ${MOST_NAME}`,
    )
  const data = await subvolume.tree.find({ objectid, type: ITEM.DIR_ITEM, offset: nameHash(name) })
  const found = data && parseDirItems(data).find(item => equalBytes(item.name, name))
  if (found === undefined)
    throw new DrydiskError('ENOENT', `no such file or directory: ${printable(name)}`, {
      inode: directory.ino,
    })
  return resolve(volume, directory, found)
}

export async function* listNames(
  volume: BtrfsVolume,
  directory: DirectoryPlace,
): AsyncIterable<DirectoryEntry> {
  const { subvolume, objectid } = directory
  const key = (offset: bigint) => ({ objectid, type: ITEM.DIR_INDEX, offset })
  for await (const { data } of subvolume.tree.range(key(0n), key(MOST)))
    for (const item of parseDirItems(data)) {
      refuseName(item.name)
      yield { name: item.name.slice(), ino: await resolve(volume, directory, item), type: entryType(item) }
    }
}

/** The inode that an entry names. A directory has to name its parent in turn: so nothing hangs in itself. */
async function resolve(volume: BtrfsVolume, directory: DirectoryPlace, item: DirItem): Promise<InodeNumber> {
  const { subvolume, objectid } = directory
  const { location } = item
  if (location.type === ITEM.ROOT_ITEM) return resolveSubvolume(volume, directory, item)
  const wrong = (what: string) =>
    corrupt('directory item', `the entry ${printable(item.name)} of directory ${objectid} ${what}`, {
      inode: objectid,
    })
  if (location.type !== ITEM.INODE_ITEM) throw wrong(`refers to an item of type ${location.type}`)
  const ino = volume.numbers.numberOf(subvolume, location.objectid)
  const { type } = await volume.inode(ino, subvolume, location.objectid)
  if (type !== entryType(item))
    throw wrong(`says ${entryType(item)}, and inode ${location.objectid} is a ${type}`)
  if (type === 'directory') {
    const parent = await parentDirectory(subvolume.tree, location.objectid)
    if (parent?.parent !== objectid || location.objectid === subvolume.rootDirid)
      throw wrong(`is the directory ${location.objectid}, which hangs in ${parent?.parent ?? 'none'}`)
  }
  return ino
}

/**
 * A snapshot has the entries of subvolumes nested in its origin, and not the subvolumes: Linux shows empty directories there, and for
 * whatever does not refer back to the entry.
 */
async function resolveSubvolume(
  volume: BtrfsVolume,
  { ino, subvolume, objectid }: DirectoryPlace,
  item: DirItem,
): Promise<InodeNumber> {
  const id = item.location.objectid
  const { subvolumes, numbers } = volume
  const ref = await subvolumes.refOf(subvolume.id, id)
  const child =
    ref?.dirid === objectid && equalBytes(ref.name, item.name) ? await subvolumes.find(id) : undefined
  if (child === undefined) return numbers.stub(ino, id)
  const parent = await subvolumes.parentOf(id)
  if (parent?.id !== subvolume.id || parent.dirid !== objectid || id === volume.mounted.id)
    throw corrupt(
      'root tree',
      `subvolume ${id} hangs in directory ${objectid} of subvolume ${subvolume.id}, and says otherwise`,
    )
  return numbers.numberOf(child, child.rootDirid)
}

/** `..` */
export async function parentNumber(volume: BtrfsVolume, directory: DirectoryPlace): Promise<InodeNumber> {
  const { ino, subvolume, objectid } = directory
  const { numbers, subvolumes } = volume
  if (objectid !== subvolume.rootDirid) {
    const above = await parentDirectory(subvolume.tree, objectid)
    if (above === undefined)
      throw corrupt('inode', `directory ${objectid} hangs nowhere`, { inode: objectid })
    return numbers.numberOf(subvolume, above.parent)
  }
  if (subvolume.id === volume.mounted.id) return ino
  const parent = await subvolumes.parentOf(subvolume.id)
  const above = parent && (await subvolumes.find(parent.id))
  if (parent === undefined || above === undefined)
    throw corrupt('root tree', `subvolume ${subvolume.id} hangs nowhere`)
  return numbers.numberOf(above, parent.dirid)
}
