import { DrydiskError, type ErrorCode, isDrydiskError } from '../../errors.ts'
import type {
  AttributeChange,
  ByteRange,
  DeviceNumber,
  DirectoryEntry,
  FileExtent,
  FileSystem,
  FileSystemUsage,
  InodeNumber,
  InodeStat,
  NewInode,
} from '../filesystem.ts'
import { attributesOf, changeAttributes } from './attributes.ts'
import type { FatDirectory } from './directory.ts'
import { dataExtents, readData, truncateData, writeData } from './file-data.ts'
import { freeRanges } from './free-space.ts'
import { ROOT_INODE } from './inode-numbers.ts'
import { isSpecial, MOST_NAME_BYTES, nameBytes, requireName } from './names.ts'
import { create, mkdir, requireNew, rmdir, unlink } from './namespace.ts'
import { rename } from './rename.ts'
import type { FatVolume } from './volume.ts'

/** Errors that come up in the middle of a change; all others are found before anything is changed. */
const UNFORESEEN: readonly ErrorCode[] = ['ERR_CORRUPT', 'EIO']

/**
 * FAT12, FAT16 and FAT32 with long names, with the semantics of Linux's vfat (shortname=mixed, utf8, tz=UTC). Opened by `openFat`.
 *
 * Names match whatever their case, and are kept as written; dots at the end are dropped. Owners and modes are those of the
 * mount. Links, symlinks and special files are `EPERM`; setting extended attributes is `ENOTSUP`. An inode number stays
 * until close, through renames; see `InodeNumbers`.
 */
export class FatFileSystem implements FileSystem {
  readonly type = 'vfat'
  readonly root: InodeNumber = ROOT_INODE
  readonly uuid: string
  readonly label: string
  /** What is odd about the filesystem but does not keep it from being used: one sentence each. */
  readonly warnings: readonly string[]
  readonly #volume: FatVolume
  /** What stopped a change midway. */
  #stopped: unknown

  constructor(volume: FatVolume, names: { uuid: string; label: string }, warnings: readonly string[]) {
    this.#volume = volume
    this.uuid = names.uuid
    this.label = names.label
    this.warnings = warnings
  }

  get writable(): boolean {
    return this.#volume.writable
  }

  async lookup(directory: InodeNumber, name: Uint8Array): Promise<InodeNumber> {
    const found = await this.#volume.directory(directory)
    if (isSpecial(name)) return name.length === 1 ? directory : this.#volume.parentOf(directory)
    const entry = requireName(found, name)
    return this.#numberOf(found, entry.short, entry.isDirectory)
  }

