import type { BlockDevice } from '../../device/block-device.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { type BitmapDirectory, readBitmapDirectory } from './bitmap-directory.ts'
import { ClusterAllocator } from './cluster-allocator.ts'
import { ClusterCache } from './cluster-cache.ts'
import { ClusterMap } from './cluster-map.ts'
import { Committer } from './commit.ts'
import { corrupt, unsupported } from './corruption.ts'
import { DataFileStaging } from './data-file-staging.ts'
import { GuestReader } from './guest-reader.ts'
import { AUTOCLEAR, type Header, INCOMPATIBLE } from './header.ts'
import { L1Table } from './l2-table.ts'
import { MappingTables } from './mapping-tables.ts'
import { readPadded } from './padded-read.ts'
import { Qcow2Image, readHeader, type WritingParts } from './qcow2-image.ts'
import { RefcountWriter } from './refcount-writer.ts'
import { readSnapshotTable } from './snapshot-table.ts'
import { StagedCompression } from './staged-compression.ts'
import { findInterrupted, type RedoPlace, StagedFiles } from './staged-files.ts'
import { Staging } from './staging.ts'
import { stoppable } from './stoppable-storage.ts'
import { type Verified, verifyRefcounts } from './verify.ts'

/** Longest chain of backing files: incremental backups make long ones, loops make endless ones. */
export const MAX_DEPTH = 200

