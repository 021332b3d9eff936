import { printable } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { DeviceNumber, FileType, InodeNumber, NewInode } from '../filesystem.ts'
import { type Dinode, FORMAT } from './dinode.ts'
import { dots } from './dir-name.ts'
import { type FoundEntry, findEntry } from './directory.ts'
import { addEntry, initDirectory, isEmptyDirectory, removeEntry } from './directory-edit/directory-edit.ts'
import {
  dropLinkCount,
  requireLinkable,
  requireName,
  requireOrdinaryName,
  requireSameProject,
  requireUnprotected,
  touch,
  touchChange,
} from './links.ts'
import { destroyInode, inheritAcls, newInode } from './new-inode.ts'
import { after, inTurn, type Soon } from './soon.ts'
import { storeTarget } from './symlink-edit.ts'
import type { XfsWriter } from './writer.ts'

/** A device number is 14 bits of major number above 18 of minor. */
const MOST_DEVICE = { major: 2 ** 14, minor: 2 ** 18 } as const

/** The inode that a name leads to, not yet to be changed; `undefined` when there is no such name. */
export function findName(writer: XfsWriter, directory: Dinode, name: Uint8Array): Soon<Dinode | undefined> {
  return after(findEntry(writer, directory, name), found => found && writer.inodes.read(found.ino))
}

/** What a name leads to; `ENOENT` when there is no such name. */
export function requireEntry(writer: XfsWriter, directory: Dinode, name: Uint8Array): Soon<FoundEntry> {
  return after(findEntry(writer, directory, name), found => {
    if (found !== undefined) return found
    throw new DrydiskError('ENOENT', `there is no '${printable(name)}' in inode ${directory.ino}`, {
      inode: directory.ino,
    })
  })
}

function requireNewName(writer: XfsWriter, directory: Dinode, name: Uint8Array): Soon<void> {
  requireName(name)
  return after(dots(name) !== 0 || findEntry(writer, directory, name), found => {
    if (found === undefined) return
    throw new DrydiskError('EEXIST', `'${printable(name)}' exists in inode ${directory.ino}`, {
      inode: directory.ino,
    })
  })
}

/** What is made is named last: its number and type are known then. */
function make(
  writer: XfsWriter,
  parent: InodeNumber,
  name: Uint8Array,
  type: FileType,
  attributes: NewInode,
  complete: (inode: Dinode) => Soon<void>,
): Soon<InodeNumber> {
  return after(writer.inodes.require(parent, 'directory'), found =>
    after(requireNewName(writer, found, name), () => {
      requireUnprotected(found, true)
      if (type === 'directory') requireLinkable(found)
      return after(writer.inodes.edit(parent), directory =>
        after(newInode(writer, directory, type, attributes), inode => {
          const done = inTurn([
            () => complete(inode),
            () => inheritAcls(writer, directory, inode),
            () => {
              inode.stamp(attributes.time ?? writer.now())
              return addEntry(writer, directory, name, inode.ino, type)
            },
          ])
          return after(done, () => {
            if (type === 'directory') {
              inode.di_nlink = 2
              directory.di_nlink++
            }
            touch(writer, directory)
            return inode.ino
          })
        }),
      )
    }),
  )
}

export function create(
  writer: XfsWriter,
  directory: InodeNumber,
  name: Uint8Array,
  attributes: NewInode,
): Soon<InodeNumber> {
  return make(writer, directory, name, 'file', attributes, () => {})
}

export function mkdir(
  writer: XfsWriter,
  directory: InodeNumber,
  name: Uint8Array,
  attributes: NewInode,
): Soon<InodeNumber> {
  return make(writer, directory, name, 'directory', attributes, inode =>
    initDirectory(writer, inode, directory),
  )
}

/** The mode of a symlink is 0o777, whatever is asked for: nothing looks at it. */
export function symlink(
  writer: XfsWriter,
  directory: InodeNumber,
  name: Uint8Array,
  target: Uint8Array,
  attributes: NewInode,
): Soon<InodeNumber> {
  return make(writer, directory, name, 'symlink', { ...attributes, mode: 0o777 }, inode =>
    storeTarget(writer, inode, target),
  )
}

