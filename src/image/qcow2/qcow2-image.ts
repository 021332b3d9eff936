import type { BlockDevice, DiskImage, Extent } from '../../device/block-device.ts'
import type { MappedDevice, MappedRun } from '../../device/mapped-runs.ts'
import { checkRange, checkWritable } from '../../device/range.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import type { BitmapDirectory } from './bitmap-directory.ts'
import { type CheckResult, checkImage } from './check.ts'
import type { ClusterAllocator } from './cluster-allocator.ts'
import type { ClusterCache } from './cluster-cache.ts'
import type { Committer } from './commit.ts'
import type { GuestWriter } from './data-file-staging.ts'
import type { GuestReader } from './guest-reader.ts'
import { type Header, headerClusterSize, parseHeader } from './header.ts'
import { infoOf, type Qcow2Info } from './info.ts'
import { mappedRuns } from './mapped-runs.ts'
import { readPadded } from './padded-read.ts'
import { ReadWriteLock } from './read-write-lock.ts'
import type { HeaderChange } from './rebase-header.ts'
import type { Snapshot } from './snapshot-table.ts'
import type { StagedFiles } from './staged-files.ts'

/** What an image open for writing has besides. */
export interface WritingParts {
  readonly allocator: ClusterAllocator
  readonly cache: ClusterCache
  readonly writer: GuestWriter
  readonly committer: Committer
  /** Only with an external data file. */
  readonly files: StagedFiles | undefined
}

export interface ImageParts {
  readonly storage: Storage
  readonly header: Header
  readonly reader: GuestReader
  readonly snapshots: readonly Snapshot[]
  readonly bitmaps: BitmapDirectory | undefined
  readonly dataFile: Storage | undefined
  readonly writing: WritingParts | undefined
  /** The files belong to another image, which closes them. */
  readonly borrowed?: true
}

/** A qcow2 image as a device whose writes are staged until `commit()`. Made by `openQcow2`. */
export class Qcow2Image implements DiskImage, MappedDevice {
  readonly format = 'qcow2'
  readonly size: number
  readonly writable: boolean
  readonly #parts: ImageParts
  readonly #lock = new ReadWriteLock()
  /** Why the image can no longer be used, after an error that left it in doubt. */
  #poison: unknown
  #closed = false
  /** The file has another structure now: the image has to be opened anew. */
  #outdated = false
  /** Goes with the next commit, which is then the last. */
  #headerChange: HeaderChange | undefined
  /** Length of the file with nothing staged. */
  #committedSize: number

  constructor(parts: ImageParts) {
    this.#parts = parts
    this.size = parts.header.size
    this.writable = parts.writing !== undefined
    this.#committedSize = parts.storage.size
  }

  /** As opened; offsets in it may since have been switched by commits. */
  get header(): Header {
    return this.#parts.header
  }

  /** Bytes of a cluster. */
  get clusterSize(): number {
    return this.#parts.header.geometry.clusterSize
  }

  /** For a view of another state that the same file holds. */
  get parts(): ImageParts {
    this.#checkUsable()
    return this.#parts
  }

  get backing(): BlockDevice | undefined {
    return this.#parts.reader.backing
  }

  get snapshots(): readonly Snapshot[] {
    return this.#parts.snapshots
  }

  get info(): Qcow2Info {
    return infoOf(this.#parts.header, this.#parts.bitmaps)
  }

  get dirty(): boolean {
    const { writing, reader } = this.#parts
    if (writing === undefined) return false
    return reader.map.tables.changed || writing.files?.dirty === true || this.#headerChange !== undefined
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.size, offset, into.length)
    this.#checkUsable()
    await (this.writable
      ? this.#lock.shared(() => this.#parts.reader.read(offset, into))
      : this.#parts.reader.read(offset, into))
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    const writing = this.#writing()
    checkRange(this.size, offset, from.length)
    if (from.length === 0) return
    await this.#lock.exclusive(() => writing.writer.write(offset, from))
  }

  async erase(offset: number, length: number): Promise<void> {
    const writing = this.#writing()
    checkRange(this.size, offset, length)
    if (length === 0) return
    await this.#lock.exclusive(() => writing.writer.erase(offset, length))
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    checkRange(this.size, offset, length)
    this.#checkUsable()
    const { reader } = this.#parts
    let last: Extent | undefined
    for (let at = offset; at < offset + length; ) {
      const start = at
      // The lock is not held while the caller has the extent: it may want to write.
      const run = await this.#lock.shared(() => reader.map.run(start, offset + length - start))
      for await (const extent of reader.extentsOf(at, run))
        if (last !== undefined && last.kind === extent.kind && last.depth === extent.depth)
          last = { ...last, length: last.length + extent.length }
        else {
          if (last !== undefined) yield last
          last = extent
        }
      at += run.length
    }
    if (last !== undefined) yield last
  }

  /** Where the bytes lie; clusters that are staged are to be read through the image. */
  mappedRuns(offset: number, length: number): AsyncIterable<readonly MappedRun[]> {
    checkRange(this.size, offset, length)
    this.#checkUsable()
    const { header, reader, storage, dataFile, writing } = this.#parts
    return mappedRuns(
      {
        header,
        map: reader.map,
        backing: reader.backing,
        storage,
        dataFile,
        // The lock is not held while the caller has the runs: it may want to write.
        locked: step => this.#lock.shared(step),
        staged:
          writing === undefined
            ? undefined
            : writing.files === undefined
              ? cluster => writing.allocator.isStaged(cluster)
              : () => true,
      },
      offset,
      length,
    )
  }

  /**
   * As `erase`, and the range goes on reading as zeros whatever backing file the image comes to have: entries say so, or zeros
   * are written.
   */
  async zero(offset: number, length: number): Promise<void> {
    const writing = this.#writing()
    checkRange(this.size, offset, length)
    if (length === 0) return
    await this.#lock.exclusive(() => writing.writer.erase(offset, length, true))
  }

  /**
   * Lets `change` give the file another structure, while the image has nothing staged and keeps its locks. Afterwards it is to be
   * closed.
   */
  async restructure(change: (storage: Storage) => Promise<void>): Promise<void> {
    this.#writing()
    await this.#lock.exclusive(async () => {
      this.#outdated = true
      await change(this.#parts.storage)
    })
  }