/** What `openQcow2` takes. */
export interface Qcow2Options {
  /** Writable opening needs a writable storage, and gives back clusters that a crash leaked. */
  readonly writable: boolean
  /** 0 for the image itself, 1 for its backing file, and so on. */
  readonly depth?: number
  /**
   * Opens a backing file for reading, or refuses to.
   * @param name as the image has it; relative names are relative to the image's folder.
   * @param format as the image has it; `undefined` when it does not say.
   * @param depth of the file to open.
   */
  readonly openBacking: (name: string, format: string | undefined, depth: number) => Promise<BlockDevice>
  /** Opens the external data file, or refuses to. The name is `undefined` when the image does not say. */
  readonly openDataFile: (name: string | undefined, writable: boolean) => Promise<Storage>
  /** Where the redo log of an image with an external data file goes; without it such an image opens for reading only. */
  readonly redo?: RedoPlace
  /**
   * Stores compressed what is written over compressed clusters, and what is new where most clusters are compressed; true when left
   * out.
   */
  readonly keepCompressed?: boolean
  /** Stops the look through all tables that opening for writing begins with: `ERR_ABORTED`. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Opens a qcow2 image; it owns `storage` from then on, and closes it with itself (not on an error here).
 * Errors: `ERR_CORRUPT`, `ERR_UNSUPPORTED` (encryption, unknown features), and what the openers throw.
 */
export async function openQcow2(storage: Storage, options: Qcow2Options): Promise<Qcow2Image> {
  const depth = options.depth ?? 0
  if (depth > MAX_DEPTH)
    throw corrupt(storage.name, `the chain of backing files is longer than ${MAX_DEPTH}; it probably loops`, {
      depth,
    })
  if (options.writable && !storage.writable)
    throw new DrydiskError('EROFS', `${storage.name} is open for reading only`, { path: storage.name })
  const opened: { close(): Promise<void> }[] = []
  try {
    return await open(storage, options, depth, opened)
  } catch (error) {
    await Promise.allSettled(opened.map(resource => resource.close()))
    throw error
  }
}

async function open(
  file: Storage,
  options: Qcow2Options,
  depth: number,
  opened: { close(): Promise<void> }[],
): Promise<Qcow2Image> {
  let storage = file
  let dataFile: Storage | undefined
  // A commit of two files that was interrupted may have left any part of the image written, the header too.
  const interrupted = options.redo === undefined ? undefined : await findInterrupted(options.redo)
  if (interrupted !== undefined) {
    dataFile = await options.openDataFile(interrupted.dataName, options.writable)
    opened.push(dataFile)
    if (options.writable) await interrupted.finish(storage, dataFile)
    else ({ image: storage, data: dataFile } = await interrupted.present(storage, dataFile))
  }

  const { header, sector } = await readHeader(storage)
  const hasDataFile = (header.incompatible_features & INCOMPATIBLE.dataFile) !== 0n
  if (hasDataFile && dataFile === undefined) {
    dataFile = await options.openDataFile(header.dataFile, options.writable)
    opened.push(dataFile)
  }
  if (hasDataFile && header.nb_snapshots > 0)
    throw corrupt(
      storage.name,
      'it has an external data file and internal snapshots, which exclude each other',
    )
  if (options.writable) checkWritableImage(storage.name, header, hasDataFile, options)

  let files: StagedFiles | undefined
  if (options.writable && dataFile !== undefined && options.redo !== undefined) {
    files = await StagedFiles.stage(options.redo, header.dataFile ?? dataFile.name, storage, dataFile)
    storage = files.image
    dataFile = files.data
  }
  const { snapshots } = await readSnapshotTable(storage, header)
  const bitmaps = await readBitmapDirectory(storage, header)
  const l1 = await readL1(storage, header)

  // Counting comes before the backing file is opened: it is what may refuse.
  const verified = options.writable
    ? await verifyRefcounts(stoppable(storage, options.signal), header)
    : undefined
  let backing: BlockDevice | undefined
  if (header.backingFile !== undefined) {
    backing = await options.openBacking(header.backingFile, header.backingFormat, depth + 1)
    opened.push(backing)
  }

  const { geometry } = header
  const allocator =
    verified &&
    new ClusterAllocator(
      verified.counts,
      geometry.clusterSize,
      Math.max(Math.ceil(storage.size / geometry.clusterSize), verified.counts.end()),
    )
  const tables = new MappingTables(storage, geometry, l1, allocator)
  const map = new ClusterMap(storage.name, geometry, hasDataFile, header.version, tables)
  const cache = new ClusterCache(storage, geometry.clusterSize)
  const data = dataFile
  const host =
    data === undefined
      ? cache
      : { read: (offset: number, into: Uint8Array) => readPadded(data, offset, into) }
  const reader = new GuestReader(header, map, host, backing)
  const writing =
    verified === undefined || allocator === undefined
      ? undefined
      : await prepareWriting({
          storage,
          header,
          sector,
          verified,
          allocator,
          reader,
          cache,
          bitmaps,
          files,
          keepCompressed: options.keepCompressed ?? true,
        })
  return new Qcow2Image({ storage, header, reader, snapshots, bitmaps, dataFile, writing })
}

function checkWritableImage(name: string, header: Header, hasDataFile: boolean, options: Qcow2Options): void {
  if ((header.incompatible_features & INCOMPATIBLE.corrupt) !== 0n)
    throw corrupt(
      name,
      'the image is marked as corrupt; run "drydisk check --repair all", or open it for reading only',
    )
  if (hasDataFile && options.redo === undefined)
    throw unsupported(
      name,
      'an image with an external data file can be written only where a redo log can lie beside it',
      {
        feature: 'external data file',
      },
    )
}

export async function readL1(storage: Storage, header: Header): Promise<L1Table> {
  const bytes = new Uint8Array(header.l1_size * 8)
  if (header.l1_size > 0 && header.l1_table_offset >= storage.size)
    throw corrupt(
      storage.name,
      `the L1 table at byte ${header.l1_table_offset} lies outside the file of ${storage.size} bytes`,
      {
        structure: 'L1 table',
      },
    )
  await readPadded(storage, header.l1_table_offset, bytes)
  return new L1Table(bytes)
}

async function prepareWriting(parts: {
  readonly storage: Storage
  readonly header: Header
  readonly sector: Uint8Array
  readonly verified: Verified
  readonly allocator: ClusterAllocator
  readonly reader: GuestReader
  readonly cache: ClusterCache
  readonly bitmaps: BitmapDirectory | undefined
  readonly files: StagedFiles | undefined
  readonly keepCompressed: boolean
}): Promise<WritingParts> {
  const { storage, header, verified, allocator, reader, cache, files } = parts
  const { geometry, size, version } = header
  const refcounts = new RefcountWriter(storage, geometry, allocator, {
    blocks: verified.blocks,
    offset: header.refcount_table_offset,
    clusters: header.refcount_table_clusters,
  })
  const committer = new Committer({
    storage,
    header,
    sector: parts.sector,
    allocator,
    refcounts,
    tables: reader.map.tables,
    cache,
    bitmaps: parts.bitmaps,
    rebuild: verified.rebuild,
  })
  if (files === undefined && verified.leaks.length > 0) {
    await committer.giveBack(verified.leaks)
    await committer.cutTail()
    await storage.flush()
  } else committer.noteOverstated(verified.leaks)
  const compression =
    parts.keepCompressed && files === undefined
      ? new StagedCompression({
          geometry,
          compressionType: header.compressionType,
          reader,
          allocator,
          cache,
          compressNew: verified.mostlyCompressed,
        })
      : undefined
  const raw = (header.autoclear_features & AUTOCLEAR.rawExternalData) !== 0n
  const writer =
    files === undefined
      ? new Staging({ storage, geometry, size, version, reader, allocator, cache, compression })
      : new DataFileStaging(geometry, size, reader, files, raw)
  return { allocator, cache, writer, committer, files }
}