export function mknod(
  writer: XfsWriter,
  directory: InodeNumber,
  name: Uint8Array,
  type: 'character-device' | 'block-device' | 'fifo' | 'socket',
  { major, minor }: DeviceNumber,
  attributes: NewInode,
): Soon<InodeNumber> {
  const isDevice = type === 'character-device' || type === 'block-device'
  if (isDevice && !(major >= 0 && major < MOST_DEVICE.major && minor >= 0 && minor < MOST_DEVICE.minor))
    throw new DrydiskError(
      'EINVAL',
      `device ${major}:${minor}: XFS has room for major numbers below ${MOST_DEVICE.major} and minor ones below ${MOST_DEVICE.minor}`,
    )
  return make(writer, directory, name, type, attributes, inode => {
    inode.di_format = FORMAT.DEV
    inode.data.literal.setU32(0, isDevice ? major * MOST_DEVICE.minor + minor : 0)
  })
}

export async function link(
  writer: XfsWriter,
  ino: InodeNumber,
  parent: InodeNumber,
  name: Uint8Array,
): Promise<void> {
  const found = await writer.inodes.require(parent, 'directory')
  await requireNewName(writer, found, name)
  const linked = await writer.inodes.read(ino)
  if (linked.type === 'directory')
    throw new DrydiskError('EPERM', `inode ${ino} is a directory: it has one name`, { inode: ino })
  requireUnprotected(found, true)
  requireUnprotected(linked, false)
  requireSameProject(found, linked)
  requireLinkable(linked)
  const directory = await writer.inodes.edit(parent)
  const inode = await writer.inodes.edit(ino)
  await addEntry(writer, directory, name, ino, inode.type)
  inode.di_nlink++
  touchChange(writer, inode)
  touch(writer, directory)
}

/** Takes one name from what is no directory; with the last one it goes. */
export function dropLink(writer: XfsWriter, inode: Dinode): Soon<void> {
  touchChange(writer, inode)
  if (inode.di_nlink <= 1) return destroyInode(writer, inode)
  dropLinkCount(inode)
}

export function unlink(writer: XfsWriter, parent: InodeNumber, name: Uint8Array): Soon<void> {
  return after(writer.inodes.require(parent, 'directory'), found => {
    requireOrdinaryName(name, 'EISDIR')
    return after(requireEntry(writer, found, name), entry =>
      after(writer.inodes.read(entry.ino), named => {
        if (named.type === 'directory')
          throw new DrydiskError('EISDIR', `'${printable(name)}' is a directory`, { inode: named.ino })
        requireUnprotected(found, false)
        requireUnprotected(named, false)
        return unlinkFound(writer, parent, name, entry)
      }),
    )
  })
}

function unlinkFound(
  writer: XfsWriter,
  parent: InodeNumber,
  name: Uint8Array,
  entry: FoundEntry,
): Soon<void> {
  return after(writer.inodes.edit(parent), directory =>
    after(writer.inodes.edit(entry.ino), inode =>
      after(removeEntry(writer, directory, name, entry), () => {
        touch(writer, directory)
        return dropLink(writer, inode)
      }),
    ),
  )
}

export async function requireEmpty(writer: XfsWriter, directory: Dinode, name: Uint8Array): Promise<void> {
  if (!(await isEmptyDirectory(writer, directory)))
    throw new DrydiskError('ENOTEMPTY', `'${printable(name)}' is not empty`, { inode: directory.ino })
}

export async function rmdir(writer: XfsWriter, parent: InodeNumber, name: Uint8Array): Promise<void> {
  const found = await writer.inodes.require(parent, 'directory')
  requireOrdinaryName(name, 'EINVAL')
  const entry = await requireEntry(writer, found, name)
  const named = await writer.inodes.read(entry.ino)
  if (named.type !== 'directory')
    throw new DrydiskError('ENOTDIR', `'${printable(name)}' is not a directory`, { inode: named.ino })
  await requireEmpty(writer, named, name)
  requireUnprotected(found, false)
  requireUnprotected(named, false)
  const directory = await writer.inodes.edit(parent)
  const inode = await writer.inodes.edit(named.ino)
  await removeEntry(writer, directory, name, entry)
  dropLinkCount(directory)
  touch(writer, directory)
  await destroyInode(writer, inode)
}
