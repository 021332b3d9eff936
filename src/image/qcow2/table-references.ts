import type { ByteView } from '../../bytes/byte-view.ts'
import { isDrydiskError } from '../../errors.ts'
import type { ClusterCounts } from './cluster-counts.ts'
import type { Geometry } from './geometry.ts'
import { type Header, INCOMPATIBLE } from './header.ts'
import { COMPRESSED, COPIED, compressedDescriptor, entryOffset, L1Table } from './l2-table.ts'
import { readPadded, readPieces } from './padded-read.ts'
import { failed, type Restructure } from './restructure.ts'

/** Bytes of L2 tables in memory at a time. */
const BATCH = 4 << 20

/** What a change of the structure comes to: how the header's sector is edited for the new state, once all else of it is written. */
export interface NewState {
  readonly edit: (header: ByteView) => void
  /** As they are when left out. */
  readonly refcountBits?: number
}

export interface Switching {
  /** Called before the change counts; where it throws, nothing has changed. */
  readonly beforeSwitch?: () => Promise<void>
  /** Aborted: `ERR_ABORTED`, unless the change counts already. */
  readonly signal?: AbortSignal
}

/** Has `prepare` write a new state and switches to it. Where that fails, what was written is cut off again. */
export async function changeStructure(
  restructure: Restructure,
  prepare: () => Promise<NewState>,
  { beforeSwitch }: Switching = {},
): Promise<void> {
  let state: NewState
  try {
    state = await prepare()
    await beforeSwitch?.()
  } catch (error) {
    await restructure.abandon()
    throw isDrydiskError(error, 'ENOSPC', 'EIO') ? failed(error, 'the image is as before', false) : error
  }
  await restructure.publish(state.edit, state.refcountBits)
}

/** An L1 table as the file has it. `Restructure.of` has seen to it that it lies in the file and that its entries are sound. */
export async function readL1Table(
  restructure: Restructure,
  place: { readonly l1_table_offset: number; readonly l1_size: number },
): Promise<L1Table> {
  const bytes = new Uint8Array(place.l1_size * 8)
  await readPadded(restructure.storage, place.l1_table_offset, bytes)
  return new L1Table(bytes)
}

/** Writes an L1 table to clusters of its own. @returns its byte offset in the file; 0 for one without entries. */
export async function writeL1Table(restructure: Restructure, l1: L1Table): Promise<number> {
  if (l1.length === 0) return 0
  const { clusterSize } = restructure.header.geometry
  const count = Math.ceil(l1.bytes.length / clusterSize)
  const bytes = new Uint8Array(count * clusterSize)
  bytes.set(l1.bytes)
  const offset = restructure.allocate(count) * clusterSize
  await restructure.storage.write(offset, bytes)
  return offset
}

/** Gives back the clusters of an L1 table, not what it refers to. */
export function releaseL1Table(
  restructure: Restructure,
  { l1_table_offset, l1_size }: { readonly l1_table_offset: number; readonly l1_size: number },
): void {
  const { clusterSize } = restructure.header.geometry
  if (l1_size > 0)
    restructure.counts.addRun(l1_table_offset / clusterSize, Math.ceil((l1_size * 8) / clusterSize), -1)
}

/** L2 tables by byte offset in the file, ascending, and how many entries of the L1 tables name each. */
export function tablesOf(l1s: readonly L1Table[]): {
  readonly offsets: Float64Array
  readonly times: ReadonlyMap<number, number>
} {
  const times = new Map<number, number>()
  for (const l1 of l1s)
    for (let index = 0; index < l1.length; index++) {
      const offset = l1.offset(index)
      if (offset !== 0) times.set(offset, (times.get(offset) ?? 0) + 1)
    }
  return { offsets: Float64Array.from(times.keys()).sort(), times }
}

/** Counts the references of one L2 entry: one cluster, or all that compressed data touches. Not for an image with a data file. */
export function countEntry(
  counts: ClusterCounts,
  geometry: Geometry,
  high: number,
  low: number,
  delta: number,
): void {
  const { clusterBits, clusterSize } = geometry
  if ((high & COMPRESSED) !== 0) {
    const { offset, length } = compressedDescriptor(clusterBits, high, low)
    const first = Math.floor(offset / clusterSize)
    counts.addRun(first, Math.floor((offset + length - 1) / clusterSize) - first + 1, delta)
    return
  }
  const host = entryOffset(high, low)
  if (host !== 0) counts.add(host / clusterSize, delta)
}

export function hasDataFile(header: Header): boolean {
  return (header.incompatible_features & INCOMPATIBLE.dataFile) !== 0n
}

