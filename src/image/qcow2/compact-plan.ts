import { ClusterUsage } from './cluster-usage.ts'
import { type L1Piece, type Piece, type Survey, visitEntries } from './compact-survey.ts'
import { CompressedExtents, type FreeRun, packExtents } from './compressed-extents.ts'
import { COMPRESSED, compressedDescriptor, entryOffset } from './l2-table.ts'
import { Moves } from './move-bytes.ts'
import { readPieces } from './padded-read.ts'
import { Relocation } from './relocation.ts'
import type { Restructure } from './restructure.ts'
import { hasDataFile } from './table-references.ts'

/** Past the end of the file everything is free. */
const LONGEST_RUN = 1 << 16

/** What goes where. The counts of the restructuring already are those of the new state. */
export interface CompactPlan {
  /** Bytes to copy as they are: data and compressed data. */
  readonly moves: Moves
  /** New clusters of data and of L2 tables. */
  readonly relocation: Relocation
  readonly extents: CompressedExtents
  /** Clusters of the L2 tables that are to be written anew, ascending. */
  readonly tables: Float64Array
  /** L1 tables that are to be written anew, with the first cluster of their new place. */
  readonly l1s: ReadonlyMap<L1Piece, number>
  /** First cluster of the snapshot table's new place; `undefined` when it stays. */
  readonly snapshotTable: number | undefined
  /** Clusters that get another place, tables included. */
  readonly moved: number
}

export interface PlanOptions {
  /** What lies in this cluster or above has to go. */
  readonly limit: number
  /** Tables that are written anew go to this cluster or above. */
  readonly tablesFrom: number
  /** Clusters below the limit that are to stay free, for the refcount structure. */
  readonly reserve: number
}

/** Clusters that a refcount structure takes for a dense file of so many clusters, itself included. */
export function refcountClusters(clusters: number, restructure: Restructure): number {
  const { clusterSize, refcountsPerBlock } = restructure.header.geometry
  const blocks = Math.ceil(clusters / refcountsPerBlock)
  return blocks + Math.max(1, Math.ceil((blocks * 8) / clusterSize))
}

/** Clusters of the image with nothing free between them. */
export function denseClusters(used: number, restructure: Restructure): number {
  let clusters = used
  for (let next = used + refcountClusters(used, restructure); next !== clusters; ) {
    clusters = next
    next = used + refcountClusters(clusters, restructure)
  }
  return clusters
}

/** The lowest limit for which all that lies above, and all tables that are then written anew, find room below. */
export function lowestLimit(restructure: Restructure, found: Survey): number {
  const used = new ClusterUsage(restructure.counts)
  const taken = new ClusterUsage(restructure.old)
  const pieces: readonly Piece[] = [
    ...found.l1s,
    ...(found.snapshotTable === undefined ? [] : [found.snapshotTable]),
  ]
  const fits = (limit: number): boolean => {
    let need = used.total - used.below(limit) + refcountClusters(limit, restructure)
    const free = limit - taken.below(limit)
    for (let index = 0; index < found.tables.length; index++)
      if ((found.highest[index] ?? 0) >= limit && (found.tables[index] ?? 0) < limit) need++
    for (const { first, clusters, highest } of pieces)
      if (highest >= limit && first < limit) need += Math.min(clusters, limit - first)
    return need <= free
  }
  let low = 1
  let high = restructure.old.end()
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (fits(middle)) high = middle
    else low = middle + 1
  }
  return high
}

/** Decides what moves where, and leaves out empty tables; reads tables and writes nothing. */
export async function planCompaction(
  restructure: Restructure,
  found: Survey,
  options: PlanOptions,
): Promise<CompactPlan> {
  const { header, counts } = restructure
  const { clusterSize, refcountMax } = header.geometry
  const { limit, tablesFrom } = options
  const moves = new Moves()
  let moved = 0

  const place = (piece: Piece): number => {
    const to = freeRunOf(restructure, tablesFrom, piece.clusters)
    counts.addRun(to, piece.clusters, 1)
    counts.addRun(piece.first, piece.clusters, -1)
    moved += piece.clusters
    return to
  }
  const l1s = new Map<L1Piece, number>()
  for (const l1 of found.l1s) if (l1.highest >= limit) l1s.set(l1, place(l1))
  const { snapshotTable } = found
  const snapshotTableTo =
    snapshotTable !== undefined && snapshotTable.highest >= limit ? place(snapshotTable) : undefined

  const tables = found.tables.filter(
    (cluster, index) => (found.highest[index] ?? 0) >= limit && !found.empty.has(cluster),
  )
  for (const cluster of found.empty) counts.set(cluster, 0)
  const { relocation, extents, marked } = await collect(restructure, found, limit)
  let room = freeBelow(restructure, limit) - options.reserve
  if (tablesFrom < limit) room -= tables.length
  if (extents.count > 0) {
    const { first, clusters } = firstThatFits(restructure, extents, limit, room)
    const runs = freeRuns(restructure, 1, limit)
    packExtents(extents, first, runs, { clusterSize, refcountMax }, room, (index, to) => {
      extents.place(index, to)
      moves.add(extents.offset(index), to, extents.length(index))
      count(restructure, extents.offset(index), extents.length(index), -extents.references(index))
      count(restructure, to, extents.length(index), extents.references(index))
    })
    room -= clusters
    moved += clusters
  }

  const tablePlaces = new Places(restructure, tablesFrom, Number.MAX_SAFE_INTEGER)
  const move = (from: number, to: number): void => {
    relocation.set(from, to)
    const references = counts.get(from)
    counts.set(from, 0)
    counts.set(to, references)
    moved++
  }
  for (const cluster of tables) move(cluster, tablePlaces.take(1).first)

  // What is left lowest may stay: it is in nobody's way when the file is cut above it.
  let staying = Math.max(0, marked - Math.max(0, room))
  const places = new Places(restructure, 1, limit)
  for (const run of relocation.marked()) {
    const skipped = Math.min(staying, run.count)
    staying -= skipped
    for (let done = 0; done < skipped; done++) relocation.set(run.first + done, 0)
    for (let done = skipped; done < run.count; ) {
      const to = places.take(run.count - done)
      moves.add((run.first + done) * clusterSize, to.first * clusterSize, to.count * clusterSize)
      for (let index = 0; index < to.count; index++) move(run.first + done + index, to.first + index)
      done += to.count
    }
  }
  return { moves, relocation, extents, tables, l1s, snapshotTable: snapshotTableTo, moved }
}

