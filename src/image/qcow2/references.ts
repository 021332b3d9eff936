import type { Storage } from '../../device/storage.ts'
import { bitmapClusters, readBitmapDirectory } from './bitmap-directory.ts'
import { ClusterCounts } from './cluster-counts.ts'
import { unsupported } from './corruption.ts'
import type { Geometry } from './geometry.ts'
import { type Header, INCOMPATIBLE } from './header.ts'
import { compressedDescriptor, entryOffset, L1_RESERVED_HIGH, L1_RESERVED_LOW, L1Table } from './l2-table.ts'
import { readPadded, readPieces } from './padded-read.ts'
import { type EntryFault, isPlaced, type L2Sink, scanL2 } from './references-l2.ts'
import { readSnapshotTable } from './snapshot-table.ts'

/** Bounds of what is read to count: hostile sparse files claim more metadata than any image has. */
const MAX_L1_TOTAL = 1 << 30
const MAX_L2_TOTAL = 2 ** 32

/** Told of each place where the tables are wrong in themselves; the words are made when they are asked for. */
export type ReportProblem = (what: () => string) => void

/** Sees each L2 table that is counted, in ascending order of their offsets; the calls after `table` are about its entries. */
export interface TableObserver extends L2Sink {
  /** How often the active L1 table and those of the snapshots name it. */
  table(offset: number, active: number, inactive: number): void
  /** An entry has a fault. @returns true where that is seen to: it is no problem, and the entry takes no cluster by it. */
  mends?(index: number, fault: EntryFault): boolean
  /** An entry of an L1 table has reserved bits set. @returns true where that is seen to, and no problem. */
  mendsL1?(): boolean
}

const FAULTS: Readonly<Record<EntryFault, string>> = {
  'reserved bits': 'has reserved bits set',
  'copied compressed': 'is compressed and marked as copied',
  'compressed data file': 'is compressed, in an image with an external data file',
  'compressed bitmap': 'is compressed and has a subcluster bitmap',
  bitmap: 'calls the same subcluster allocated and zero',
  'bitmap without cluster': 'calls a subcluster allocated and has no cluster',
  misaligned: 'points at a byte that is no cluster boundary',
  'misaligned zero': 'has a preallocated cluster that is on no cluster boundary',
}

/**
 * Counts what the image's own tables reference: the header, the active L1 table and those of the snapshots, L2 tables,
 * data and compressed clusters, the refcount structure, the snapshot table, and the bitmaps. The counting goes on past
 * problems, which `problem` hears of (it may throw).
 * @param refcountTable as the file has it; left out, the refcount structure is not counted.
 */
export async function countReferences(
  storage: Storage,
  header: Header,
  refcountTable: readonly number[] | undefined,
  problem: ReportProblem,
  observer?: TableObserver,
): Promise<ClusterCounts> {
  const counter = new ReferenceCounter(storage, header, problem, observer)
  counter.run(0, 1, 1, 'header')
  await counter.tables()
  await counter.bitmaps()
  if (refcountTable !== undefined) counter.refcounts(refcountTable)
  return counter.counts
}

class ReferenceCounter implements L2Sink {
  readonly counts: ClusterCounts
  readonly #storage: Storage
  readonly #header: Header
  readonly #geometry: Geometry
  readonly #problem: ReportProblem
  readonly #observer: TableObserver | undefined
  readonly #dataFile: boolean
  /** The L2 table at hand: its host offset, how often it is named, and whether the observer wants to hear of it. */
  #table = 0
  #times = 1
  /** Clusters of the file; the last may be there in part. */
  readonly #fileClusters: number

  constructor(storage: Storage, header: Header, problem: ReportProblem, observer: TableObserver | undefined) {
    this.#storage = storage
    this.#header = header
    this.#geometry = header.geometry
    this.#problem = problem
    this.#observer = observer
    this.#dataFile = (header.incompatible_features & INCOMPATIBLE.dataFile) !== 0n
    this.#fileClusters = Math.ceil(storage.size / header.geometry.clusterSize)
    this.counts = new ClusterCounts(storage.name)
  }

