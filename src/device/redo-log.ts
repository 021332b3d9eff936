import { crc32cOf } from '../bytes/crc32c.ts'
import { DrydiskError } from '../errors.ts'
import { applyOverlay } from './apply-overlay.ts'
import { BLOCK_SIZE, countBlocks, PAGE_SIZE, PageFile } from './page-file.ts'
import { PageOverlay, type StagedPage } from './page-overlay.ts'
import {
  corrupt,
  HEADER_SIZE,
  indexOffset,
  parseHeader,
  parseIndex,
  type RedoPage,
  type RedoTarget,
  serialiseHeader,
  serialiseIndex,
  slotsBefore,
} from './redo-log-format.ts'
import { samplesMatch, takeSamples } from './redo-samples.ts'
import type { Storage, StorageFolder } from './storage.ts'

/** An index is held in memory whole; this much of it stands for some 700 GiB of changes. */
const MAX_INDEX = 256 << 20
const ZERO_HEADER = new Uint8Array(HEADER_SIZE)

/** The name of the redo log beside an image. */
export function redoLogName(imageName: string): string {
  return `${imageName}.drydisk-redo`
}

/** A file that a commit changes, and what is staged over it. */
export interface RedoChange {
  /** How the image refers to the file. The image itself comes first, under its own name. */
  readonly name: string
  readonly storage: Storage
  readonly overlay: PageOverlay
}

/**
 * Atomic commits for files with no indirection of their own. What is staged goes into a log beside the image; once the log is
 * whole and durable, one sector, its header, makes it count; only then are the files changed, and then the log goes away. A
 * crash before that sector leaves the old content, one after it leaves the new content: in the log until the next open.
 */
export class RedoLog {
  /** Where overlays spill to: bytes that are staged are in the log already when the commit comes. */
  readonly pageFile: PageFile
  readonly #folder: StorageFolder
  readonly #name: string
  #published = false

  /** @param name plain name of the log in `folder`. */
  constructor(folder: StorageFolder, name: string) {
    this.#folder = folder
    this.#name = name
    this.pageFile = new PageFile(() => folder.create(name))
  }

  /** True after a commit that counts but could not be brought into the files: `commit` again, or open the image again. */
  get published(): boolean {
    return this.#published
  }

  /**
   * Publishes what the overlays stage, brings it into the files and empties the overlays.
   * On an error the context has `published`: false, true (the next open, or another `commit`, finishes it) or `unknown` (the
   * medium failed while the deciding sector was on its way; the next open tells).
   */
  async commit(changes: readonly RedoChange[]): Promise<void> {
    if (!this.#published) await this.#publish(changes)
    try {
      for (const { storage, overlay } of changes) await applyOverlay(overlay, storage)
      for (const { storage } of changes) await storage.flush()
      await this.#remove()
    } catch (error) {
      throw new DrydiskError(
        error instanceof DrydiskError ? error.code : 'EIO',
        this.#folder.temporary
          ? `the image has a part of the commit, because writing it failed: ${messageOf(error)}. Commit again before the image is closed, or make it anew`
          : `the commit counts and is whole in ${this.#name}, but bringing it into the image failed: ${messageOf(error)}. ` +
              'Put the cause right and open the image for writing: that finishes it. Let nothing else use the image before',
        { published: true, path: this.#name },
        error,
      )
    }
    this.#published = false
    for (const { overlay } of changes) await overlay.clear()
  }

  async #publish(changes: readonly RedoChange[]): Promise<void> {
    let log: Storage
    try {
      const targets: RedoTarget[] = []
      for (const { name, storage, overlay } of changes) {
        await overlay.save()
        targets.push({
          name,
          sizeBefore: overlay.baseSize,
          sizeAfter: overlay.size,
          pages: [...overlay.stagedPages()].map(([index, { mask, savedMask, slot, checksum }]) => ({
            index,
            mask,
            savedMask,
            slot,
            checksum,
          })),
          erased: [...overlay.erasedBlocks()],
          samples: await takeSamples(overlay, storage),
        })
      }
      log = await this.pageFile.ensure()
      const index = serialiseIndex(targets)
      if (index.length > MAX_INDEX)
        throw new DrydiskError(
          'EFBIG',
          `${index.length} bytes of index: more changes than one redo log holds`,
          {},
        )
      const offset = indexOffset(this.pageFile.slots)
      await log.write(offset, index)
      // A commit that failed before may have left a longer log.
      if (log.size > offset + index.length) await log.truncate(offset + index.length)
      await log.flush()
      await this.#folder.flush()
      await this.#mark(log, {
        indexOffset: offset,
        indexLength: index.length,
        indexChecksum: crc32cOf(index),
      })
    } catch (error) {
      if (error instanceof DrydiskError && error.context.published !== undefined) throw error
      throw new DrydiskError(
        error instanceof DrydiskError ? error.code : 'EIO',
        `nothing was committed: ${messageOf(error)}`,
        { published: false, path: this.#name },
        error,
      )
    }
    this.#published = true
  }

