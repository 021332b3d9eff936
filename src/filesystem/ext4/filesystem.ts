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
import type { InodeMarks } from '../inode-marks.ts'
import { requireFile } from './data-access.ts'
import { readDeviceNumber } from './device-number.ts'
import { listNames, lookupName } from './directory.ts'
import { dataExtents, readData, truncateData, writeData } from './file-data.ts'
import { freeRanges, type Unreplayed } from './free-space.ts'
import { INODE_FLAG, type Inode } from './inode.ts'
import { create, link, mkdir, mknod, rmdir, symlink, unlink } from './namespace.ts'
import { rename } from './rename.ts'
import { readTarget } from './symlink-target.ts'
import { untouchedInodes } from './untouched-inodes.ts'
import { usage } from './usage.ts'
import type { Ext4Volume } from './volume.ts'
import { chmodInode, getXattr, listXattrs, removeXattr, setXattr } from './xattr.ts'

export const ROOT_INODE = 2

/** Errors that come up in the middle of a change; all others are found before anything is changed. */
const UNFORESEEN: readonly ErrorCode[] = ['ERR_CORRUPT', 'EIO']

/** Features that ext2's and ext3's own drivers know; any other makes it ext4 (libblkid's rule). */
const EXT3_INCOMPAT = 0x2 | 0x4 | 0x10
const EXT3_RO_COMPAT = 0x1 | 0x2 | 0x4

function attributesOf(inode: Inode): InodeStat {
  const { type, crtime } = inode
  if (type === undefined)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `ext4 inode ${inode.ino}: mode 0${inode.mode.toString(8)} has no file type; run e2fsck`,
      { structure: 'inode', inode: inode.ino },
    )
  const device = type === 'character-device' || type === 'block-device'
  return {
    ino: inode.ino,
    type,
    mode: inode.mode & 0o7777,
    uid: inode.uid,
    gid: inode.gid,
    nlink: inode.linksCount,
    size: inode.size,
    blocks: inode.sectors,
    atime: inode.atime,
    mtime: inode.mtime,
    ctime: inode.ctime,
    flags: inode.flags,
    generation: inode.generation,
    ...(crtime === undefined ? {} : { birthtime: crtime }),
    ...(device ? { rdev: readDeviceNumber(inode) } : {}),
  }
}

/** ext2, ext3 and ext4 behind the interface of all filesystems. Opened by `openExt4`. */
export class Ext4FileSystem implements FileSystem {
  readonly root: InodeNumber = ROOT_INODE
  /** What is odd about the filesystem but does not keep it from being used: one sentence each. */
  readonly warnings: readonly string[]
  readonly #volume: Ext4Volume
  readonly #unreplayed: Unreplayed | undefined
  /** What stopped a change midway. */
  #stopped: unknown

  /** @param unreplayed the volume at rest, where what is read here is as it will be after its journal is replayed. */
  constructor(volume: Ext4Volume, warnings: readonly string[], unreplayed?: Unreplayed) {
    this.#volume = volume
    this.warnings = warnings
    this.#unreplayed = unreplayed
  }