  /** Stages a change of the header that leaves the content as it is. After its commit, the image is to be closed. */
  stageHeader(change: HeaderChange): void {
    this.#writing()
    this.#headerChange = change
  }

  /** Nothing is on disk before the commit, and the commit flushes. */
  async flush(): Promise<void> {}

  async commit(): Promise<void> {
    const { committer, files } = this.#writing()
    const { reader, storage } = this.#parts
    await this.#lock.exclusive(async () => {
      this.#checkUsable()
      if (!this.dirty) return
      try {
        if (reader.map.tables.changed || this.#headerChange !== undefined)
          await committer.commit(this.#headerChange)
        if (files !== undefined) await files.commit()
      } catch (error) {
        // With a data file, the metadata in the overlay is ahead of what is staged in memory; otherwise only a commit that
        // may have been published leaves doubt.
        if (files !== undefined || (error instanceof DrydiskError && error.context.published !== false))
          this.#poison = error
        throw error
      }
      this.#outdated = this.#headerChange !== undefined
      this.#headerChange = undefined
      reader.forgetDecompressed()
      this.#committedSize = storage.size
    })
  }

  async rollback(): Promise<void> {
    this.#writing()
    await this.#lock.exclusive(() => this.#rollback())
  }

  async #rollback(): Promise<void> {
    const { writing, reader, storage } = this.#parts
    if (writing === undefined || this.#poison !== undefined || this.#outdated) return
    if (
      !this.dirty &&
      !writing.allocator.hasStaged &&
      storage.size === this.#committedSize &&
      !writing.committer.hasOverstated
    )
      return
    this.#headerChange = undefined
    writing.cache.clear()
    reader.forgetDecompressed()
    reader.map.tables.rollback()
    writing.allocator.rollback(Math.ceil(this.#committedSize / this.clusterSize))
    if (writing.files !== undefined) {
      await writing.files.rollback()
      return
    }
    if (writing.committer.hasOverstated) {
      await writing.committer.giveBack()
      await storage.flush()
    }
    if (storage.size > this.#committedSize) await storage.truncate(this.#committedSize)
  }

  /**
   * Compares every reference in the committed state with its refcount. Writes nothing.
   * Errors: `ERR_CORRUPT` where a structure is too damaged to be walked.
   */
  async check(): Promise<CheckResult> {
    const { storage } = this.#parts
    return this.#lock.shared(async () => {
      const { header } = await readHeader(storage)
      return checkImage(storage, header)
    })
  }

  /** Rolls back and closes the image, its data file and its backing files. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const { storage, dataFile, reader, borrowed } = this.#parts
    if (borrowed) return
    try {
      await this.#lock.exclusive(() => this.#rollback())
    } finally {
      await Promise.allSettled([storage.close(), dataFile?.close(), reader.backing?.close()])
    }
  }

  #writing(): WritingParts {
    this.#checkUsable()
    checkWritable(this.writable, this.#parts.storage.name)
    if (this.#parts.writing === undefined)
      throw new DrydiskError('EROFS', 'the image is open for reading only')
    return this.#parts.writing
  }

  #checkUsable(): void {
    if (this.#outdated)
      throw new DrydiskError(
        'EINVAL',
        `${this.#parts.storage.name} has been changed in its structure; open it again`,
      )
    if (this.#closed) throw new DrydiskError('EINVAL', `${this.#parts.storage.name} is closed`)
    if (this.#poison !== undefined)
      throw new DrydiskError(
        'EIO',
        `${this.#parts.storage.name}: a commit failed when it could no longer be taken back; close the image and open it again`,
        { path: this.#parts.storage.name },
        this.#poison,
      )
  }
}

/** Reads and parses the header; `sector` is the first 512 bytes of the file. */
export async function readHeader(
  storage: Storage,
): Promise<{ readonly header: Header; readonly sector: Uint8Array }> {
  const sector = new Uint8Array(512)
  await readPadded(storage, 0, sector)
  const clusterSize = headerClusterSize(storage.name, sector.subarray(0, Math.min(512, storage.size)))
  const cluster = new Uint8Array(Math.min(clusterSize, Math.max(storage.size, 512)))
  await readPadded(storage, 0, cluster)
  return { header: parseHeader(storage.name, cluster), sector }
}
