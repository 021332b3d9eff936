import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { checkSize } from '../resize-size.ts'
import { readBitmapDirectory } from './bitmap-directory.ts'
import { unsupported } from './corruption.ts'
import { FIELD, type Header, MAX_L1_BYTES } from './header.ts'
import { openQcow2, type Qcow2Options } from './open.ts'
import type { Qcow2Image } from './qcow2-image.ts'
import { ResizedTables } from './resize-tables.ts'
import { Restructure } from './restructure.ts'
import { readSnapshotTable, saysDiskSize, withDiskSize } from './snapshot-table.ts'
import { moveTable } from './snapshots.ts'
import {
  changeStructure,
  hasDataFile,
  type NewState,
  releaseL1Table,
  type Switching,
  writeL1Table,
} from './table-references.ts'

/** What opens the files that an image refers to. */
export type Openers = Pick<Qcow2Options, 'openBacking' | 'openDataFile'>

export interface ResizeOptions extends Switching {
  /** Consent to losing what lies beyond the new size; false when left out. */
  readonly shrink?: boolean
}

export interface Resized {
  /** Bytes of the disk. */
  readonly before: number
  readonly after: number
}

/**
 * Changes the size of the disk in one atomic change of the file. What a larger disk gains reads as zeros.
 * @param storage the image with nothing staged; to be opened anew afterwards.
 * @param size bytes, a multiple of 512.
 * Errors: `ERR_INVALID_ARGUMENT`, also for a smaller size without `shrink`; `EFBIG`; `ERR_UNSUPPORTED` for images with persistent
 * bitmaps and version 2 images with snapshots; `ERR_CORRUPT`; what the openers throw.
 */
export async function resizeQcow2(
  storage: Storage,
  size: number,
  options: ResizeOptions & Openers,
): Promise<Resized> {
  const restructure = await Restructure.of(storage, options.signal)
  const { header } = restructure
  const result = { before: header.size, after: size }
  await checkResize(storage, header, size, options.shrink ?? false)
  if (size === header.size) return result
  const files = await MaintainedFiles.open(restructure, options)
  try {
    await files.prepareSize(size)
    try {
      await changeStructure(
        restructure,
        () => newSize(restructure, files.image, files.dataFile, size),
        options,
      )
    } catch (error) {
      if (!(error instanceof DrydiskError && error.context.published === true)) await files.undo()
      throw error
    }
    await files.finishSize(size)
  } finally {
    await files.close()
  }
  return result
}

/** An image's old state for reading, and the data file for writing, while the structure is changed. */
export class MaintainedFiles {
  readonly image: Qcow2Image
  readonly dataFile: Storage | undefined

  private constructor(image: Qcow2Image, dataFile: Storage | undefined) {
    this.image = image
    this.dataFile = dataFile
  }

  static async open(restructure: Restructure, openers: Openers): Promise<MaintainedFiles> {
    const { header, storage } = restructure
    const data = hasDataFile(header) ? await openers.openDataFile(header.dataFile, true) : undefined
    try {
      const image = await openQcow2(borrowed(storage), {
        writable: false,
        openBacking: openers.openBacking,
        openDataFile: async () => borrowed(data ?? storage),
      })
      return new MaintainedFiles(image, data)
    } catch (error) {
      await data?.close()
      throw error
    }
  }

  /** Makes the data file ready for a larger disk: longer than its disk, it is a valid one all the while. */
  async prepareSize(size: number): Promise<void> {
    const { dataFile, image } = this
    if (dataFile === undefined || size <= image.size) return
    // What lies behind the disk's end must not come to be its content.
    if (dataFile.size > image.size) await dataFile.truncate(image.size)
    await dataFile.truncate(size)
  }

  /** Takes `prepareSize` back. */
  async undo(): Promise<void> {
    const { dataFile, image } = this
    if (dataFile !== undefined && dataFile.size > image.size) await dataFile.truncate(image.size)
  }

  /** Cuts the data file to the length of a smaller disk, now that the image no longer refers to the rest. */
  async finishSize(size: number): Promise<void> {
    const { dataFile } = this
    if (dataFile === undefined) return
    if (dataFile.size !== size) await dataFile.truncate(size)
    await dataFile.flush()
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.image.close(), this.dataFile?.close()])
  }
}

/** The same storage, for someone who closes what it is given. */
function borrowed(storage: Storage): Storage {
  return {
    name: storage.name,
    writable: false,
    get size() {
      return storage.size
    },
    read: (offset, into) => storage.read(offset, into),
    write: (offset, from) => storage.write(offset, from),
    truncate: size => storage.truncate(size),
    flush: () => storage.flush(),
    close: async () => {},
  }
}

/** Refuses a size that the image cannot get. Errors: as `resizeQcow2`. */
export async function checkResize(
  storage: Storage,
  header: Header,
  size: number,
  shrink: boolean,
): Promise<void> {
  checkSize(storage.name, header.size, size, shrink)
  if (size % 512 !== 0)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `the new size of ${size} bytes must be a multiple of 512; the next larger one is ${Math.ceil(size / 512) * 512}`,
      { path: storage.name },
    )
  const most = (MAX_L1_BYTES / 8) * header.geometry.l2Span
  if (size > most)
    throw new DrydiskError(
      'EFBIG',
      `${storage.name}: with clusters of ${header.geometry.clusterSize} bytes, a disk can have ${most} bytes at most; ${size} were ` +
        'asked for. Convert the image to larger clusters',
      { path: storage.name, size },
    )
  if (size === header.size) return
  if (header.version === 2 && header.nb_snapshots > 0)
    throw unsupported(
      storage.name,
      'the snapshots of a version 2 image do not say how large their disk was, so it cannot be resized; delete them, or make it ' +
        'version 3 with "drydisk amend -o compat=1.1"',
      { feature: 'snapshots' },
    )
  const bitmaps = (await readBitmapDirectory(storage, header))?.bitmaps ?? []
  if (bitmaps.length > 0)
    throw unsupported(
      storage.name,
      `it has persistent bitmaps (${bitmaps.map(({ name }) => JSON.stringify(name)).join(', ')}), which drydisk does not resize; ` +
        'remove them first with "qemu-img bitmap --remove"',
      { feature: 'bitmaps' },
    )
}

/** Writes the new state with a disk of another size. For `changeStructure`; `checkResize` comes before. */
export async function newSize(
  restructure: Restructure,
  image: Qcow2Image,
  dataFile: Storage | undefined,
  size: number,
): Promise<NewState> {
  const { header, storage } = restructure
  const l1 = await ResizedTables.build(restructure, image, dataFile, size)
  releaseL1Table(restructure, header)
  const offset = await writeL1Table(restructure, l1)
  const table = await readSnapshotTable(storage, header)
  // An entry that does not say the size of its disk means the size that the image has.
  const moved = table.snapshots.every(saysDiskSize)
    ? undefined
    : await moveTable(restructure, table, table.snapshots.map(withDiskSize))
  // The data file's clusters must be there before anything refers to them.
  await dataFile?.flush()
  return {
    edit: view => {
      view.setU64(FIELD.size, size)
      view.setU32(FIELD.l1_size, l1.length)
      view.setU64(FIELD.l1_table_offset, offset)
      if (moved !== undefined) view.setU64(FIELD.snapshots_offset, moved.offset)
    },
  }
}
