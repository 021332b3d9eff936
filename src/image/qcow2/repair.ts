import { bigEndian } from '../../bytes/byte-view.ts'
import type { Storage } from '../../device/storage.ts'
import { type CheckResult, checkImage } from './check.ts'
import type { ClusterCounts } from './cluster-counts.ts'
import { unsupported } from './corruption.ts'
import { FIELD, type Header, INCOMPATIBLE } from './header.ts'
import { COMPRESSED, COPIED, entryOffset, type L1Table } from './l2-table.ts'
import { readHeader } from './qcow2-image.ts'
import { readRefcountTable } from './refcount-table.ts'
import { countReferences } from './references.ts'
import { Damage, mendEntries, type NamedTable } from './repair-damage.ts'
import { Restructure } from './restructure.ts'
import { readSnapshotTable, serializeSnapshotTable, withL1Table } from './snapshot-table.ts'
import { stoppable } from './stoppable-storage.ts'
import { hasDataFile, readL1Table, releaseL1Table, rewriteTables, writeL1Table } from './table-references.ts'

/** `leaks`: gives clusters back that nothing uses. `all`: puts everything right that the tables tell how to. */
export type RepairMode = 'leaks' | 'all'

/** What is left after a repair, and what is not. */
export interface RepairResult extends CheckResult {
  readonly corruptionsFixed: number
  readonly leaksFixed: number
}

/**
 * Checks an image and repairs what it finds. Refcounts and OFLAG_COPIED are made anew from what the tables reference, in new
 * clusters, and one write of the header's sector switches to them: a crash leaves the image as it was, or repaired. Metadata that
 * lies in clusters which something else uses too moves to clusters of its own. The disk's content stays as it reads.
 *
 * With `leaks`, an image that has corruptions is left alone: what seems to be a leak may be what a damaged entry pointed at.
 *
 * Errors: `ERR_CORRUPT` where an entry's target is lost, or a structure cannot be read: nothing is changed then;
 * `ERR_UNSUPPORTED` where refcounts are too narrow for what they have to count; `ERR_ABORTED`, with the image as it was.
 * @param storage the image's own file, with nobody else writing to it.
 */
export async function repairImage(
  storage: Storage,
  mode: RepairMode,
  signal?: AbortSignal,
): Promise<RepairResult> {
  const { header } = await readHeader(storage)
  const before = await checkImage(stoppable(storage, signal), header)
  if (mode === 'leaks' && before.corruptions > 0) return { ...before, corruptionsFixed: 0, leaksFixed: 0 }
  let after = before
  if (before.corruptions > 0 || before.leaks > 0) {
    await mend(storage, header, signal)
    after = await checkImage(storage, (await readHeader(storage)).header)
  }
  if (after.corruptions === 0) await clearFlags(storage)
  return {
    ...after,
    corruptionsFixed: Math.max(0, before.corruptions - after.corruptions),
    leaksFixed: Math.max(0, before.leaks - after.leaks),
  }
}

async function mend(storage: Storage, header: Header, signal: AbortSignal | undefined): Promise<void> {
  const damage = new Damage(storage.name)
  const counts = await countReferences(stoppable(storage, signal), header, undefined, damage.problem, damage)
  damage.refuseLosses()
  const old = counts.clone()
  await addStructure(old, storage, header)
  const { sector } = await readHeader(storage)
  const restructure = new Restructure(storage, header, sector, old, counts, signal)
  try {
    const moved = await mendTables(restructure, damage)
    const l1 = await mendActiveL1(restructure, moved)
    const snapshots = await mendSnapshots(restructure, damage, moved)
    await restructure.publish(view => {
      view.setU64(FIELD.l1_table_offset, l1)
      view.setU64(FIELD.snapshots_offset, snapshots)
    })
  } catch (error) {
    await restructure.abandon()
    throw error
  }
}

/** Counts what of the refcount structure lies in the file, however damaged: nothing of the old state is to be written over. */
async function addStructure(counts: ClusterCounts, storage: Storage, header: Header): Promise<void> {
  const { clusterSize } = header.geometry
  const blocks = await readRefcountTable(storage, header)
  const add = (offset: number, length: number): void => {
    const end = Math.min(offset + length, storage.size)
    for (let at = Math.floor(offset / clusterSize); at * clusterSize < end; at++) counts.add(at, 1)
  }
  add(header.refcount_table_offset, header.refcount_table_clusters * clusterSize)
  for (const offset of blocks) if (offset !== 0) add(offset, clusterSize)
}

/** Where L2 tables went: for every L1 table that names them, or for the active one alone. */
interface MovedTables {
  readonly all: ReadonlyMap<number, number>
  readonly active: ReadonlyMap<number, number>
}

