import { checkBitmaps } from './compact-bitmaps.ts'
import { corrupt } from './corruption.ts'
import type { Geometry } from './geometry.ts'
import { COMPRESSED, compressedDescriptor, entryOffset } from './l2-table.ts'
import { readPieces } from './padded-read.ts'
import type { Restructure } from './restructure.ts'
import { readSnapshotTable, type Snapshot } from './snapshot-table.ts'
import { hasDataFile, readL1Table } from './table-references.ts'

/** A structure of one or more clusters in a row that refers to others. */
export interface Piece {
  /** Index of the first cluster. */
  readonly first: number
  readonly clusters: number
  /** The highest cluster among its own and those whose move changes it. */
  readonly highest: number
}

export interface L1Piece extends Piece {
  readonly l1_table_offset: number
  readonly l1_size: number
}

/** What is where, as far as moving clusters must know: nothing per data cluster, so that memory stays small. */
export interface Survey {
  /** Clusters of the L2 tables, ascending. */
  readonly tables: Float64Array
  /** By index in `tables`: how many L1 entries name the table. */
  readonly times: Uint32Array
  /** By index in `tables`: the highest cluster among its own and those that its entries name. */
  readonly highest: Float64Array
  /**
   * Clusters of L2 tables that are not needed: all reads as zeros there, as it does without them. Erasing leaves such tables.
   * With a backing file there are none: it would show.
   */
  readonly empty: ReadonlySet<number>
  /** The active one comes first. */
  readonly l1s: readonly L1Piece[]
  readonly snapshots: readonly Snapshot[]
  readonly snapshotTable: Piece | undefined
}

/** Calls `visit` for each entry of an L2 table that is not empty; `at` is its byte offset in the table. */
export function visitEntries(
  bytes: Uint8Array,
  { l2Entries, l2EntrySize }: Geometry,
  visit: (view: DataView, at: number, high: number, low: number) => void,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at < l2Entries * l2EntrySize; at += l2EntrySize) {
    const high = view.getUint32(at)
    const low = view.getUint32(at + 4)
    if (high !== 0 || low !== 0) visit(view, at, high, low)
  }
}

/**
 * Looks through all tables once. What `Restructure.of` has found sound is relied on; besides, no structure may be in use for
 * something else as well, for it moves without looking for that.
 * Errors: `ERR_CORRUPT`.
 */
export async function survey(restructure: Restructure): Promise<Survey> {
  const { storage, header, counts } = restructure
  const { clusterSize } = header.geometry
  const { snapshots, length } = await readSnapshotTable(storage, header)
  const shared = (what: string, cluster: number): Error =>
    corrupt(storage.name, `${what} (cluster ${cluster}) is in use for something else too`, { cluster })
  const own = (what: string, offset: number, bytes: number): { first: number; clusters: number } => {
    const first = offset / clusterSize
    const clusters = Math.ceil(bytes / clusterSize)
    for (let cluster = first; cluster < first + clusters; cluster++)
      if (counts.get(cluster) !== 1) throw shared(what, cluster)
    return { first, clusters }
  }
  await checkBitmaps(restructure)

  const places = [header, ...snapshots].filter(({ l1_size }) => l1_size > 0)
  const { tables, times } = await distinctTables(restructure, places)
  const { highest, empty } = await lookThrough(restructure, tables, times, shared)
  const l1s: L1Piece[] = []
  for (const { l1_table_offset, l1_size } of places) {
    const piece = own('an L1 table', l1_table_offset, l1_size * 8)
    let top = piece.first + piece.clusters - 1
    const l1 = await readL1Table(restructure, { l1_table_offset, l1_size })
    for (let index = 0; index < l1.length; index++) {
      const offset = l1.offset(index)
      if (offset === 0) continue
      // Without its empty tables, it is another table in any case.
      if (empty.has(offset / clusterSize)) top = Number.POSITIVE_INFINITY
      else top = Math.max(top, highest[indexOf(tables, offset / clusterSize)] ?? 0)
    }
    l1s.push({ ...piece, l1_table_offset, l1_size, highest: top })
  }
  let snapshotTable: Piece | undefined
  if (snapshots.length > 0) {
    const piece = own('the snapshot table', header.snapshots_offset, length)
    const inactive = l1s.slice(header.l1_size > 0 ? 1 : 0)
    const top = inactive.reduce((most, l1) => Math.max(most, l1.highest), piece.first + piece.clusters - 1)
    snapshotTable = { ...piece, highest: top }
  }
  return { tables, times, highest, empty, l1s, snapshots, snapshotTable }
}

async function distinctTables(
  restructure: Restructure,
  places: readonly { readonly l1_table_offset: number; readonly l1_size: number }[],
): Promise<{ readonly tables: Float64Array; readonly times: Uint32Array }> {
  const { clusterSize } = restructure.header.geometry
  const all = new Float64Array(places.reduce((sum, { l1_size }) => sum + l1_size, 0))
  let found = 0
  for (const place of places) {
    const l1 = await readL1Table(restructure, place)
    for (let index = 0; index < l1.length; index++)
      if (l1.offset(index) !== 0) all[found++] = l1.offset(index) / clusterSize
  }
  const sorted = all.subarray(0, found).sort()
  const times = new Uint32Array(found)
  let distinct = 0
  for (let at = 0; at < found; at++) {
    if (at === 0 || sorted[at] !== sorted[distinct - 1]) sorted[distinct++] = sorted[at] ?? 0
    times[distinct - 1] = (times[distinct - 1] ?? 0) + 1
  }
  return { tables: sorted.subarray(0, distinct), times: times.subarray(0, distinct) }
}

async function lookThrough(
  restructure: Restructure,
  tables: Float64Array,
  times: Uint32Array,
  shared: (what: string, cluster: number) => Error,
): Promise<{ readonly highest: Float64Array; readonly empty: ReadonlySet<number> }> {
  const { storage, header, counts } = restructure
  const { geometry } = header
  const { clusterBits, clusterSize } = geometry
  // A higher count is a leak as a rule. It may also be data, and then the table must not move.
  const doubtful = new Set<number>()
  for (const [index, cluster] of tables.entries())
    if (counts.get(cluster) !== times[index]) doubtful.add(cluster)
  const highest = tables.slice()
  const empty = new Set<number>()
  if (hasDataFile(header)) return { highest, empty }
  const mayDrop = doubtful.size === 0 && header.backing_file_offset === 0
  let index = 0
  await readPieces(
    storage,
    tables.map(cluster => cluster * clusterSize),
    clusterSize,
    (_offset, bytes) => {
      let top = highest[index] ?? 0
      let holds = false
      visitEntries(bytes, geometry, (_view, _at, high, low) => {
        let first: number
        let last: number
        if ((high & COMPRESSED) !== 0) {
          const { offset, length } = compressedDescriptor(clusterBits, high, low)
          first = Math.floor(offset / clusterSize)
          last = Math.floor((offset + length - 1) / clusterSize)
        } else first = last = entryOffset(high, low) / clusterSize
        if (last > top) top = last
        if (last > 0) holds = true
        if (doubtful.size > 0)
          for (let cluster = first; cluster <= last; cluster++)
            if (doubtful.has(cluster)) throw shared('an L2 table', cluster)
      })
      if (!holds && mayDrop) empty.add(tables[index] ?? 0)
      highest[index++] = top
    },
  )
  return { highest, empty }
}

/** Index of a value that is in the ascending array. */
function indexOf(sorted: Float64Array, value: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle] ?? 0) < value) low = middle + 1
    else high = middle
  }
  return low
}
