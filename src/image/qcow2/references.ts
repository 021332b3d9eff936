import type { Storage } from '../../device/storage.ts'
import { bitmapClusters, readBitmapDirectory } from './bitmap-directory.ts'
import { ClusterCounts } from './cluster-counts.ts'
import { unsupported } from './corruption.ts'
import { type Geometry, TWO_32 } from './geometry.ts'
import { type Header, INCOMPATIBLE } from './header.ts'
import {
  COMPRESSED,
  compressedDescriptor,
  L1_RESERVED_HIGH,
  L1_RESERVED_LOW,
  L1Table,
  OFFSET_HIGH,
  OFFSET_LOW,
  RESERVED_HIGH,
  RESERVED_LOW,
} from './l2-table.ts'
import { readPadded, readPieces } from './padded-read.ts'
import { readSnapshotTable } from './snapshot-table.ts'

/** Bounds of what is read to count: hostile sparse files claim more metadata than any image has. */
const MAX_L1_TOTAL = 1 << 30
const MAX_L2_TOTAL = 2 ** 32

/** Told of each place where the tables are wrong in themselves. */
export type ReportProblem = (what: string) => void

/**
 * Counts what the image's own tables reference: the header, the active L1 table and those of the snapshots, L2 tables,
 * data and compressed clusters, the refcount structure, the snapshot table, and the bitmaps. The counting goes on past
 * problems, which `problem` hears of (it may throw).
 */
export async function countReferences(
  storage: Storage,
  header: Header,
  refcountTable: readonly number[],
  problem: ReportProblem,
): Promise<ClusterCounts> {
  const counter = new ReferenceCounter(storage, header, problem)
  counter.run(0, 1, 1, 'header')
  counter.run(
    header.refcount_table_offset,
    header.refcount_table_clusters * header.geometry.clusterSize,
    1,
    'refcount table',
  )
  for (const [index, offset] of refcountTable.entries())
    if (offset !== 0) counter.aligned(offset, 1, `refcount block ${index}`)
  await counter.tables()
  await counter.bitmaps()
  counter.checkOwn(refcountTable)
  return counter.counts
}

class ReferenceCounter {
  readonly counts: ClusterCounts
  readonly #storage: Storage
  readonly #header: Header
  readonly #geometry: Geometry
  readonly #problem: ReportProblem
  /** Clusters that may be referenced: qemu takes references that exceed the file by less than a cluster. */
  readonly #fileClusters: number

  constructor(storage: Storage, header: Header, problem: ReportProblem) {
    this.#storage = storage
    this.#header = header
    this.#geometry = header.geometry
    this.#problem = problem
    this.#fileClusters = Math.ceil(storage.size / header.geometry.clusterSize) + 1
    this.counts = new ClusterCounts(storage.name)
  }