  /** What the parts of the ext4 code share; for those parts' tests. */
  get context(): Ext4Volume {
    return this.#volume
  }
  get writable(): boolean {
    return this.#volume.writable
  }
  get uuid(): string {
    return this.#volume.superblock.uuid
  }
  get label(): string {
    return new TextDecoder().decode(this.#volume.superblock.s_volume_name)
  }
  get type(): 'ext2' | 'ext3' | 'ext4' {
    const { superblock } = this.#volume
    const newer =
      (superblock.s_feature_incompat & ~EXT3_INCOMPAT) | (superblock.s_feature_ro_compat & ~EXT3_RO_COMPAT)
    if (newer !== 0) return 'ext4'
    return superblock.has('has_journal') ? 'ext3' : 'ext2'
  }

  async lookup(directory: InodeNumber, name: Uint8Array): Promise<InodeNumber> {
    return lookupName(this.#volume, await this.#volume.inodes.read(directory), name)
  }

  async *readdir(directory: InodeNumber): AsyncIterable<DirectoryEntry> {
    yield* listNames(this.#volume, await this.#volume.inodes.read(directory))
  }

  async stat(ino: InodeNumber): Promise<InodeStat> {
    return attributesOf(await this.#volume.inodes.read(ino))
  }

  async read(ino: InodeNumber, offset: number, into: Uint8Array): Promise<number> {
    const inode = await this.#volume.inodes.read(ino)
    requireFile(inode)
    return readData(this.#volume, inode, offset, into)
  }

  async readlink(ino: InodeNumber): Promise<Uint8Array> {
    return readTarget(this.#volume, await this.#volume.inodes.read(ino))
  }

  async *fileExtents(ino: InodeNumber): AsyncIterable<FileExtent> {
    yield* dataExtents(this.#volume, await this.#volume.inodes.read(ino))
  }

  statfs(): Promise<FileSystemUsage> {
    return usage(this.#volume)
  }

  async *freeRanges(warn: (warning: string) => void = () => {}): AsyncIterable<ByteRange> {
    if (this.writable) await this.sync()
    yield* freeRanges(this.#volume, { doubts: this.warnings, unreplayed: this.#unreplayed, warn })
  }

  async untouchedInodes(
    changed: (offset: number, length: number) => boolean,
  ): Promise<InodeMarks | undefined> {
    // What a journal put over the volume in memory, or waits to be written, is not where the volume has it.
    return this.writable || this.#unreplayed !== undefined
      ? undefined
      : untouchedInodes(this.#volume, changed)
  }

  async write(ino: InodeNumber, offset: number, from: Uint8Array): Promise<void> {
    await this.#change(async volume => writeData(volume, await volume.inodes.read(ino), offset, from))
  }

  async truncate(ino: InodeNumber, size: number): Promise<void> {
    await this.#change(async volume => truncateData(volume, await volume.inodes.read(ino), size))
  }

  async create(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber> {
    return this.#change(async volume => create(volume, await volume.inodes.read(directory), name, attributes))
  }

  async mkdir(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber> {
    return this.#change(async volume => mkdir(volume, await volume.inodes.read(directory), name, attributes))
  }

  async symlink(
    directory: InodeNumber,
    name: Uint8Array,
    target: Uint8Array,
    attributes: NewInode,
  ): Promise<InodeNumber> {
    return this.#change(async volume =>
      symlink(volume, await volume.inodes.read(directory), name, target, attributes),
    )
  }

  async mknod(
    directory: InodeNumber,
    name: Uint8Array,
    type: 'character-device' | 'block-device' | 'fifo' | 'socket',
    device: DeviceNumber,
    attributes: NewInode,
  ): Promise<InodeNumber> {
    return this.#change(async volume =>
      mknod(volume, await volume.inodes.read(directory), name, type, device, attributes),
    )
  }

  async link(ino: InodeNumber, directory: InodeNumber, name: Uint8Array): Promise<void> {
    await this.#change(async volume =>
      link(volume, await volume.inodes.read(ino), await volume.inodes.read(directory), name),
    )
  }

  async unlink(directory: InodeNumber, name: Uint8Array): Promise<void> {
    await this.#change(async volume => unlink(volume, await volume.inodes.read(directory), name))
  }

  async rmdir(directory: InodeNumber, name: Uint8Array): Promise<void> {
    await this.#change(async volume => rmdir(volume, await volume.inodes.read(directory), name))
  }

  async rename(
    fromDirectory: InodeNumber,
    fromName: Uint8Array,
    toDirectory: InodeNumber,
    toName: Uint8Array,
  ): Promise<void> {
    await this.#change(async volume => {
      const from = await volume.inodes.read(fromDirectory)
      await rename(volume, from, fromName, await volume.inodes.read(toDirectory), toName)
    })
  }

  async listxattr(ino: InodeNumber): Promise<string[]> {
    return listXattrs(this.#volume, await this.#volume.inodes.read(ino))
  }

  async getxattr(ino: InodeNumber, name: string): Promise<Uint8Array | undefined> {
    return getXattr(this.#volume, await this.#volume.inodes.read(ino), name)
  }

  async setxattr(ino: InodeNumber, name: string, value: Uint8Array): Promise<void> {
    await this.#change(async volume => setXattr(volume, await volume.inodes.read(ino), name, value))
  }

  async removexattr(ino: InodeNumber, name: string): Promise<void> {
    await this.#change(async volume => removeXattr(volume, await volume.inodes.read(ino), name))
  }

  async setAttributes(ino: InodeNumber, change: AttributeChange): Promise<void> {
    await this.#change(async volume => {
      const inode = await volume.inodes.read(ino)
      const flag = inode.hasFlag(INODE_FLAG.IMMUTABLE)
        ? 'immutable (chattr +i)'
        : inode.hasFlag(INODE_FLAG.APPEND)
          ? 'append-only (chattr +a)'
          : undefined
      if (flag !== undefined)
        throw new DrydiskError('EPERM', `ext4 inode ${ino} is ${flag}: its attributes cannot be changed`, {
          inode: ino,
        })
      if (change.mode !== undefined) await chmodInode(volume, inode, change.mode)
      if (change.uid !== undefined) inode.uid = change.uid
      if (change.gid !== undefined) inode.gid = change.gid
      if (change.atime !== undefined) inode.atime = change.atime
      if (change.mtime !== undefined) inode.mtime = change.mtime
      inode.ctime = change.ctime ?? volume.now()
      volume.inodes.markDirty(inode)
    })
  }

  /**
   * `EROFS` unless open for writing; then the change, and memory is kept bounded. An error that a change does not foresee
   * may leave half of it in memory: from then on nothing is changed or written any more.
   */
  async #change<T>(how: (volume: Ext4Volume) => Promise<T>): Promise<T> {
    if (!this.writable)
      throw new DrydiskError('EROFS', `the ${this.type} filesystem is open for reading only`)
    this.#requireWhole()
    const { device } = this.#volume
    const { failures } = device
    try {
      const result = await how(this.#volume)
      await this.#volume.relieve()
      return result
    } catch (error) {
      const foreseen = isDrydiskError(error) && !UNFORESEEN.includes(error.code)
      if (!foreseen || device.failures > failures) this.#stopped = error
      throw error
    }
  }

  #requireWhole(): void {
    if (this.#stopped === undefined) return
    const why = this.#stopped instanceof Error ? this.#stopped.message : String(this.#stopped)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `the ${this.type} filesystem takes no more changes since one stopped midway (${why}); roll back and open it again`,
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
