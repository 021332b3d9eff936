import { DrydiskError } from '../../errors.ts'
import type { DirectoryEntry, FileExtent, FileSystemUsage, InodeNumber, InodeStat } from '../filesystem.ts'
import { ReadOnlyFileSystem } from '../read-only-filesystem.ts'
import { type DirectoryPlace, listNames, lookupName, parentNumber } from './directory.ts'
import { corrupt } from './errors.ts'
import { dataExtents, type FileSource, readData } from './file-data.ts'
import { attributeFlags, type InodeItem } from './inode-item.ts'
import type { Place } from './inode-numbers.ts'
import { usage } from './usage.ts'
import type { BtrfsVolume } from './volume.ts'
import { getXattr, listXattrs } from './xattr.ts'

/** PATH_MAX of Linux, with its NUL. */
const MOST_TARGET = 4095

/** A subvolume of the filesystem. */
export interface SubvolumeName {
  readonly id: number
  /** From the top level, as findmnt(8) prints it: `/`, `/root`, `/@/.snapshots/1/snapshot`. */
  readonly path: string
}

type InodePlace = Extract<Place, { kind: 'inode' }>

/**
 * btrfs, read only, as one of its subvolumes is mounted. Opened by `openBtrfs`. Subvolumes nested in it are directories, as in Linux;
 * their inodes have numbers of their own in the whole mount (see `InodeNumbers`).
 */
export class BtrfsFileSystem extends ReadOnlyFileSystem {
  readonly type = 'btrfs'
  readonly root: InodeNumber
  readonly uuid: string
  readonly label: string
  /** What is odd about the filesystem but does not keep it from being read: one sentence each. */
  readonly warnings: readonly string[]
  /** Which subvolume is mounted. */
  readonly subvolume: SubvolumeName
  readonly #volume: BtrfsVolume

  constructor(volume: BtrfsVolume, subvolume: SubvolumeName, warnings: readonly string[]) {
    super()
    this.#volume = volume
    this.subvolume = subvolume
    this.warnings = warnings
    this.uuid = volume.superblock.fsid
    this.label = new TextDecoder().decode(volume.superblock.label)
    this.root = volume.numbers.numberOf(volume.mounted, volume.mounted.rootDirid)
  }

  /** Every subvolume below the top level, parents before children. */
  async *subvolumes(): AsyncIterable<SubvolumeName> {
    const { subvolumes } = this.#volume
    for (const id of await subvolumes.ids())
      if (await subvolumes.find(id)) yield { id: Number(id), path: await subvolumes.pathOf(id) }
  }

  async #inode(ino: InodeNumber): Promise<{ place: InodePlace; inode: InodeItem } | undefined> {
    const place = this.#volume.numbers.at(ino)
    if (place.kind === 'stub') return undefined
    return { place, inode: await this.#volume.inode(ino, place.subvolume, place.objectid) }
  }

  /** `undefined`: the empty directory in place of a subvolume. */
  async #directory(ino: InodeNumber): Promise<DirectoryPlace | undefined> {
    const found = await this.#inode(ino)
    if (found === undefined) return undefined
    if (found.inode.type !== 'directory')
      throw new DrydiskError('ENOTDIR', `inode ${ino} is a ${found.inode.type}, not a directory`, {
        inode: ino,
      })
    return { ino, ...found.place }
  }

  /** `EISDIR`, or `EINVAL` for what has no content. */
  async #file(ino: InodeNumber, type: 'file' | 'symlink'): Promise<FileSource> {
    const found = await this.#inode(ino)
    if (found?.inode.type === type)
      return { tree: found.place.subvolume.tree, objectid: found.place.objectid, inode: found.inode }
    const actual = found?.inode.type ?? 'directory'
    throw new DrydiskError(
      actual === 'directory' && type === 'file' ? 'EISDIR' : 'EINVAL',
      `inode ${ino} is a ${actual}, not a ${type}`,
      { inode: ino },
    )
  }

  async lookup(directory: InodeNumber, name: Uint8Array): Promise<InodeNumber> {
    const found = await this.#directory(directory)
    const dots = name.length <= 2 && name.every(byte => byte === 0x2e) ? name.length : 0
    if (dots === 1) return directory
    if (found !== undefined)
      return dots === 2 ? parentNumber(this.#volume, found) : lookupName(this.#volume, found, name)
    const place = this.#volume.numbers.at(directory)
    if (dots === 2 && place.kind === 'stub') return place.parent
    throw new DrydiskError('ENOENT', 'no such file or directory', { inode: directory })
  }

  async *readdir(directory: InodeNumber): AsyncIterable<DirectoryEntry> {
    const found = await this.#directory(directory)
    if (found !== undefined) yield* listNames(this.#volume, found)
  }

  async stat(ino: InodeNumber): Promise<InodeStat> {
    const found = await this.#inode(ino)
    if (found === undefined) return this.#statStub(ino)
    const { inode } = found
    const device = inode.type === 'character-device' || inode.type === 'block-device'
    const { sectorsize } = this.#volume.superblock
    return {
      ino,
      type: inode.type,
      mode: inode.mode,
      uid: inode.uid,
      gid: inode.gid,
      nlink: inode.nlink,
      size: inode.size,
      blocks: (Math.ceil(inode.nbytes / sectorsize) * sectorsize) / 512,
      atime: inode.atime,
      mtime: inode.mtime,
      ctime: inode.ctime,
      birthtime: inode.otime,
      ...(device ? { rdev: inode.rdev } : {}),
      flags: attributeFlags(inode.flags),
      // Numbers are never used again, so the generation tells nothing more; 32 bits of it are what Linux shows.
      generation: Number(BigInt.asUintN(32, inode.generation)),
    }
  }

  /** As Linux makes it up (new_simple_dir), from the directory that it is in. */
  async #statStub(ino: InodeNumber): Promise<InodeStat> {
    const place = this.#volume.numbers.at(ino)
    if (place.kind !== 'stub') throw corrupt('inode', `there is no inode ${ino}`)
    const parent = await this.stat(place.parent)
    return { ...parent, ino, mode: 0o755, nlink: 1, size: 0, blocks: 0, flags: 0 }
  }

  async read(ino: InodeNumber, offset: number, into: Uint8Array): Promise<number> {
    return readData(this.#volume, await this.#file(ino, 'file'), offset, into)
  }

  async readlink(ino: InodeNumber): Promise<Uint8Array> {
    const source = await this.#file(ino, 'symlink')
    const { size } = source.inode
    if (size === 0 || size > MOST_TARGET)
      throw corrupt('symlink', `symlink ${ino} has a target of ${size} bytes, expected 1 to ${MOST_TARGET}`, {
        inode: ino,
      })
    const target = new Uint8Array(size)
    await readData(this.#volume, source, 0, target)
    return target
  }

  async *fileExtents(ino: InodeNumber): AsyncIterable<FileExtent> {
    yield* dataExtents(this.#volume, await this.#file(ino, 'file'))
  }

  async listxattr(ino: InodeNumber): Promise<string[]> {
    const found = await this.#inode(ino)
    return found === undefined ? [] : listXattrs(found.place.subvolume.tree, found.place.objectid)
  }

  async getxattr(ino: InodeNumber, name: string): Promise<Uint8Array | undefined> {
    const found = await this.#inode(ino)
    return found && getXattr(found.place.subvolume.tree, found.place.objectid, name)
  }

  async statfs(): Promise<FileSystemUsage> {
    return usage(this.#volume)
  }
}
