import type { BlockDevice, DiskImage, Extent } from '../device/block-device.ts'
import { type MappedDevice, type MappedRun, RunBatch } from '../device/mapped-runs.ts'
import { DEFAULT_BUDGET, overlayExtents } from '../device/overlay-device.ts'
import { PageOverlay } from '../device/page-overlay.ts'
import { checkRange, checkWritable } from '../device/range.ts'
import { findRedoLog, presentPending, RedoLog, redoLogName, replay } from '../device/redo-log.ts'
import type { Storage, StorageFolder } from '../device/storage.ts'
import { StorageDevice } from '../device/storage-device.ts'
import { DrydiskError } from '../errors.ts'

/**
 * A raw image: the file's bytes are the disk's. Its length need not be a multiple of a sector. Writes are staged in memory up to
 * a budget and in the redo log beside the image beyond it; `commit()` completes the log before the image changes.
 */
export class RawImage implements DiskImage, MappedDevice {
  readonly format = 'raw'
  readonly size: number
  readonly writable: boolean
  readonly #name: string
  readonly #storage: Storage
  readonly #base: BlockDevice
  readonly #log: RedoLog
  readonly #overlay: PageOverlay
  /** The log of a commit that was interrupted, while its content is shown. */
  readonly #pending: Storage | undefined
  #committing = false
  #closed = false

  private constructor(
    name: string,
    storage: Storage,
    log: RedoLog,
    overlay: PageOverlay,
    pending: Storage | undefined,
  ) {
    this.#name = name
    this.#storage = storage
    this.writable = storage.writable
    this.#base = new StorageDevice(storage)
    this.#log = log
    this.#overlay = overlay
    this.#pending = pending
    this.size = overlay.size
  }

  /**
   * Opens a raw image. A commit that was interrupted is finished first; where the image is open for reading only, its content
   * is shown as if it were finished, and nothing is written.
   * Errors: `ERR_CORRUPT` for a redo log that is damaged or belongs to another image.
   * @param storage closed with the image, and when opening fails.
   * @param folder where the image lies, for its redo log.
   * @param name the image's own name in `folder`.
   * @param budget bytes of staged pages to keep in memory.
   */
  static async open(
    storage: Storage,
    folder: StorageFolder,
    name: string,
    budget: number = DEFAULT_BUDGET,
  ): Promise<RawImage> {
    try {
      const logName = redoLogName(name)
      const log = new RedoLog(folder, logName)
      const pending = await findRedoLog(folder, logName)
      if (pending !== undefined && !storage.writable) {
        try {
          const shown = await presentPending(pending, 0, storage, budget)
          return new RawImage(name, storage, log, shown, pending.storage)
        } catch (error) {
          await pending.storage.close()
          throw error
        }
      }
      if (pending !== undefined) await replay(pending, [storage], folder)
      // A log that was never completed stands for nothing.
      else if (storage.writable) await folder.remove(logName)
      const overlay = new PageOverlay(storage, log.pageFile, budget)
      return new RawImage(name, storage, log, overlay, undefined)
    } catch (error) {
      await storage.close()
      throw error
    }
  }

  /** The file itself, without what is staged. */
  get storage(): Storage {
    return this.#storage
  }

  get dirty(): boolean {
    return this.writable && (this.#overlay.dirty || this.#log.published)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.size, offset, into.length)
    await this.#overlay.read(offset, into)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#checkChange(offset, from.length)
    await this.#overlay.write(offset, from)
  }

  async erase(offset: number, length: number): Promise<void> {
    this.#checkChange(offset, length)
    await this.#overlay.erase(offset, length)
  }

  extents(offset: number, length: number): AsyncIterable<Extent> {
    return overlayExtents(this.#overlay, this.#base, offset, length)
  }

  /** What is staged, or waits in a redo log, has no place of its own. */
  async *mappedRuns(offset: number, length: number): AsyncIterable<readonly MappedRun[]> {
    checkRange(this.size, offset, length)
    const batch = new RunBatch()
    for (const { start, end, page, zero } of [...this.#overlay.segments(offset, offset + length)]) {
      const place = { offset: start, length: end - start, depth: 0 }
      if (page !== undefined) batch.add({ ...place, kind: 'staged' })
      else if (zero) batch.add({ ...place, kind: 'zero', allocated: true })
      else
        for await (const { offset: at, length: count, kind } of this.#base.extents(start, end - start)) {
          const run = { offset: at, length: count, depth: 0 }
          if (kind === 'zero') batch.add({ ...run, kind, allocated: false })
          else batch.add({ ...run, kind, storage: this.#storage, host: at })
          if (batch.full) yield batch.take()
        }
      if (batch.full) yield batch.take()
    }
    const rest = batch.takeAll()
    if (rest.length > 0) yield rest
  }

  /** Nothing is stable before `commit()`. */
  async flush(): Promise<void> {}

  async commit(): Promise<void> {
    checkWritable(this.writable, this.#name)
    this.#checkIdle()
    if (!this.dirty) return
    this.#committing = true
    try {
      await this.#log.commit([{ name: this.#name, storage: this.#storage, overlay: this.#overlay }])
    } finally {
      this.#committing = false
    }
  }

  /** Errors: `EBUSY` when a commit counts already and only its remains are to be done. */
  async rollback(): Promise<void> {
    if (!this.writable) return
    this.#checkIdle()
    this.#checkUnpublished()
    await this.#overlay.clear()
    await this.#log.discard()
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    try {
      // What counts already stays in the log for the next open.
      await this.#log.discard()
    } finally {
      await this.#pending?.close()
      await this.#storage.close()
    }
  }

  #checkChange(offset: number, length: number): void {
    checkWritable(this.writable && !this.#closed, this.#name)
    checkRange(this.size, offset, length)
    this.#checkIdle()
    this.#checkUnpublished()
  }

  #checkIdle(): void {
    if (this.#committing)
      throw new DrydiskError(
        'EBUSY',
        `${this.#name}: a commit is under way; wait for it before changing more`,
      )
  }

  #checkUnpublished(): void {
    if (this.#log.published)
      throw new DrydiskError(
        'EBUSY',
        `${this.#name}: the last commit counts but is not yet in the image; commit again, or close the image and open it again`,
        { published: true },
      )
  }
}