  #numberOf(directory: FatDirectory, short: number, isDirectory: boolean): InodeNumber {
    const { numbers } = this.#volume
    const ino = numbers.at(directory.placeOf(short))
    if (isDirectory) numbers.setParent(ino, directory.ino)
    return ino
  }

  async *readdir(directory: InodeNumber): AsyncIterable<DirectoryEntry> {
    const found = await this.#volume.directory(directory)
    for (const entry of found.index.entries())
      yield {
        name: nameBytes(entry),
        ino: this.#numberOf(found, entry.short, entry.isDirectory),
        type: entry.isDirectory ? 'directory' : 'file',
      }
  }

  async stat(ino: InodeNumber): Promise<InodeStat> {
    return attributesOf(this.#volume, await this.#volume.node(ino))
  }

  async read(ino: InodeNumber, offset: number, into: Uint8Array): Promise<number> {
    return readData(this.#volume, await this.#volume.node(ino), offset, into)
  }

  async readlink(ino: InodeNumber): Promise<Uint8Array> {
    await this.#volume.node(ino)
    throw new DrydiskError('EINVAL', `inode ${ino} is not a symlink: FAT has none`, { inode: ino })
  }

  async *fileExtents(ino: InodeNumber): AsyncIterable<FileExtent> {
    yield* dataExtents(this.#volume, await this.#volume.node(ino))
  }

  async statfs(): Promise<FileSystemUsage> {
    const { geometry } = this.#volume
    const freeBlocks = await this.#volume.countFree()
    return {
      blockSize: geometry.clusterSize,
      blocks: geometry.clusters,
      freeBlocks,
      availableBlocks: freeBlocks,
      // As statfs(2) has it for vfat: there is no such limit.
      inodes: 0,
      freeInodes: 0,
      maxNameLength: MOST_NAME_BYTES,
    }
  }

  async *freeRanges(): AsyncIterable<ByteRange> {
    if (this.writable) await this.sync()
    yield* freeRanges(this.#volume)
  }

  async write(ino: InodeNumber, offset: number, from: Uint8Array): Promise<void> {
    await this.#change(async volume => writeData(volume, await volume.node(ino), offset, from))
  }

  async truncate(ino: InodeNumber, size: number): Promise<void> {
    await this.#change(async volume => truncateData(volume, await volume.node(ino), size))
  }

  async create(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber> {
    return this.#change(async volume => create(volume, await volume.directory(directory), name, attributes))
  }

  async mkdir(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber> {
    return this.#change(async volume => mkdir(volume, await volume.directory(directory), name, attributes))
  }

  async symlink(
    directory: InodeNumber,
    name: Uint8Array,
    _target: Uint8Array,
    _attributes: NewInode,
  ): Promise<InodeNumber> {
    return this.#refuse(directory, name, 'symlinks')
  }

  async mknod(
    directory: InodeNumber,
    name: Uint8Array,
    _type: 'character-device' | 'block-device' | 'fifo' | 'socket',
    _device: DeviceNumber,
    _attributes: NewInode,
  ): Promise<InodeNumber> {
    return this.#refuse(directory, name, 'special files')
  }

  async link(ino: InodeNumber, directory: InodeNumber, name: Uint8Array): Promise<void> {
    await this.#volume.node(ino)
    await this.#refuse(directory, name, 'hard links')
  }

  /** What vfat has no operation for: the kernel looks at the name, and then says EPERM. */
  async #refuse(directory: InodeNumber, name: Uint8Array, what: string): Promise<never> {
    return this.#change(async volume => {
      requireNew(await volume.directory(directory), name)
      throw new DrydiskError('EPERM', `FAT has no ${what}`)
    })
  }

  async unlink(directory: InodeNumber, name: Uint8Array): Promise<void> {
    await this.#change(async volume => unlink(volume, await volume.directory(directory), name))
  }

  async rmdir(directory: InodeNumber, name: Uint8Array): Promise<void> {
    await this.#change(async volume => rmdir(volume, await volume.directory(directory), name))
  }

  async rename(
    fromDirectory: InodeNumber,
    fromName: Uint8Array,
    toDirectory: InodeNumber,
    toName: Uint8Array,
  ): Promise<void> {
    await this.#change(async volume => {
      const from = await volume.directory(fromDirectory)
      const to = fromDirectory === toDirectory ? from : await volume.directory(toDirectory)
      await rename(volume, from, fromName, to, toName)
    })
  }

  async setAttributes(ino: InodeNumber, change: AttributeChange): Promise<void> {
    await this.#change(async volume => changeAttributes(volume, await volume.node(ino), change))
  }

  async listxattr(ino: InodeNumber): Promise<string[]> {
    await this.#volume.node(ino)
    return []
  }

  async getxattr(ino: InodeNumber, _name: string): Promise<Uint8Array | undefined> {
    await this.#volume.node(ino)
    return undefined
  }

  async setxattr(ino: InodeNumber, _name: string, _value: Uint8Array): Promise<void> {
    await this.#refuseAttributes(ino)
  }

  async removexattr(ino: InodeNumber, _name: string): Promise<void> {
    await this.#refuseAttributes(ino)
  }

  async #refuseAttributes(ino: InodeNumber): Promise<void> {
    await this.#change(async volume => {
      await volume.node(ino)
      throw new DrydiskError('ENOTSUP', 'FAT has no extended attributes', { inode: ino })
    })
  }

  /**
   * `EROFS` unless open for writing; then the change, and memory is kept bounded. An error that a change does not foresee
   * may leave half of it in memory: from then on nothing is changed or written any more. Before the first change everything
   * is looked through: a filesystem that is damaged already is refused whole, and stays as it is.
   */
  async #change<T>(how: (volume: FatVolume) => Promise<T>): Promise<T> {
    if (!this.writable) throw new DrydiskError('EROFS', 'the FAT filesystem is open for reading only')
    this.#requireWhole()
    const volume = this.#volume
    await volume.prepareWriting()
    const { failures } = volume.device
    try {
      const result = await how(volume)
      await volume.relieve()
      return result
    } catch (error) {
      const foreseen = isDrydiskError(error) && !UNFORESEEN.includes(error.code)
      if (!foreseen || volume.device.failures > failures) this.#stopped = error
      throw error
    }
  }

  #requireWhole(): void {
    if (this.#stopped === undefined) return
    const why = this.#stopped instanceof Error ? this.#stopped.message : String(this.#stopped)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `the FAT filesystem takes no more changes since one stopped midway (${why}); roll back and open it again`,
      {},
      this.#stopped,
    )
  }

  async sync(): Promise<void> {
    this.#requireWhole()
    await this.#volume.sync()
  }

  async close(): Promise<void> {
    if (this.#stopped === undefined) await this.#volume.sync()
  }
}
