import { formatUuid } from '../../bytes/guid.ts'
import type {
  ByteRange,
  DirectoryEntry,
  FileExtent,
  FileSystemUsage,
  InodeNumber,
  InodeStat,
} from '../filesystem.ts'
import { ReadOnlyFileSystem } from '../read-only-filesystem.ts'
import { getAttribute, listAttributes } from './attributes.ts'
import { attributeFlags, deviceNumber } from './dinode.ts'
import { listNames, lookupName } from './directory.ts'
import { dataExtents, readData } from './file-data.ts'
import { freeRanges } from './free-space.ts'
import { Inodes } from './inodes.ts'
import { readTarget } from './symlink.ts'
import { usage } from './usage.ts'
import type { XfsVolume } from './volume.ts'

/** XFS, read only. Opened by `openXfs`. */
export class XfsFileSystem extends ReadOnlyFileSystem {
  readonly type = 'xfs'
  readonly root: InodeNumber
  readonly uuid: string
  readonly label: string
  /** What is odd about the filesystem but does not keep it from being read: one sentence each. */
  readonly warnings: readonly string[]
  readonly #volume: XfsVolume
  readonly #inodes: Inodes

  readonly #replayed: boolean

  /** @param state.replayed whether what is read is the state after a replay that was not written. */
  constructor(volume: XfsVolume, state: { warnings: readonly string[]; replayed: boolean }) {
    super()
    this.#volume = volume
    this.#inodes = new Inodes(volume)
    this.warnings = state.warnings
    this.#replayed = state.replayed
    const { sb_rootino, sb_uuid, sb_fname } = volume.superblock
    this.root = sb_rootino
    this.uuid = formatUuid(sb_uuid)
    const end = sb_fname.indexOf(0)
    this.label = new TextDecoder().decode(end < 0 ? sb_fname : sb_fname.subarray(0, end))
  }

  async lookup(directory: InodeNumber, name: Uint8Array): Promise<InodeNumber> {
    const inode = await this.#inodes.require(directory, 'directory')
    return lookupName({ volume: this.#volume, inodes: this.#inodes }, inode, name)
  }

  async *readdir(directory: InodeNumber): AsyncIterable<DirectoryEntry> {
    const inode = await this.#inodes.require(directory, 'directory')
    yield* listNames({ volume: this.#volume, inodes: this.#inodes }, inode)
  }

  async stat(ino: InodeNumber): Promise<InodeStat> {
    const inode = await this.#inodes.read(ino)
    const isDevice = inode.type === 'character-device' || inode.type === 'block-device'
    return {
      ino,
      type: inode.type,
      mode: inode.di_mode,
      uid: inode.di_uid,
      gid: inode.di_gid,
      nlink: inode.di_nlink,
      size: inode.di_size,
      blocks: inode.di_nblocks * (this.#volume.geometry.blockSize / 512),
      atime: inode.atime,
      mtime: inode.mtime,
      ctime: inode.ctime,
      ...(inode.crtime === undefined ? {} : { birthtime: inode.crtime }),
      ...(isDevice ? { rdev: deviceNumber(inode) } : {}),
      flags: attributeFlags(inode),
      generation: inode.di_gen,
    }
  }

  async read(ino: InodeNumber, offset: number, into: Uint8Array): Promise<number> {
    return readData(this.#volume, await this.#inodes.require(ino, 'file'), offset, into)
  }

  async readlink(ino: InodeNumber): Promise<Uint8Array> {
    return readTarget(this.#volume, await this.#inodes.require(ino, 'symlink'))
  }

  async *fileExtents(ino: InodeNumber): AsyncIterable<FileExtent> {
    yield* dataExtents(this.#volume, await this.#inodes.require(ino, 'file'))
  }

  async listxattr(ino: InodeNumber): Promise<string[]> {
    return listAttributes(this.#volume, await this.#inodes.read(ino))
  }

  async getxattr(ino: InodeNumber, name: string): Promise<Uint8Array | undefined> {
    return getAttribute(this.#volume, await this.#inodes.read(ino), name)
  }

  async statfs(): Promise<FileSystemUsage> {
    return usage(this.#volume, this.#replayed)
  }

  freeRanges(): AsyncIterable<ByteRange> {
    return freeRanges(this.#volume, { doubts: this.warnings, replayed: this.#replayed })
  }
}
