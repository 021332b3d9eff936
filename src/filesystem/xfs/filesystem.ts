import { formatUuid } from '../../bytes/guid.ts'
import { DrydiskError } from '../../errors.ts'
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
import { removeAttribute, setAttribute } from './attribute-edit/attribute-edit.ts'
import { getAttribute, listAttributes } from './attributes.ts'
import { attributeFlags, deviceNumber } from './dinode.ts'
import { listNames, lookupName } from './directory.ts'
import { dataExtents, readData } from './file-data.ts'
import { truncateData, writeData } from './fork/file-write.ts'
import { freeRanges } from './free-space.ts'
import type { Inodes } from './inodes.ts'
import { requireUnprotected, touch, touchChange } from './links.ts'
import { create, link, mkdir, mknod, rmdir, symlink, unlink } from './namespace.ts'
import { chmodInode } from './new-inode.ts'
import { forgetQuotaCheck } from './quota.ts'
import { rename } from './rename.ts'
import { after, type Soon } from './soon.ts'
import { readTarget } from './symlink.ts'
import { inTransaction } from './transaction.ts'
import { untouchedInodes } from './untouched-inodes.ts'
import { usage } from './usage.ts'
import type { XfsVolume } from './volume.ts'
import type { XfsWriter } from './writer.ts'

/** Bytes of changed metadata that make it worth writing between two changes, so that memory stays bounded. */
const WRITE_OUT_BYTES = 16 << 20

/** XFS behind the interface of all filesystems. Opened by `openXfs`. */
export class XfsFileSystem implements FileSystem {
  readonly type = 'xfs'
  readonly root: InodeNumber
  readonly uuid: string
  readonly label: string
  /** What is odd about the filesystem but does not keep it from being read: one sentence each. */
  readonly warnings: readonly string[]
  readonly #volume: XfsVolume
  readonly #inodes: Inodes
  readonly #writer: XfsWriter | undefined
  readonly #replayed: boolean
  /** Something changed since the volume was last flushed. */
  #changed: boolean

  /**
   * @param writer what writes; `undefined` when open for reading only.
   * @param state.replayed whether what is read is the state after a replay that was not written.
   * @param state.changed whether opening changed something that is still to be written.
   */
  constructor(
    volume: XfsVolume,
    inodes: Inodes,
    writer: XfsWriter | undefined,
    state: { readonly warnings: readonly string[]; readonly replayed: boolean; readonly changed: boolean },
  ) {
    this.#volume = volume
    this.#inodes = inodes
    this.#writer = writer
    this.warnings = state.warnings
    this.#replayed = state.replayed
    this.#changed = state.changed
    const { sb_rootino, sb_uuid, sb_fname } = volume.superblock
    this.root = sb_rootino
    this.uuid = formatUuid(sb_uuid)
    const end = sb_fname.indexOf(0)
    this.label = new TextDecoder().decode(end < 0 ? sb_fname : sb_fname.subarray(0, end))
  }

  get writable(): boolean {
    return this.#writer !== undefined
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

  async *freeRanges(): AsyncIterable<ByteRange> {
    if (this.writable) await this.sync()
    yield* freeRanges(this.#volume, { doubts: this.warnings, replayed: this.#replayed })
  }

  async untouchedInodes(
    changed: (offset: number, length: number) => boolean,
  ): Promise<InodeMarks | undefined> {
    // What a log put over the volume in memory, or waits to be written, is not where the volume has it.
    return this.writable || this.#replayed ? undefined : untouchedInodes(this.#volume, changed)
  }

  async write(ino: InodeNumber, offset: number, from: Uint8Array): Promise<void> {
    await this.#change(async writer => {
      const { di_size } = await this.#inodes.require(ino, 'file')
      requireUnprotected(await this.#inodes.read(ino), offset === di_size)
      if (from.length === 0) return
      const inode = await this.#inodes.edit(ino)
      touch(writer, inode)
      await writeData(writer, inode, offset, from)
    })
  }

  async truncate(ino: InodeNumber, size: number): Promise<void> {
    await this.#change(async writer => {
      requireUnprotected(await this.#inodes.require(ino, 'file'), false)
      const inode = await this.#inodes.edit(ino)
      touch(writer, inode)
      await truncateData(writer, inode, size)
    })
  }