  /** Counts the clusters that a run of bytes touches. As with qemu, it may exceed the file by less than a cluster. */
  run(offset: number, length: number, times: number, what: string | (() => string)): void {
    if (length === 0) return
    const size = this.#geometry.clusterSize
    const first = Math.floor(offset / size)
    const last = Math.floor((offset + length - 1) / size)
    if (offset + length - this.#storage.size >= size) {
      this.#problem(
        () =>
          `${textOf(what)} (${length} bytes at ${offset}) lies outside the file of ${this.#storage.size} bytes`,
      )
      return
    }
    if (first === last) this.counts.add(first, times)
    else this.counts.addRun(first, last - first + 1, times)
  }

  /** Counts one cluster at an offset that must be a cluster boundary. */
  aligned(offset: number, times: number, what: string): boolean {
    const cluster = offset / this.#geometry.clusterSize
    if (!Number.isInteger(cluster)) {
      this.#problem(() => `${what} at byte ${offset} is not on a cluster boundary`)
      return false
    }
    if (cluster >= this.#fileClusters) {
      this.#problem(() => `${what} at byte ${offset} lies outside the file of ${this.#storage.size} bytes`)
      return false
    }
    this.counts.add(cluster, times)
    return true
  }

  /** An L2 table. Whoever follows a misplaced reference meets what lies there, so that counts as well. */
  #l2Table(offset: number, times: number): void {
    if (offset % this.#geometry.clusterSize === 0) {
      this.aligned(offset, times, 'L2 table')
      return
    }
    this.#problem(() => `L2 table at byte ${offset} is not on a cluster boundary`)
    this.run(offset, this.#geometry.clusterSize, times, 'L2 table')
  }

  async tables(): Promise<void> {
    const header = this.#header
    const { snapshots, length } = await readSnapshotTable(this.#storage, header)
    this.run(header.snapshots_offset, length, 1, 'snapshot table')
    const l1s = [header, ...snapshots]
    const total = l1s.reduce((sum, { l1_size }) => sum + l1_size * 8, 0)
    if (total > Math.min(MAX_L1_TOTAL, this.#storage.size + l1s.length * this.#geometry.clusterSize))
      throw unsupported(
        this.#storage.name,
        `L1 tables of ${total} bytes together are more than the file can hold`,
      )
    const active = new Float64Array(header.l1_size)
    const inactive = new Float64Array(total / 8 - header.l1_size)
    const activeFound = await this.#l1Entries(header, 'the active L1 table', active, 0)
    let found = 0
    for (const [index, snapshot] of snapshots.entries())
      found = await this.#l1Entries(snapshot, `L1 table of snapshot ${index + 1}`, inactive, found)
    await this.#l2Tables(active.subarray(0, activeFound).sort(), inactive.subarray(0, found).sort())
  }

  /** Notes the L2 tables that an L1 table names in `offsets`, from index `found`. @returns the index after the last. */
  async #l1Entries(
    { l1_table_offset, l1_size }: { readonly l1_table_offset: number; readonly l1_size: number },
    what: string,
    offsets: Float64Array,
    found: number,
  ): Promise<number> {
    if (l1_size === 0) return found
    this.run(l1_table_offset, l1_size * 8, 1, what)
    const bytes = new Uint8Array(l1_size * 8)
    await readPadded(this.#storage, l1_table_offset, bytes)
    const l1 = new L1Table(bytes)
    let next = found
    for (let entry = 0; entry < l1_size; entry++) {
      const high = l1.high(entry)
      const low = l1.low(entry)
      if (high === 0 && low === 0) continue
      const reserved = (high & L1_RESERVED_HIGH) !== 0 || (low & L1_RESERVED_LOW) !== 0
      if (reserved && this.#observer?.mendsL1?.() !== true)
        this.#problem(() => `${what}: entry ${entry} has reserved bits set`)
      const offset = l1.offset(entry)
      if (offset !== 0) offsets[next++] = offset
      else this.#problem(() => `${what}: entry ${entry} is not empty and names no table`)
    }
    return next
  }

  /** Each distinct L2 table is read once; a table that n L1 tables share counts each of its clusters n times. */
  async #l2Tables(active: Float64Array, inactive: Float64Array): Promise<void> {
    const offsets: number[] = []
    const times: number[] = []
    for (let a = 0, i = 0; a < active.length || i < inactive.length; ) {
      const offset = Math.min(active[a] ?? Number.POSITIVE_INFINITY, inactive[i] ?? Number.POSITIVE_INFINITY)
      const [firstActive, firstInactive] = [a, i]
      while (a < active.length && active[a] === offset) a++
      while (i < inactive.length && inactive[i] === offset) i++
      this.#l2Table(offset, a - firstActive + i - firstInactive)
      if (offset >= this.#storage.size) continue
      offsets.push(offset)
      times.push(a - firstActive, i - firstInactive)
    }
    if (offsets.length * this.#geometry.clusterSize > MAX_L2_TOTAL)
      throw unsupported(this.#storage.name, `${offsets.length} L2 tables are more than drydisk counts`)
    let index = 0
    await readPieces(this.#storage, offsets, this.#geometry.clusterSize, (offset, bytes) => {
      const inActive = times[index++] ?? 0
      const inSnapshots = times[index++] ?? 0
      this.#table = offset
      this.#times = inActive + inSnapshots
      this.#observer?.table(offset, inActive, inSnapshots)
      scanL2(bytes, this.#geometry, this.#dataFile, this)
    })
  }

  clusters(index: number, host: number, count: number, copied: boolean): void {
    this.#observer?.clusters(index, host, count, copied)
    // The data file's clusters are not counted.
    if (this.#dataFile) return
    const first = host / this.#geometry.clusterSize
    const inside = Math.max(0, Math.min(count, this.#fileClusters - first))
    this.counts.addRun(first, inside, this.#times)
    for (let at = inside; at < count; at++)
      this.aligned(
        host + at * this.#geometry.clusterSize,
        this.#times,
        `data cluster (L2 entry ${index + at} at ${this.#table})`,
      )
  }

  compressed(index: number, high: number, low: number): void {
    this.#observer?.compressed(index, high, low)
    const { offset, length } = compressedDescriptor(this.#geometry.clusterBits, high, low)
    const table = this.#table
    this.run(offset, length, this.#times, () => `compressed cluster (L2 entry ${index} at ${table})`)
  }

  fault(index: number, fault: EntryFault, high: number, low: number): void {
    if (this.#observer?.mends?.(index, fault) === true) return
    this.#observer?.fault(index, fault, high, low)
    const table = this.#table
    this.#problem(() => `L2 entry ${index} at ${table} ${FAULTS[fault]}`)
    // Whoever follows the reference meets what lies there.
    if (isPlaced(fault) && !this.#dataFile)
      this.run(
        entryOffset(high, low),
        this.#geometry.clusterSize,
        this.#times,
        () => `data cluster (L2 entry ${index} at ${table})`,
      )
  }

  /** A refcount block must belong to nothing else, however right its refcount may be: it is written in place. */
  refcounts(refcountTable: readonly number[]): void {
    const { refcount_table_offset, refcount_table_clusters } = this.#header
    // A reference beyond what the width can say is a problem of its own.
    const { clusterSize, refcountMax } = this.#geometry
    this.run(refcount_table_offset, refcount_table_clusters * clusterSize, 1, 'refcount table')
    for (const [index, offset] of refcountTable.entries())
      if (
        offset !== 0 &&
        this.aligned(offset, 1, `refcount block ${index}`) &&
        Math.min(this.counts.get(offset / clusterSize), refcountMax) > 1
      )
        this.#problem(() => `refcount block ${index} at byte ${offset} is in use for something else too`)
  }

  async bitmaps(): Promise<void> {
    const directory = await readBitmapDirectory(this.#storage, this.#header)
    if (directory === undefined) return
    this.run(directory.offset, directory.length, 1, 'bitmap directory')
    const entries = directory.bitmaps.reduce((sum, { bitmap_table_size }) => sum + bitmap_table_size, 0)
    if (entries * 8 > this.#storage.size + directory.bitmaps.length * this.#geometry.clusterSize) {
      this.#problem(() => `bitmap tables of ${entries} entries together are more than the file can hold`)
      return
    }
    for (const bitmap of directory.bitmaps) {
      this.run(
        bitmap.bitmap_table_offset,
        bitmap.bitmap_table_size * 8,
        1,
        `table of bitmap "${bitmap.name}"`,
      )
      const table = new Uint8Array(bitmap.bitmap_table_size * 8)
      await readPadded(this.#storage, bitmap.bitmap_table_offset, table)
      for (const offset of bitmapClusters(table))
        if (offset !== 0) this.aligned(offset, 1, `data of bitmap "${bitmap.name}"`)
    }
  }
}

function textOf(what: string | (() => string)): string {
  return typeof what === 'string' ? what : what()
}