  /** Writes the sector that makes the log count. */
  async #mark(log: Storage, header: Parameters<typeof serialiseHeader>[0]): Promise<void> {
    try {
      await log.write(0, serialiseHeader(header))
      await log.flush()
    } catch (error) {
      try {
        await log.write(0, ZERO_HEADER)
        await log.flush()
      } catch (second) {
        throw new DrydiskError(
          error instanceof DrydiskError ? error.code : 'EIO',
          `whether the commit counts is not known: ${messageOf(error)}. Open the image again: it then has either all or nothing of it`,
          { published: 'unknown', path: this.#name },
          second,
        )
      }
      throw error
    }
  }

  async #remove(): Promise<void> {
    const log = this.pageFile.storage
    await this.#folder.remove(this.#name)
    await this.#folder.flush()
    this.pageFile.reset()
    await log?.close()
  }

  /** Drops the log, unless it counts. The overlays are the caller's to clear. */
  async discard(): Promise<void> {
    const log = this.pageFile.reset()
    if (log === undefined) return
    await log.close()
    if (!this.#published) await this.#folder.remove(this.#name)
  }
}

/** A log that was found complete: its content must be seen by whoever reads the image. */
export interface PendingLog {
  readonly name: string
  readonly storage: Storage
  readonly targets: readonly RedoTarget[]
  readonly pageFile: PageFile
}

/**
 * Looks for a log. A log that was never completed stands for nothing.
 * @returns `undefined` when there is none, or none that counts.
 * Errors: `ERR_CORRUPT` for a log that counts and is damaged.
 */
export async function findRedoLog(folder: StorageFolder, name: string): Promise<PendingLog | undefined> {
  const storage = await folder.open(name, 'read')
  if (storage === undefined) return undefined
  try {
    const sector = new Uint8Array(HEADER_SIZE)
    if (storage.size >= HEADER_SIZE) await storage.read(0, sector)
    const header = parseHeader(sector, name)
    if (header === undefined) {
      await storage.close()
      return undefined
    }
    if (header.indexLength > MAX_INDEX || header.indexOffset + header.indexLength > storage.size)
      throw corrupt(name, 'it is shorter than its header says')
    const index = new Uint8Array(header.indexLength)
    await storage.read(header.indexOffset, index)
    if (crc32cOf(index) !== header.indexChecksum) throw corrupt(name, 'the checksum of its index is wrong')
    const slots = slotsBefore(header)
    const targets = parseIndex(index, slots, name)
    return { name, storage, targets, pageFile: PageFile.existing(storage, slots) }
  } catch (error) {
    await storage.close()
    throw error
  }
}

/**
 * The content that a pending log gives one of its files: the file is not written to.
 * Errors: `ERR_CORRUPT` when the file is not the one that the log was made for.
 */
export async function presentPending(
  log: PendingLog,
  position: number,
  file: Storage,
  budget: number,
): Promise<PageOverlay> {
  const target = log.targets[position]
  if (target === undefined) throw corrupt(log.name, `it has no entry for ${file.name}`)
  const low = Math.min(target.sizeBefore, target.sizeAfter)
  const high = Math.max(target.sizeBefore, target.sizeAfter)
  const overlay = new PageOverlay(baseOf(file, target.sizeBefore), log.pageFile, budget)
  overlay.adopt(target.sizeAfter, target.pages.map(toStagedPage), target.erased)
  if (file.size < low || file.size > high || !(await samplesMatch(target.samples, file, overlay)))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `${log.name} holds a commit that was interrupted, but ${file.name} is not as that commit left it: it was replaced, ` +
        'or changed by something else since. Nothing was done to it. To use it as it is, remove the log',
      { path: log.name, image: file.name },
    )
  return overlay
}

/** A file seen as it was sized before the log: a replay may have changed its length already. */
function baseOf(file: Storage, size: number) {
  return {
    size,
    async read(offset: number, into: Uint8Array): Promise<void> {
      const present = Math.max(0, Math.min(into.length, file.size - offset))
      if (present > 0) await file.read(offset, into.subarray(0, present))
      into.fill(0, present)
    },
  }
}

function toStagedPage(page: RedoPage): readonly [number, StagedPage] {
  const { index, mask, savedMask, slot, checksum } = page
  return [index, { data: undefined, mask, savedMask, slot, checksum, clean: true }]
}

/**
 * Finishes a commit that was interrupted: checks the whole log and the files, brings the log into the files, removes it.
 * May itself be interrupted at any point and run again.
 * @param files one for each of `log.targets`, open for writing.
 */
export async function replay(
  log: PendingLog,
  files: readonly Storage[],
  folder: StorageFolder,
): Promise<void> {
  const overlays: PageOverlay[] = []
  for (const [position, file] of files.entries())
    overlays.push(await presentPending(log, position, file, 1 << 20))
  if (overlays.length !== log.targets.length)
    throw corrupt(log.name, `it names ${log.targets.length} files and the image has ${files.length}`)
  const blocks = new Uint8Array(PAGE_SIZE)
  for (const target of log.targets)
    for (const { slot, checksum, savedMask } of target.pages)
      await log.pageFile.read(slot, checksum, blocks.subarray(0, countBlocks(savedMask) * BLOCK_SIZE))

  for (const [position, file] of files.entries()) {
    const overlay = overlays[position]
    if (overlay !== undefined) await applyOverlay(overlay, file)
  }
  for (const file of files) await file.flush()
  await folder.remove(log.name)
  await folder.flush()
  await log.storage.close()
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
