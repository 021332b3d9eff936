import { equalBytes } from '../../bytes/compare.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { type HeaderLayout, layoutHeader } from './amend-header.ts'
import { expandZeroClusters, type Job } from './amend-zeros.ts'
import { readBitmapDirectory } from './bitmap-directory.ts'
import { unsupported } from './corruption.ts'
import { AUTOCLEAR, COMPATIBLE_LAZY_REFCOUNTS, FIELD, type Header, INCOMPATIBLE } from './header.ts'
import { EXTENSION } from './header-extensions.ts'
import { readPadded } from './padded-read.ts'
import { checkResize, type Openers, resizeQcow2 } from './resize.ts'
import { Restructure } from './restructure.ts'
import { readSnapshotTable, saysDiskSize, withDiskSize, withL1Table } from './snapshot-table.ts'
import { moveTable } from './snapshots.ts'
import {
  changeStructure,
  hasDataFile,
  type NewState,
  readL1Table,
  releaseL1Table,
  writeL1Table,
} from './table-references.ts'

/** What an image is to be; what is left out stays as it is. */
export interface AmendOptions {
  /** 2 is compat=0.10, 3 is compat=1.1. */
  readonly version?: 2 | 3
  readonly lazyRefcounts?: boolean
  /** 1, 2, 4, … 64. */
  readonly refcountBits?: number
  /** Bytes of the disk; not fewer than there are. */
  readonly size?: number
  /** Name of the external data file. The file itself stays where it is. */
  readonly dataFile?: string
  /** Whether the data file by itself reads as the disk; can only be taken back. */
  readonly dataFileRaw?: boolean
  /** Only what the image has already: `rebase` changes it. Empty for none. */
  readonly backingFile?: string
  readonly backingFormat?: string
}

/**
 * Changes what a qcow2 image is without changing what it holds, in one atomic change of the file (in two where the size changes
 * too).
 * Errors: `ERR_INVALID_ARGUMENT` for what has no meaning; `ERR_UNSUPPORTED`, by name, for what the image has that version 2 lacks,
 * and where the header has no room; `ERR_ABORTED`; `ERR_CORRUPT`.
 * @param storage the image with nothing staged; to be opened anew afterwards.
 */
export async function amendQcow2(
  storage: Storage,
  options: AmendOptions,
  openers: Openers,
  job: Job = {},
): Promise<void> {
  const restructure = await Restructure.of(storage, job.signal)
  const { header } = restructure
  const version = options.version ?? header.version
  await checkAmend(restructure, options, version)
  const size = options.size ?? header.size
  if (size === header.size) return amend(restructure, options, version, job)
  // Version 2 can resize less than version 3.
  await checkResize(storage, { ...header, version: header.version === 2 ? version : 3 }, size, false)
  // What the first of the two steps has changed is not left alone.
  const { signal: _, ...unstopped } = job
  if (version === 2) {
    await resizeQcow2(storage, size, { ...openers, ...job })
    await amend(await Restructure.of(storage), options, version, unstopped)
  } else {
    await amend(restructure, options, version, job)
    await resizeQcow2(storage, size, { ...openers, ...unstopped })
  }
}

async function amend(
  restructure: Restructure,
  options: AmendOptions,
  version: 2 | 3,
  job: Job,
): Promise<void> {
  if (isAmended(restructure.header, options, version)) return
  await changeStructure(
    restructure,
    async () => {
      const { header, storage } = restructure
      const refcountBits = options.refcountBits ?? header.geometry.refcountBits
      const layout = await newHeader(restructure, options, version)
      const tables = await newTables(restructure, version, job)
      for (const { offset, bytes } of layout?.behind ?? []) await storage.write(offset, bytes)
      const features = newFeatures(header, options, version)
      return {
        refcountBits,
        edit: view => {
          tables.edit(view)
          if (layout !== undefined) {
            view.setU32(4, layout.version)
            view.setU64(8, layout.backingOffset)
            view.bytes.set(layout.sector, layout.headerLength)
            if (header.version === 2 && version === 3)
              view.bytes.fill(0, FIELD.incompatible_features, layout.headerLength)
            if (version === 3) view.setU32(100, layout.headerLength)
          }
          if (version === 2) return
          view.setBig(FIELD.compatible_features, features.compatible)
          view.setBig(FIELD.autoclear_features, view.big(FIELD.autoclear_features) & ~features.cleared)
          view.setU32(FIELD.refcount_order, Math.log2(refcountBits))
        },
      }
    },
    job,
  )
}

/** Whether the image is what it is to be already. */
function isAmended(header: Header, options: AmendOptions, version: 2 | 3): boolean {
  const { compatible, cleared } = newFeatures(header, options, version)
  return (
    version === header.version &&
    (options.refcountBits ?? header.geometry.refcountBits) === header.geometry.refcountBits &&
    compatible === header.compatible_features &&
    (header.autoclear_features & cleared) === 0n &&
    (options.dataFile ?? header.dataFile) === header.dataFile
  )
}