  /** Counts the clusters that a run of bytes touches. */
  run(offset: number, length: number, times: number, what: string): void {
    if (length === 0) return
    const size = this.#geometry.clusterSize
    const first = Math.floor(offset / size)
    const last = Math.floor((offset + length - 1) / size)
    if (last >= this.#fileClusters || offset + length - this.#storage.size > size) {
      this.#problem(
        `${what} (${length} bytes at ${offset}) lies outside the file of ${this.#storage.size} bytes`,
      )
      return
    }
    for (let cluster = first; cluster <= last; cluster++) this.counts.add(cluster, times)
  }

  /** Counts one cluster at an offset that must be a cluster boundary. */
  aligned(offset: number, times: number, what: string): boolean {
    const cluster = offset / this.#geometry.clusterSize
    if (!Number.isInteger(cluster)) {
      this.#problem(`${what} at byte ${offset} is not on a cluster boundary`)
      return false
    }
    if (cluster >= this.#fileClusters) {
      this.#problem(`${what} at byte ${offset} lies outside the file of ${this.#storage.size} bytes`)
      return false
    }
    this.counts.add(cluster, times)
    return true
  }

  /** Like `aligned`, and what a misplaced cluster touches counts as well: whoever follows the reference meets it. */
  #touched(offset: number, times: number, what: string): boolean {
    if (offset % this.#geometry.clusterSize === 0) return this.aligned(offset, times, what)
    this.#problem(`${what} at byte ${offset} is not on a cluster boundary`)
    this.run(offset, this.#geometry.clusterSize, times, what)
    return false
  }

  async tables(): Promise<void> {
    const header = this.#header
    const { snapshots, length } = await readSnapshotTable(this.#storage, header)
    this.run(header.snapshots_offset, length, 1, 'snapshot table')
    const l1s = [header, ...snapshots].filter(({ l1_size }) => l1_size > 0)
    const total = l1s.reduce((sum, { l1_size }) => sum + l1_size * 8, 0)
    if (total > Math.min(MAX_L1_TOTAL, this.#storage.size + l1s.length * this.#geometry.clusterSize))
      throw unsupported(
        this.#storage.name,
        `L1 tables of ${total} bytes together are more than the file can hold`,
      )
    let offsets = new Float64Array(total / 8)
    let found = 0
    for (const [index, { l1_table_offset, l1_size }] of l1s.entries()) {
      const what = index === 0 && header.l1_size > 0 ? 'the active L1 table' : `L1 table of snapshot ${index}`
      this.run(l1_table_offset, l1_size * 8, 1, what)
      const bytes = new Uint8Array(l1_size * 8)
      await readPadded(this.#storage, l1_table_offset, bytes)
      const l1 = new L1Table(bytes)
      for (let entry = 0; entry < l1_size; entry++) {
        const high = l1.high(entry)
        const low = l1.low(entry)
        if (high === 0 && low === 0) continue
        if ((high & L1_RESERVED_HIGH) !== 0 || (low & L1_RESERVED_LOW) !== 0)
          this.#problem(`${what}: entry ${entry} has reserved bits set`)
        const offset = l1.offset(entry)
        if (offset !== 0) offsets[found++] = offset
      }
    }
    offsets = offsets.subarray(0, found).sort()
    await this.#l2Tables(offsets)
  }

  /** Each distinct L2 table is read once; a table that n L1 tables share counts each of its clusters n times. */
  async #l2Tables(sorted: Float64Array): Promise<void> {
    const offsets: number[] = []
    const times: number[] = []
    for (let at = 0; at < sorted.length; ) {
      const offset = sorted[at] ?? 0
      let end = at + 1
      while (end < sorted.length && sorted[end] === offset) end++
      if (this.#touched(offset, end - at, 'L2 table')) {
        offsets.push(offset)
        times.push(end - at)
      }
      at = end
    }
    if (offsets.length * this.#geometry.clusterSize > MAX_L2_TOTAL)
      throw unsupported(this.#storage.name, `${offsets.length} L2 tables are more than drydisk counts`)
    let index = 0
    await readPieces(this.#storage, offsets, this.#geometry.clusterSize, (offset, bytes) => {
      this.#l2Entries(offset, bytes, times[index++] ?? 1)
    })
  }

  #l2Entries(tableOffset: number, bytes: Uint8Array, times: number): void {
    const { clusterBits, clusterSize, l2Entries, l2EntrySize } = this.#geometry
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const dataFile = (this.#header.incompatible_features & INCOMPATIBLE.dataFile) !== 0n
    const lowMask = clusterSize - 1
    const fileClusters = this.#fileClusters
    // Entries mostly name clusters in a row; counting by runs is several times as fast.
    let first = 0
    let count = 0
    for (let index = 0, at = 0; index < l2Entries; index++, at += l2EntrySize) {
      const high = view.getUint32(at)
      const low = view.getUint32(at + 4)
      if (high === 0 && low === 0) continue
      if ((high & COMPRESSED) !== 0) {
        if (dataFile)
          this.#problem(`L2 entry ${index} at ${tableOffset} is compressed, in an image with a data file`)
        if ((high & 0x8000_0000) !== 0)
          this.#problem(`L2 entry ${index} at ${tableOffset} is compressed and marked as copied`)
        const { offset, length } = compressedDescriptor(clusterBits, high, low)
        this.run(offset, length, times, `compressed cluster (L2 entry ${index} at ${tableOffset})`)
        continue
      }
      if ((high & RESERVED_HIGH) !== 0 || (low & RESERVED_LOW) !== 0)
        this.#problem(`L2 entry ${index} at ${tableOffset} has reserved bits set`)
      const offset = (high & OFFSET_HIGH) * TWO_32 + ((low & OFFSET_LOW) >>> 0)
      if (offset === 0 || dataFile) continue
      const cluster = offset / clusterSize
      if ((low & OFFSET_LOW & lowMask) !== 0 || cluster >= fileClusters)
        this.#touched(offset, times, `data cluster (L2 entry ${index} at ${tableOffset})`)
      else if (cluster === first + count) count++
      else {
        this.counts.addRun(first, count, times)
        first = cluster
        count = 1
      }
    }
    this.counts.addRun(first, count, times)
  }

  /** A refcount block must belong to nothing else, however right its refcount may be: it is written in place. */
  checkOwn(refcountTable: readonly number[]): void {
    const { clusterSize } = this.#geometry
    for (const [index, offset] of refcountTable.entries())
      if (offset !== 0 && offset % clusterSize === 0 && this.counts.get(offset / clusterSize) > 1)
        this.#problem(`refcount block ${index} at byte ${offset} is in use for something else too`)
  }

  async bitmaps(): Promise<void> {
    const directory = await readBitmapDirectory(this.#storage, this.#header)
    if (directory === undefined) return
    this.run(directory.offset, directory.length, 1, 'bitmap directory')
    const entries = directory.bitmaps.reduce((sum, { bitmap_table_size }) => sum + bitmap_table_size, 0)
    if (entries * 8 > this.#storage.size + directory.bitmaps.length * this.#geometry.clusterSize) {
      this.#problem(`bitmap tables of ${entries} entries together are more than the file can hold`)
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
