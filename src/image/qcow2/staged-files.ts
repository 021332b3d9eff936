import { pastTheEnd } from '../../device/memory-storage.ts'
import { DEFAULT_BUDGET } from '../../device/overlay-device.ts'
import { PageOverlay } from '../../device/page-overlay.ts'
import { checkWritable } from '../../device/range.ts'
import { findRedoLog, presentPending, RedoLog, redoLogName, replay } from '../../device/redo-log.ts'
import type { Storage, StorageFolder } from '../../device/storage.ts'

/** A file seen through an overlay; the overlay is replaced when what it staged was committed. */
class StagedFile implements Storage {
  readonly name: string
  readonly writable: boolean
  readonly base: Storage
  overlay: PageOverlay
  /** Closed with the file. */
  readonly #log: Storage | undefined

  constructor(base: Storage, overlay: PageOverlay, log?: Storage) {
    this.#log = log
    this.name = base.name
    this.writable = base.writable
    this.base = base
    this.overlay = overlay
  }

  get size(): number {
    return this.overlay.size
  }
  async read(offset: number, into: Uint8Array): Promise<void> {
    if (!(offset >= 0 && offset + into.length <= this.size))
      throw pastTheEnd(this.name, offset, into.length, this.size)
    await this.overlay.read(offset, into)
  }
  async write(offset: number, from: Uint8Array): Promise<void> {
    checkWritable(this.writable, this.name)
    await this.overlay.write(offset, from)
  }
  async truncate(size: number): Promise<void> {
    checkWritable(this.writable, this.name)
    await this.overlay.truncate(size)
  }
  /** Nothing is stable before the commit. */
  async flush(): Promise<void> {}
  async close(): Promise<void> {
    await this.#log?.close()
    await this.base.close()
  }
}

/** Where the redo log is: the image's folder, and the image's plain name in it. */
export interface RedoPlace {
  readonly folder: StorageFolder
  readonly imageName: string
}

/**
 * The two files of an image with an external data file. The data file maps one to one and cannot be copied on write, so both
 * files are staged in overlays and change together through one redo log.
 */
export class StagedFiles {
  readonly image: Storage
  readonly data: Storage
  readonly #image: StagedFile
  readonly #data: StagedFile
  readonly #place: RedoPlace
  readonly #dataName: string
  #log: RedoLog

  private constructor(place: RedoPlace, dataName: string, image: Storage, data: Storage) {
    this.#place = place
    this.#dataName = dataName
    this.#log = new RedoLog(place.folder, redoLogName(place.imageName))
    this.#image = new StagedFile(image, this.#overlay(image))
    this.#data = new StagedFile(data, this.#overlay(data))
    this.image = this.#image
    this.data = this.#data
  }

  /** There must be no redo log that counts: `findInterrupted` comes first. */
  static async stage(
    place: RedoPlace,
    dataName: string,
    image: Storage,
    data: Storage,
  ): Promise<StagedFiles> {
    // A log that was never completed stands for nothing.
    await place.folder.remove(redoLogName(place.imageName))
    return new StagedFiles(place, dataName, image, data)
  }

  #overlay(base: Storage): PageOverlay {
    return new PageOverlay(base, this.#log.pageFile, DEFAULT_BUDGET)
  }

  get dirty(): boolean {
    return this.#image.overlay.dirty || this.#data.overlay.dirty
  }

  /** The range of the data file reads as zeros. */
  async eraseData(offset: number, length: number): Promise<void> {
    const present = Math.min(length, this.#data.size - offset)
    if (present > 0) await this.#data.overlay.erase(offset, present)
  }

  async commit(): Promise<void> {
    await this.#log.commit([
      { name: this.#place.imageName, storage: this.#image.base, overlay: this.#image.overlay },
      { name: this.#dataName, storage: this.#data.base, overlay: this.#data.overlay },
    ])
    this.#renew()
  }

  async rollback(): Promise<void> {
    await this.#image.overlay.clear()
    await this.#data.overlay.clear()
    await this.#log.discard()
    this.#renew()
  }

  #renew(): void {
    this.#log = new RedoLog(this.#place.folder, redoLogName(this.#place.imageName))
    this.#image.overlay = this.#overlay(this.#image.base)
    this.#data.overlay = this.#overlay(this.#data.base)
  }
}

/** What an interrupted commit of two files left: `undefined` when there is nothing. */
export interface Interrupted {
  /** How the image names its data file. */
  readonly dataName: string
  /** Finishes the commit in the files. */
  finish(image: Storage, data: Storage): Promise<void>
  /** The content of the finished commit, with nothing written. */
  present(image: Storage, data: Storage): Promise<{ readonly image: Storage; readonly data: Storage }>
}

/** Looks for the redo log of an interrupted commit of an image with a data file. */
export async function findInterrupted(place: RedoPlace): Promise<Interrupted | undefined> {
  const log = await findRedoLog(place.folder, redoLogName(place.imageName))
  if (log === undefined) return undefined
  const [, data] = log.targets
  if (data === undefined || log.targets.length !== 2) {
    await log.storage.close()
    return undefined
  }
  return {
    dataName: data.name,
    finish: (imageFile, dataFile) => replay(log, [imageFile, dataFile], place.folder),
    present: async (imageFile, dataFile) => ({
      image: new StagedFile(imageFile, await presentPending(log, 0, imageFile, DEFAULT_BUDGET)),
      data: new StagedFile(dataFile, await presentPending(log, 1, dataFile, DEFAULT_BUDGET), log.storage),
    }),
  }
}
