import { bigEndian } from '../../bytes/byte-view.ts'
import { type BitmapDirectory, bitmapClusters, readBitmapDirectory } from './bitmap-directory.ts'
import { corrupt } from './corruption.ts'
import { TWO_32 } from './geometry.ts'
import { EXTENSION } from './header-extensions.ts'
import { OFFSET_HIGH, OFFSET_LOW } from './l2-table.ts'
import { Moves, moveBytes } from './move-bytes.ts'
import { readPadded } from './padded-read.ts'
import type { Restructure } from './restructure.ts'

/** Byte offset of bitmap_directory_offset in the header extension. */
const DIRECTORY_OFFSET = 16
/** Byte offset of the flags in a directory entry, which begins with bitmap_table_offset. */
const FLAGS_IN_ENTRY = 12

/**
 * No cluster of the bitmaps may be in use for anything else: they move without looking for that.
 * Errors: `ERR_CORRUPT`.
 */
export async function checkBitmaps(restructure: Restructure): Promise<void> {
  const { storage, header, counts } = restructure
  const { clusterSize } = header.geometry
  const own = (what: string, offset: number, bytes: number): void => {
    for (let at = offset; at < offset + bytes; at += clusterSize)
      if (counts.get(at / clusterSize) !== 1)
        throw corrupt(storage.name, `${what} (byte ${at}) is in use for something else too`, { offset: at })
  }
  const directory = await readBitmapDirectory(storage, header)
  if (directory === undefined) return
  own('the bitmap directory', directory.offset, directory.length)
  for (const { name, bitmap_table_offset, bitmap_table_size } of directory.bitmaps) {
    own(`the table of bitmap "${name}"`, bitmap_table_offset, bitmap_table_size * 8)
    const table = await readTable(restructure, bitmap_table_offset, bitmap_table_size)
    for (const offset of bitmapClusters(table))
      if (offset !== 0) own(`data of bitmap "${name}"`, offset, clusterSize)
  }
}

async function readTable(restructure: Restructure, offset: number, entries: number): Promise<Uint8Array> {
  const { clusterSize } = restructure.header.geometry
  const bytes = new Uint8Array(Math.ceil((entries * 8) / clusterSize) * clusterSize)
  await readPadded(restructure.storage, offset, bytes.subarray(0, entries * 8))
  return bytes
}

/**
 * Moves what of the bitmaps lies at the limit or above into the lowest free clusters. The header extension that names the
 * directory may lie beyond the header's sector, so it does not switch with the rest: first there are two copies, the new one in
 * clusters with a refcount that nothing names, and then one write of the directory's offset switches to it. What is given up
 * by that is free for whoever counts references anew.
 * @returns whether the restructuring was made use of: then the image has to be looked at anew.
 */
export async function moveBitmaps(
  restructure: Restructure,
  limit: number,
  options: { readonly signal?: AbortSignal; readonly beforeSwitch?: () => Promise<void> },
): Promise<boolean> {
  const { storage, header } = restructure
  const directory = await readBitmapDirectory(storage, header)
  const extension = header.extensions.find(({ type }) => type === EXTENSION.bitmaps)
  if (directory === undefined || extension === undefined) return false
  const plan = new BitmapPlan(restructure, limit)
  const directoryOffset = await plan.directory(directory)
  if (directoryOffset === undefined) return false
  // No run of free clusters is long enough; when the rest has moved, there may be one.
  if (plan.highest >= restructure.old.end()) return true
  try {
    await moveBytes(storage, plan.moves, options.signal, () => undefined)
    for (const { offset, bytes } of plan.written) await storage.write(offset, bytes)
    await options.beforeSwitch?.()
  } catch (error) {
    await restructure.abandon()
    throw error
  }
  await restructure.publish(() => undefined)
  const field = new Uint8Array(8)
  bigEndian(field, 'bitmaps extension').setU64(0, directoryOffset)
  // Extensions begin at multiples of eight bytes: the field lies in one sector.
  await restructure.file.write(extension.offset + DIRECTORY_OFFSET, field)
  await restructure.file.flush()
  return true
}

/** New places of bitmaps, and the tables as they are to be written there. */
class BitmapPlan {
  readonly moves = new Moves()
  readonly written: { readonly offset: number; readonly bytes: Uint8Array }[] = []
  /** The highest cluster taken. */
  highest = 0
  readonly #restructure: Restructure
  readonly #limit: number

  constructor(restructure: Restructure, limit: number) {
    this.#restructure = restructure
    this.#limit = limit
  }

  get #clusterSize(): number {
    return this.#restructure.header.geometry.clusterSize
  }

  #take(bytes: number): number {
    const count = Math.ceil(bytes / this.#clusterSize)
    const first = this.#restructure.allocate(count)
    this.highest = Math.max(this.highest, first + count - 1)
    return first * this.#clusterSize
  }

  #isHigh(offset: number, bytes: number): boolean {
    return bytes > 0 && offset + bytes > this.#limit * this.#clusterSize
  }

  /** @returns byte offset of the directory's new place; `undefined` when nothing has to move. */
  async directory(directory: BitmapDirectory): Promise<number | undefined> {
    const { storage } = this.#restructure
    const bytes = new Uint8Array(Math.ceil(directory.length / this.#clusterSize) * this.#clusterSize)
    await readPadded(storage, directory.offset, bytes.subarray(0, directory.length))
    const view = bigEndian(bytes, 'bitmap directory')
    let changed = this.#isHigh(directory.offset, directory.length)
    for (const { flagsOffset, bitmap_table_offset, bitmap_table_size } of directory.bitmaps) {
      const to = await this.#table(bitmap_table_offset, bitmap_table_size)
      if (to === undefined) continue
      view.setU64(flagsOffset - FLAGS_IN_ENTRY - directory.offset, to)
      changed = true
    }
    if (!changed) return undefined
    const offset = this.#take(directory.length)
    this.written.push({ offset, bytes })
    return offset
  }

  async #table(from: number, entries: number): Promise<number | undefined> {
    const bytes = await readTable(this.#restructure, from, entries)
    const view = new DataView(bytes.buffer)
    let changed = this.#isHigh(from, entries * 8)
    let at = -8
    for (const offset of bitmapClusters(bytes.subarray(0, entries * 8))) {
      at += 8
      if (offset === 0 || !this.#isHigh(offset, this.#clusterSize)) continue
      const to = this.#take(this.#clusterSize)
      this.moves.add(offset, to, this.#clusterSize)
      view.setUint32(at, ((view.getUint32(at) & ~OFFSET_HIGH) | Math.floor(to / TWO_32)) >>> 0)
      view.setUint32(at + 4, ((view.getUint32(at + 4) & ~OFFSET_LOW) | (to >>> 0)) >>> 0)
      changed = true
    }
    if (!changed) return undefined
    const offset = this.#take(entries * 8)
    this.written.push({ offset, bytes })
    return offset
  }
}