  async create(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber> {
    return this.#change(writer => create(writer, directory, name, attributes))
  }

  async mkdir(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber> {
    return this.#change(writer => mkdir(writer, directory, name, attributes))
  }

  async symlink(
    directory: InodeNumber,
    name: Uint8Array,
    target: Uint8Array,
    attributes: NewInode,
  ): Promise<InodeNumber> {
    return this.#change(writer => symlink(writer, directory, name, target, attributes))
  }

  async mknod(
    directory: InodeNumber,
    name: Uint8Array,
    type: 'character-device' | 'block-device' | 'fifo' | 'socket',
    device: DeviceNumber,
    attributes: NewInode,
  ): Promise<InodeNumber> {
    return this.#change(writer => mknod(writer, directory, name, type, device, attributes))
  }

  async link(ino: InodeNumber, directory: InodeNumber, name: Uint8Array): Promise<void> {
    await this.#change(writer => link(writer, ino, directory, name))
  }

  async unlink(directory: InodeNumber, name: Uint8Array): Promise<void> {
    await this.#change(writer => unlink(writer, directory, name))
  }

  async rmdir(directory: InodeNumber, name: Uint8Array): Promise<void> {
    await this.#change(writer => rmdir(writer, directory, name))
  }

  async rename(
    fromDirectory: InodeNumber,
    fromName: Uint8Array,
    toDirectory: InodeNumber,
    toName: Uint8Array,
  ): Promise<void> {
    await this.#change(writer => rename(writer, fromDirectory, fromName, toDirectory, toName))
  }

  async setAttributes(ino: InodeNumber, change: AttributeChange): Promise<void> {
    await this.#change(async writer => {
      requireUnprotected(await this.#inodes.read(ino), false)
      const inode = await this.#inodes.edit(ino)
      if (change.mode !== undefined) await chmodInode(writer, inode, change.mode)
      if (change.uid !== undefined) inode.di_uid = change.uid
      if (change.gid !== undefined) inode.di_gid = change.gid
      if (change.atime !== undefined) inode.atime = change.atime
      if (change.mtime !== undefined) inode.mtime = change.mtime
      touchChange(writer, inode, change.ctime)
    })
  }

  async setxattr(ino: InodeNumber, name: string, value: Uint8Array): Promise<void> {
    await this.#change(async writer => {
      requireUnprotected(await this.#inodes.read(ino), false)
      const inode = await this.#inodes.edit(ino)
      await setAttribute(writer, inode, name, value)
      touchChange(writer, inode)
    })
  }

  async removexattr(ino: InodeNumber, name: string): Promise<void> {
    await this.#change(async writer => {
      requireUnprotected(await this.#inodes.read(ino), false)
      const inode = await this.#inodes.edit(ino)
      await removeAttribute(writer, inode, name)
      touchChange(writer, inode)
    })
  }

  /** `EROFS` unless open for writing; then the change, whole or not at all, and memory is kept bounded. */
  async #change<T>(how: (writer: XfsWriter) => Soon<T>): Promise<T> {
    const writer = this.#writer
    if (writer === undefined) throw new DrydiskError('EROFS', 'the xfs filesystem is open for reading only')
    // Before the change: where writing fails, what is asked for is not done either, and all that was stays in memory.
    if (this.#volume.buffers.changedBytes > WRITE_OUT_BYTES) await this.#volume.buffers.flush()
    const result = await inTransaction(writer, () => after(forgetQuotaCheck(this.#volume), () => how(writer)))
    this.#changed = true
    return result
  }

  async sync(): Promise<void> {
    if (this.#writer === undefined || !this.#changed) return
    await this.#volume.buffers.flush()
    await this.#volume.device.flush()
    this.#changed = false
  }

  async close(): Promise<void> {
    await this.sync()
  }
}