/** Adds (or with -1 takes away) one reference to all that an L1 table reaches: L2 tables and what their entries name. */
export async function countReached(restructure: Restructure, l1: L1Table, delta: 1 | -1): Promise<void> {
  const { storage, header, counts } = restructure
  const { geometry } = header
  const { clusterSize, l2Entries, l2EntrySize } = geometry
  const { offsets, times } = tablesOf([l1])
  await readPieces(storage, offsets, clusterSize, (offset, bytes) => {
    const change = (times.get(offset) ?? 0) * delta
    counts.add(offset / clusterSize, change)
    if (hasDataFile(header)) return
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let at = 0; at < l2Entries * l2EntrySize; at += l2EntrySize) {
      const high = view.getUint32(at)
      const low = view.getUint32(at + 4)
      if (high !== 0 || low !== 0) countEntry(counts, geometry, high, low, change)
    }
  })
}

/**
 * Has `change` edit L2 tables; those that it changed go to clusters of their own.
 * @param offsets of the tables, ascending.
 * @param change edits the bytes, which are its to keep; true when it changed them. It may allocate clusters.
 * @param moved told of each changed table's old and new byte offset. The new cluster's refcount is 1 then.
 */
export async function rewriteTables(
  restructure: Restructure,
  offsets: Float64Array,
  change: (bytes: Uint8Array, offset: number) => boolean | Promise<boolean>,
  moved: (from: number, to: number) => void,
): Promise<void> {
  const { storage, header } = restructure
  const { clusterSize } = header.geometry
  const atOnce = Math.max(1, Math.floor(BATCH / clusterSize))
  for (let first = 0; first < offsets.length; first += atOnce) {
    const batch: { readonly offset: number; readonly bytes: Uint8Array }[] = []
    await readPieces(storage, offsets.subarray(first, first + atOnce), clusterSize, (offset, bytes) => {
      batch.push({ offset, bytes: bytes.slice() })
    })
    let run: Uint8Array[] = []
    let start = 0
    const write = async (): Promise<void> => {
      const bytes = new Uint8Array(run.length * clusterSize)
      for (const [index, table] of run.entries()) bytes.set(table, index * clusterSize)
      if (bytes.length > 0) await storage.write(start * clusterSize, bytes)
      run = []
    }
    for (const { offset, bytes } of batch) {
      if (!(await change(bytes, offset))) continue
      const cluster = restructure.allocate()
      if (cluster !== start + run.length) {
        await write()
        start = cluster
      }
      run.push(bytes)
      moved(offset, cluster * clusterSize)
    }
    await write()
  }
}

/**
 * Makes OFLAG_COPIED say what the new refcounts say, in L1 tables (which are changed here) and their L2 tables (which go to
 * new clusters where they change).
 * @param l1s the active L1 table, and with it those that are to go on sharing its L2 tables.
 */
export async function fixCopied(restructure: Restructure, l1s: readonly L1Table[]): Promise<void> {
  const { header, counts } = restructure
  const { geometry } = header
  const { clusterSize } = geometry
  const { offsets, times } = tablesOf(l1s)
  const places = new Map<number, number>()
  await rewriteTables(
    restructure,
    offsets,
    bytes => !hasDataFile(header) && setCopied(bytes, geometry, counts),
    (from, to) => {
      places.set(from, to)
      // Another snapshot that has the table too keeps the old one; inactive tables' flags mean nothing.
      const references = times.get(from) ?? 1
      counts.set(to / clusterSize, references)
      counts.add(from / clusterSize, -references)
    },
  )
  for (const l1 of l1s)
    for (let index = 0; index < l1.length; index++) {
      const offset = l1.offset(index)
      if (offset === 0) continue
      const place = places.get(offset) ?? offset
      l1.set(index, place, counts.get(place / clusterSize) === 1)
    }
}

function setCopied(bytes: Uint8Array, geometry: Geometry, counts: ClusterCounts): boolean {
  const { clusterSize, l2Entries, l2EntrySize } = geometry
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let changed = false
  for (let at = 0; at < l2Entries * l2EntrySize; at += l2EntrySize) {
    const high = view.getUint32(at)
    if ((high & COMPRESSED) !== 0) continue
    const host = entryOffset(high, view.getUint32(at + 4))
    if (host === 0) continue
    const wanted = counts.get(host / clusterSize) === 1 ? (high | COPIED) >>> 0 : (high & ~COPIED) >>> 0
    if (wanted === high) continue
    view.setUint32(at, wanted)
    changed = true
  }
  return changed
}
