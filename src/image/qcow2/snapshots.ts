import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { readBitmapDirectory } from './bitmap-directory.ts'
import { corrupt, unsupported } from './corruption.ts'
import { FIELD, MAX_SNAPSHOTS } from './header.ts'
import type { L1Table } from './l2-table.ts'
import { Restructure } from './restructure.ts'
import { findSnapshot, type SnapshotChoice } from './snapshot-device.ts'
import {
  readSnapshotTable,
  type Snapshot,
  type SnapshotTable,
  serializeSnapshotTable,
  snapshotEntry,
} from './snapshot-table.ts'
import {
  changeStructure,
  countReached,
  fixCopied,
  hasDataFile,
  type NewState,
  readL1Table,
  releaseL1Table,
  type Switching,
  writeL1Table,
} from './table-references.ts'

/** qemu keeps names of up to 255 bytes and cuts longer ones. */
const MAX_NAME = 255

/** What `createSnapshot` takes. `date` is in milliseconds since 1970; now when left out. */
export interface NewSnapshot {
  readonly name: string
  /** Milliseconds since 1970; now when left out. */
  readonly date?: number
}

/**
 * Takes an internal snapshot of the disk. A name may occur more than once; the identifier is one more than the highest.
 * Errors: `ERR_UNSUPPORTED` for an image with an external data file, or whose refcounts are too narrow; `ERR_CORRUPT`;
 * `ERR_INVALID_ARGUMENT`.
 * @param storage the image with nothing staged; to be opened anew afterwards.
 * @returns the new snapshot's identifier.
 */
export async function createSnapshot(
  storage: Storage,
  { name, date }: NewSnapshot,
  switching: Switching = {},
): Promise<string> {
  const bytes = new TextEncoder().encode(name).length
  if (bytes > MAX_NAME)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `the name of the snapshot has ${bytes} bytes; at most ${MAX_NAME} are possible`,
    )
  const restructure = await restructureOf(storage, switching)
  const { header } = restructure
  const table = await readSnapshotTable(storage, header)
  if (table.snapshots.length >= MAX_SNAPSHOTS)
    throw new DrydiskError('EFBIG', `${storage.name} has ${MAX_SNAPSHOTS} snapshots, the most that it can`)
  const id = String(1 + table.snapshots.reduce((highest, { id }) => Math.max(highest, leadingNumber(id)), 0))
  const now = date ?? Date.now()
  await changeStructure(
    restructure,
    async () => {
      const active = await readL1Table(restructure, header)
      const saved = active.clone()
      await countReached(restructure, active, 1)
      // The new snapshot has the same L2 tables; in none of them is a cluster that only the disk uses.
      await fixCopied(restructure, [active, saved])
      const entry = snapshotEntry({
        id,
        name,
        date: Math.floor(now / 1000),
        dateNanoseconds: Math.floor((now % 1000) * 1e6),
        vmClock: 0n,
        vmStateSize: 0,
        diskSize: header.size,
        l1_table_offset: await writeL1Table(restructure, saved),
        l1_size: saved.length,
      })
      const place = await moveTable(restructure, table, [...table.snapshots.map(old => old.entry), entry])
      return newState(restructure, active, header.size, place)
    },
    switching,
  )
  return id
}

/**
 * Makes the disk what it was when the snapshot was taken, its size too. What is on the disk now is lost.
 * Errors: `ENOENT`; `ERR_UNSUPPORTED` for an image with an external data file or with persistent bitmaps, which would no longer
 * be right, or whose refcounts are too narrow; `ERR_CORRUPT`.
 */