async function mendTables(restructure: Restructure, damage: Damage): Promise<MovedTables> {
  const { header, counts } = restructure
  const { geometry } = header
  const { clusterSize } = geometry
  // The active L1 table is made anew, and what shares a cluster with something else moves: that may leave the other alone
  // with it, which OFLAG_COPIED has to tell.
  releaseL1Table(restructure, header)
  const tables = new Map<number, NamedTable>()
  const crowded = new Set<number>()
  for (const table of damage.tables) {
    tables.set(table.offset, table)
    const times = table.active + table.inactive
    if (counts.get(table.offset / clusterSize) <= times) continue
    crowded.add(table.offset)
    counts.add(table.offset / clusterSize, -times)
  }
  refuseOverflow(restructure)
  const moved = { all: new Map<number, number>(), active: new Map<number, number>() }
  let forAll = false
  await rewriteTables(
    restructure,
    Float64Array.from(tables.keys()),
    (bytes, offset) => {
      const faults = damage.entries.get(offset)
      if (faults !== undefined) mendEntries(bytes, geometry, faults)
      const active = (tables.get(offset)?.active ?? 0) > 0
      const copied = active && setCopied(bytes, header, counts)
      forAll = faults !== undefined || crowded.has(offset)
      return forAll || copied
    },
    (from, to) => {
      const { active = 0, inactive = 0 } = tables.get(from) ?? {}
      const times = forAll ? active + inactive : active
      if (forAll) moved.all.set(from, to)
      else moved.active.set(from, to)
      counts.set(to / clusterSize, times)
      if (!crowded.has(from)) counts.add(from / clusterSize, -times)
    },
  )
  return moved
}

/** Entries that came to name the same cluster may be more than narrow refcounts can say; better told before anything is written. */
function refuseOverflow({ storage, header, counts }: Restructure): void {
  const largest = counts.largest()
  const { refcountBits, refcountMax } = header.geometry
  if (largest > refcountMax)
    throw unsupported(
      storage.name,
      `a cluster is in use ${largest} times, and refcounts of ${refcountBits} bits count to ${refcountMax}; nothing was changed. ` +
        'Copy the disk to a new image',
      { refcountBits, largest },
    )
}

/** Makes OFLAG_COPIED of the entries say what the counts say. @returns whether it did not before. */
function setCopied(bytes: Uint8Array, header: Header, counts: ClusterCounts): boolean {
  const { clusterSize, l2Entries, l2EntrySize } = header.geometry
  const dataFile = hasDataFile(header)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let changed = false
  for (let at = 0; at < l2Entries * l2EntrySize; at += l2EntrySize) {
    const high = view.getUint32(at)
    const low = view.getUint32(at + 4)
    if ((high === 0 && low === 0) || (high & COMPRESSED) !== 0) continue
    const host = entryOffset(high, low)
    if (host === 0) continue
    // Clusters of a data file belong to this image alone.
    const wanted =
      dataFile || counts.get(host / clusterSize) === 1 ? (high | COPIED) >>> 0 : (high & ~COPIED) >>> 0
    if (wanted === high) continue
    view.setUint32(at, wanted)
    changed = true
  }
  return changed
}

/** Writes the active L1 table anew. @returns its byte offset. */
async function mendActiveL1(restructure: Restructure, moved: MovedTables): Promise<number> {
  const { header, counts } = restructure
  const l1 = await readL1Table(restructure, header)
  for (let index = 0; index < l1.length; index++) {
    const offset = l1.offset(index)
    if (offset === 0) continue
    const place = moved.all.get(offset) ?? moved.active.get(offset) ?? offset
    l1.set(index, place, counts.get(place / header.geometry.clusterSize) === 1)
  }
  return writeL1Table(restructure, l1)
}

/** Has the snapshots' L1 tables follow where L2 tables went. @returns byte offset of the snapshot table. */
async function mendSnapshots(restructure: Restructure, damage: Damage, moved: MovedTables): Promise<number> {
  const { storage, header, counts } = restructure
  const { clusterSize } = header.geometry
  if (header.nb_snapshots === 0 || (moved.all.size === 0 && !damage.l1Reserved))
    return header.snapshots_offset
  const { snapshots, length } = await readSnapshotTable(storage, header)
  const entries: Uint8Array[] = []
  for (const snapshot of snapshots) {
    const l1 = await readL1Table(restructure, snapshot)
    if (!follow(l1, moved.all, damage.l1Reserved)) {
      entries.push(snapshot.entry)
      continue
    }
    const place = await writeL1Table(restructure, l1)
    releaseL1Table(restructure, snapshot)
    entries.push(withL1Table(snapshot.entry, place))
  }
  const table = serializeSnapshotTable(entries)
  const clusters = Math.ceil(table.length / clusterSize)
  const place = restructure.allocate(clusters) * clusterSize
  const bytes = new Uint8Array(clusters * clusterSize)
  bytes.set(table)
  await storage.write(place, bytes)
  counts.addRun(header.snapshots_offset / clusterSize, Math.ceil(length / clusterSize), -1)
  return place
}

/** Changes the entries of an inactive L1 table; its flags mean nothing and stay. @returns whether there was something to change. */
function follow(l1: L1Table, moved: ReadonlyMap<number, number>, reserved: boolean): boolean {
  let changed = false
  for (let index = 0; index < l1.length; index++) {
    const offset = l1.offset(index)
    const place = moved.get(offset) ?? offset
    if (offset === 0 || (place === offset && !reserved)) continue
    l1.set(index, place, (l1.high(index) & COPIED) !== 0)
    changed = true
  }
  return changed
}

/** The image is right: what says otherwise in its header goes, in one write. */
async function clearFlags(storage: Storage): Promise<void> {
  const { header, sector } = await readHeader(storage)
  const wrong = INCOMPATIBLE.dirty | INCOMPATIBLE.corrupt
  if ((header.incompatible_features & wrong) === 0n) return
  const view = bigEndian(sector, 'header')
  view.setBig(FIELD.incompatible_features, header.incompatible_features & ~wrong)
  await storage.write(0, sector)
  await storage.flush()
}