/** Refuses what cannot be before anything is written. */
async function checkAmend(
  { storage, header }: Restructure,
  options: AmendOptions,
  version: 2 | 3,
): Promise<void> {
  const { refcountBits = header.geometry.refcountBits } = options
  const invalid = (what: string): DrydiskError =>
    new DrydiskError('ERR_INVALID_ARGUMENT', `${storage.name}: ${what}`, { path: storage.name })
  if (!Number.isInteger(Math.log2(refcountBits)) || refcountBits < 1 || refcountBits > 64)
    throw invalid(`refcounts of ${refcountBits} bits; 1, 2, 4, 8, 16, 32 and 64 are possible`)
  if (
    (options.backingFile !== undefined && options.backingFile !== (header.backingFile ?? '')) ||
    (options.backingFormat !== undefined && options.backingFormat !== (header.backingFormat ?? ''))
  )
    throw invalid(
      'the backing file is not amended; use "drydisk rebase", with -u where only its name has changed',
    )
  if (options.dataFile !== undefined && !hasDataFile(header))
    throw invalid('data_file can only be set for an image that has an external data file')
  const raw = (header.autoclear_features & AUTOCLEAR.rawExternalData) !== 0n
  if (options.dataFileRaw === true && !raw)
    throw invalid('data_file_raw cannot be set on an existing image: its data file does not read as the disk')
  if (version === 3) return
  if (refcountBits !== 16)
    throw invalid(
      `compat=0.10 has refcounts of 16 bits, and these have ${refcountBits}; add refcount_bits=16`,
    )
  if (options.lazyRefcounts === true) throw invalid('lazy_refcounts needs compat=1.1')
  if (header.version === 3) await checkDowngrade(storage, header)
}

/** Refuses an image that has what version 2 lacks. */
async function checkDowngrade(storage: Storage, header: Header): Promise<void> {
  const fail = (what: string, feature: string): DrydiskError =>
    unsupported(storage.name, `${what}, which version 2 (compat=0.10) does not know`, { feature })
  const has = (bit: bigint): boolean => (header.incompatible_features & bit) !== 0n
  if (has(INCOMPATIBLE.dataFile)) throw fail('it has an external data file', 'external data file')
  if (has(INCOMPATIBLE.extendedL2)) throw fail('it has extended L2 entries', 'extended L2 entries')
  if (has(INCOMPATIBLE.compressionType))
    throw fail(`its compression is ${header.compressionType}`, 'compression type')
  const bitmaps = (await readBitmapDirectory(storage, header))?.bitmaps ?? []
  if (bitmaps.length > 0)
    throw fail(
      `it has persistent bitmaps (${bitmaps.map(({ name }) => JSON.stringify(name)).join(', ')})`,
      'bitmaps',
    )
  for (const { id, name, diskSize, vmStateSize } of (await readSnapshotTable(storage, header)).snapshots)
    if (diskSize !== header.size || vmStateSize >= 2 ** 32)
      throw fail(
        `its snapshot ${id} (${JSON.stringify(name)}) has a disk of ${diskSize} bytes, not ${header.size}, or more than 4 GiB of ` +
          'machine state',
        'snapshots',
      )
}

function newFeatures(
  header: Header,
  { lazyRefcounts, dataFileRaw }: AmendOptions,
  version: 2 | 3,
): { readonly compatible: bigint; readonly cleared: bigint } {
  const before = version === 3 ? header.compatible_features : 0n
  const lazy = lazyRefcounts ?? (before & COMPATIBLE_LAZY_REFCOUNTS) !== 0n
  return {
    compatible: (before & ~COMPATIBLE_LAZY_REFCOUNTS) | (lazy ? COMPATIBLE_LAZY_REFCOUNTS : 0n),
    cleared: dataFileRaw === false ? AUTOCLEAR.rawExternalData : 0n,
  }
}

/** The header cluster's new shape; `undefined` where it keeps the one that it has. */
async function newHeader(
  { storage, header }: Restructure,
  { dataFile }: AmendOptions,
  version: 2 | 3,
): Promise<HeaderLayout | undefined> {
  if (version === header.version && dataFile === undefined) return undefined
  const cluster = new Uint8Array(header.geometry.clusterSize)
  await readPadded(storage, 0, cluster)
  const extensions = header.extensions
    // Bitmaps that are not consistent count for nothing, and version 2 could not say so.
    .filter(({ type }) => type !== EXTENSION.featureNames && !(version === 2 && type === EXTENSION.bitmaps))
    .filter(({ type }) => dataFile === undefined || type !== EXTENSION.dataFile)
    .map(({ type, data }) => ({ type, data }))
  if (dataFile !== undefined && dataFile !== '')
    extensions.unshift({ type: EXTENSION.dataFile, data: new TextEncoder().encode(dataFile) })
  return layoutHeader(storage.name, cluster, header, version, extensions)
}

/** Writes the tables that another version calls for. */
async function newTables(
  restructure: Restructure,
  version: 2 | 3,
  job: Job,
): Promise<Pick<NewState, 'edit'>> {
  const { header, storage } = restructure
  const table = await readSnapshotTable(storage, header)
  if (version === header.version) return { edit: () => undefined }
  if (version === 3) {
    if (table.snapshots.every(saysDiskSize)) return { edit: () => undefined }
    const moved = await moveTable(restructure, table, table.snapshots.map(withDiskSize))
    return { edit: view => view.setU64(FIELD.snapshots_offset, moved.offset) }
  }
  const active = await readL1Table(restructure, header)
  const saved = await Promise.all(table.snapshots.map(snapshot => readL1Table(restructure, snapshot)))
  const before = saved.map(l1 => l1.clone())
  await expandZeroClusters(restructure, active, saved, job)
  releaseL1Table(restructure, header)
  const offset = await writeL1Table(restructure, active)
  const entries: Uint8Array[] = []
  for (const [index, snapshot] of table.snapshots.entries()) {
    const l1 = saved[index]
    if (l1 === undefined || equalBytes(l1.bytes, before[index]?.bytes ?? l1.bytes))
      entries.push(snapshot.entry)
    else {
      releaseL1Table(restructure, snapshot)
      entries.push(withL1Table(snapshot.entry, await writeL1Table(restructure, l1)))
    }
  }
  const moved =
    entries.length > 0 ? await moveTable(restructure, table, entries) : { offset: header.snapshots_offset }
  return {
    edit: view => {
      view.setU64(FIELD.l1_table_offset, offset)
      view.setU64(FIELD.snapshots_offset, moved.offset)
    },
  }
}
