import type { Storage } from '../../device/storage.ts'
import { RefcountOnes } from './check-refcounts.ts'
import type { Geometry } from './geometry.ts'
import { type Header, INCOMPATIBLE } from './header.ts'
import { COPIED, entryOffset, L1Table } from './l2-table.ts'
import { readPadded } from './padded-read.ts'
import { compareRefcounts } from './refcount-compare.ts'
import { readRefcountTable } from './refcount-table.ts'
import { countReferences, type TableObserver } from './references.ts'
import { type EntryFault, isPlaced } from './references-l2.ts'

/** What a check found. Counts are per cluster or entry, as `qemu-img check` counts them. */
export interface CheckResult {
  readonly corruptions: number
  readonly leaks: number
  /** The first problems, in words; at most 1000. */
  readonly messages: readonly string[]
  /** Clusters of the virtual disk. */
  readonly totalClusters: number
  /** Of these, how many have a host cluster of their own or are compressed, */
  readonly allocatedClusters: number
  /** lie elsewhere than right behind the one before, */
  readonly fragmentedClusters: number
  /** and are compressed. */
  readonly compressedClusters: number
  /** Bytes of the file up to the end of the last cluster that is referenced or has a refcount. */
  readonly imageEndOffset: number
}

const MAX_MESSAGES = 1000

/** Compares every reference with its refcount and every OFLAG_COPIED with what it says. Writes nothing. */
export async function checkImage(storage: Storage, header: Header): Promise<CheckResult> {
  let corruptions = 0
  let leaks = 0
  const messages: string[] = []
  const note = (message: () => string): void => {
    if (messages.length < MAX_MESSAGES) messages.push(message())
  }
  const problem = (message: () => string): void => {
    corruptions++
    note(message)
  }
  const { geometry } = header
  const { clusterSize } = geometry
  const table = await readRefcountTable(storage, header)
  const usable = usableBlocks(table, clusterSize, storage.size)
  const fileClusters = Math.ceil(storage.size / clusterSize)
  const ones = await RefcountOnes.read(storage, geometry, usable, fileClusters)
  const active = new ActiveTables(header, ones, problem)
  await active.l1(storage, header)
  const counts = await countReferences(storage, header, table, problem, active)
  await compareRefcounts(storage, geometry, usable, counts, (cluster, references, refcount) => {
    // More than the width holds: qemu-img calls each reference beyond it a corruption of its own.
    for (let over = references; over > geometry.refcountMax; over--)
      problem(() => `cluster ${cluster}: referenced ${references} times, more than a refcount can say`)
    const most = Math.min(references, geometry.refcountMax)
    if (refcount < most)
      problem(() => `cluster ${cluster}: refcount ${refcount}, referenced ${references} times`)
    else if (refcount > most && cluster < fileClusters) {
      leaks++
      note(() => `cluster ${cluster}: leaked, refcount ${refcount}, referenced ${references} times`)
    }
  })
  return {
    corruptions,
    leaks,
    messages,
    totalClusters: Math.ceil(header.size / clusterSize),
    allocatedClusters: active.allocated,
    fragmentedClusters: active.fragmented,
    compressedClusters: active.compressedClusters,
    imageEndOffset: Math.max(counts.end(), ones.end) * clusterSize,
  }
}

/** The table's blocks, with 0 for what is no cluster inside the file. Reserved bits, 0 to 8, hide no block. */
function usableBlocks(table: readonly number[], clusterSize: number, fileSize: number): number[] {
  return table.map(entry => {
    const offset = entry - (entry % 512)
    return offset % clusterSize !== 0 || offset >= fileSize ? 0 : offset
  })
}

/** Looks at the tables of the guest's disk as they are now: what is allocated, and OFLAG_COPIED. */
class ActiveTables implements TableObserver {
  allocated = 0
  fragmented = 0
  compressedClusters = 0
  readonly #geometry: Geometry
  readonly #dataFile: boolean
  readonly #ones: RefcountOnes
  readonly #problem: (message: () => string) => void
  #table = 0
  /** How often the active L1 table names the table at hand. */
  #times = 0
  /** The host offset that goes on with the last cluster; 0 before the first of a table. */
  #next = 0

  constructor(header: Header, ones: RefcountOnes, problem: (message: () => string) => void) {
    this.#geometry = header.geometry
    this.#dataFile = (header.incompatible_features & INCOMPATIBLE.dataFile) !== 0n
    this.#ones = ones
    this.#problem = problem
  }

  async l1(storage: Storage, header: Header): Promise<void> {
    const bytes = new Uint8Array(header.l1_size * 8)
    await readPadded(storage, header.l1_table_offset, bytes)
    const l1 = new L1Table(bytes)
    for (let index = 0; index < l1.length; index++) {
      const offset = l1.offset(index)
      if (offset === 0) continue
      const copied = (l1.high(index) & COPIED) !== 0
      if (copied !== this.#isOne(offset)) this.#wrong(`L1 entry ${index}`, copied)
    }
  }

  table(offset: number, active: number): void {
    this.#table = offset
    this.#times = active
    this.#next = 0
  }

  clusters(index: number, host: number, count: number, copied: boolean): void {
    if (this.#times === 0) return
    const { clusterSize } = this.#geometry
    this.#place(host, count)
    if (this.#dataFile) {
      if (!copied) for (let at = 0; at < count; at++) this.#wrongEntry(index + at, copied)
      return
    }
    const first = host / clusterSize
    for (let at = 0; at < count; at++) {
      at = this.#ones.nextOther(first + at, first + count, copied) - first
      if (at < count) this.#wrongEntry(index + at, copied)
    }
  }

  compressed(): void {
    this.allocated += this.#times
    this.compressedClusters += this.#times
    // Each has to be read on its own.
    this.fragmented += this.#times
  }

  fault(index: number, fault: EntryFault, high: number, low: number): void {
    if (this.#times === 0 || !isPlaced(fault)) return
    const offset = entryOffset(high, low)
    this.#place(offset, 1)
    const copied = (high & COPIED) !== 0
    if (this.#dataFile ? !copied : copied !== this.#isOne(offset)) this.#wrongEntry(index, copied)
  }

  #place(host: number, count: number): void {
    this.allocated += count * this.#times
    if (this.#next !== 0 && this.#next !== host) this.fragmented += this.#times
    this.#next = host + count * this.#geometry.clusterSize
  }

  #isOne(offset: number): boolean {
    return this.#ones.has(Math.floor(offset / this.#geometry.clusterSize))
  }

  #wrongEntry(index: number, copied: boolean): void {
    const table = this.#table
    for (let time = 0; time < this.#times; time++) this.#wrong(`L2 entry ${index} at byte ${table}`, copied)
  }

  #wrong(entry: string, copied: boolean): void {
    this.#problem(
      () =>
        `${entry}: OFLAG_COPIED is ${copied ? 'set and the refcount is not 1' : 'not set and the refcount is 1'}`,
    )
  }
}