export async function applySnapshot(
  storage: Storage,
  choice: SnapshotChoice,
  switching: Switching = {},
): Promise<Snapshot> {
  const restructure = await restructureOf(storage, switching)
  const { header } = restructure
  const table = await readSnapshotTable(storage, header)
  const snapshot = findSnapshot(table.snapshots, choice, storage.name)
  const bitmaps = (await readBitmapDirectory(storage, header))?.bitmaps ?? []
  if (bitmaps.length > 0)
    throw unsupported(
      storage.name,
      `it has persistent bitmaps (${bitmaps.map(({ name }) => JSON.stringify(name)).join(', ')}), which would no longer tell what ` +
        'changed; remove them first with "qemu-img bitmap --remove"',
      { feature: 'bitmaps' },
    )
  if (snapshot.l1_size * header.geometry.l2Span < snapshot.diskSize)
    throw corrupt(
      storage.name,
      `snapshot ${snapshot.id}: an L1 table of ${snapshot.l1_size} entries is too short for its disk`,
      { structure: 'snapshot table' },
    )
  await changeStructure(
    restructure,
    async () => {
      const after = await readL1Table(restructure, snapshot)
      await countReached(restructure, after, 1)
      await countReached(restructure, await readL1Table(restructure, header), -1)
      await fixCopied(restructure, [after])
      return newState(restructure, after, snapshot.diskSize)
    },
    switching,
  )
  return snapshot
}

/**
 * Deletes an internal snapshot with its saved machine state, if it has one.
 * Errors: `ENOENT`; `ERR_UNSUPPORTED`; `ERR_CORRUPT`.
 * @param choice a plain text is looked for among the names first and then among the identifiers: qemu-img deletes by name alone.
 */
export async function deleteSnapshot(
  storage: Storage,
  choice: SnapshotChoice,
  switching: Switching = {},
): Promise<Snapshot> {
  const restructure = await restructureOf(storage, switching)
  const { header } = restructure
  const table = await readSnapshotTable(storage, header)
  const named = table.snapshots.find(({ name }) => name === choice)
  const snapshot = named ?? findSnapshot(table.snapshots, choice, storage.name)
  await changeStructure(
    restructure,
    async () => {
      await countReached(restructure, await readL1Table(restructure, snapshot), -1)
      releaseL1Table(restructure, snapshot)
      const active = await readL1Table(restructure, header)
      await fixCopied(restructure, [active])
      const rest = table.snapshots.filter(other => other !== snapshot).map(({ entry }) => entry)
      return newState(restructure, active, header.size, await moveTable(restructure, table, rest))
    },
    switching,
  )
  return snapshot
}

async function restructureOf(storage: Storage, { signal }: Switching): Promise<Restructure> {
  const restructure = await Restructure.of(storage, signal)
  if (hasDataFile(restructure.header))
    throw unsupported(
      storage.name,
      'its data lies in an external data file, and such an image can have no internal snapshots',
      { feature: 'external data file' },
    )
  return restructure
}

/** As C's strtoul: the digits that the text begins with. */
function leadingNumber(id: string): number {
  return Number(/^\s*\+?(\d{1,15})/.exec(id)?.[1] ?? 0)
}

interface TablePlace {
  readonly offset: number
  readonly count: number
}

/** Writes a new snapshot table and gives the old one's clusters back. */
export async function moveTable(
  restructure: Restructure,
  old: SnapshotTable,
  entries: readonly Uint8Array[],
): Promise<TablePlace> {
  const { storage, header, counts } = restructure
  const { clusterSize } = header.geometry
  if (old.length > 0)
    counts.addRun(header.snapshots_offset / clusterSize, Math.ceil(old.length / clusterSize), -1)
  const table = serializeSnapshotTable(entries)
  if (table.length === 0) return { offset: 0, count: 0 }
  const clusters = Math.ceil(table.length / clusterSize)
  const bytes = new Uint8Array(clusters * clusterSize)
  bytes.set(table)
  const offset = restructure.allocate(clusters) * clusterSize
  await storage.write(offset, bytes)
  return { offset, count: entries.length }
}

/** The state with this disk; with the snapshots as they are where no new table is given. */
async function newState(
  restructure: Restructure,
  l1: L1Table,
  size: number,
  table?: TablePlace,
): Promise<NewState> {
  releaseL1Table(restructure, restructure.header)
  const offset = await writeL1Table(restructure, l1)
  return {
    edit: view => {
      view.setU64(FIELD.size, size)
      view.setU32(FIELD.l1_size, l1.length)
      view.setU64(FIELD.l1_table_offset, offset)
      if (table === undefined) return
      view.setU32(FIELD.nb_snapshots, table.count)
      view.setU64(FIELD.snapshots_offset, table.offset)
    },
  }
}