/** Changes the counts of all clusters that the bytes touch. */
function count(restructure: Restructure, offset: number, length: number, delta: number): void {
  const { clusterSize } = restructure.header.geometry
  const first = Math.floor(offset / clusterSize)
  restructure.counts.addRun(first, Math.floor((offset + length - 1) / clusterSize) - first + 1, delta)
}

/** Marks the data clusters from the limit on, and lists the compressed ones that touch what is there. */
async function collect(
  restructure: Restructure,
  found: Survey,
  limit: number,
): Promise<{ relocation: Relocation; extents: CompressedExtents; marked: number }> {
  const { storage, header } = restructure
  const { geometry } = header
  const { clusterBits, clusterSize } = geometry
  const relocation = new Relocation()
  const extents = new CompressedExtents()
  let marked = 0
  if (!hasDataFile(header)) {
    const indexes = [...found.tables.keys()].filter(index => (found.highest[index] ?? 0) >= limit)
    const offsets = Float64Array.from(indexes, index => (found.tables[index] ?? 0) * clusterSize)
    let next = 0
    await readPieces(storage, offsets, clusterSize, (_offset, bytes) => {
      const times = found.times[indexes[next++] ?? 0] ?? 1
      visitEntries(bytes, geometry, (_view, _at, high, low) => {
        if ((high & COMPRESSED) !== 0) {
          const { offset, length } = compressedDescriptor(clusterBits, high, low)
          if (offset + length > limit * clusterSize) extents.add(offset, length, times)
        } else {
          const cluster = entryOffset(high, low) / clusterSize
          if (cluster >= limit && relocation.mark(cluster)) marked++
        }
      })
    })
    extents.settle()
  }
  return { relocation, extents, marked }
}

/** Index of the lowest extent from which on all find room: those below stay where they are. */
function firstThatFits(
  restructure: Restructure,
  extents: CompressedExtents,
  limit: number,
  room: number,
): { readonly first: number; readonly clusters: number } {
  const { geometry } = restructure.header
  let first = 0
  for (let tries = 0; tries < 16; tries++) {
    const runs = freeRuns(restructure, 1, limit)
    const { next, clusters } = packExtents(extents, first, runs, geometry, room, () => undefined)
    if (next === extents.count) return { first, clusters }
    // As many fewer as found no room, and a few more, for how well they fit into the free runs is chance.
    first = Math.min(extents.count, first + Math.ceil((extents.count - next) * 1.05))
  }
  return { first: extents.count, clusters: 0 }
}

/** Runs of clusters that neither state uses, ascending; very long ones in several parts. */
function* freeRuns(restructure: Restructure, from: number, limit: number): Generator<FreeRun, void> {
  for (let at = restructure.nextFree(from); at < limit; ) {
    let end = at + 1
    while (end < limit && end - at < LONGEST_RUN && restructure.isFree(end)) end++
    yield { first: at, count: end - at }
    at = restructure.nextFree(end)
  }
}

function freeBelow(restructure: Restructure, limit: number): number {
  let free = 0
  for (const run of freeRuns(restructure, 1, limit)) free += run.count
  return free
}

/** First cluster of the lowest run of free ones, from `from` on, that is long enough. */
function freeRunOf(restructure: Restructure, from: number, clusters: number): number {
  let first = restructure.nextFree(from)
  for (let length = 1; length < clusters; )
    if (restructure.isFree(first + length)) length++
    else {
      first = restructure.nextFree(first + length + 1)
      length = 1
    }
  return first
}

/** Hands out free clusters, the lowest first. Their counts are the caller's to set, before the next are taken. */
class Places {
  readonly #runs: Iterator<FreeRun>
  #next = 0
  #left = 0

  constructor(restructure: Restructure, from: number, limit: number) {
    this.#runs = freeRuns(restructure, from, limit)
  }

  /** 1 to `most` clusters in a row. There must be one. */
  take(most: number): FreeRun {
    if (this.#left === 0) {
      const run = this.#runs.next()
      if (run.done === true) throw new RangeError('no free cluster is left')
      this.#next = run.value.first
      this.#left = run.value.count
    }
    const first = this.#next
    const count = Math.min(most, this.#left)
    this.#next += count
    this.#left -= count
    return { first, count }
  }
}
