import type { Storage } from '../../device/storage.ts'
import type { ClusterAllocator } from './cluster-allocator.ts'
import { corrupt } from './corruption.ts'
import type { Geometry } from './geometry.ts'
import { checkedL2Offset, type L1Table, L2Table } from './l2-table.ts'
import { readPadded } from './padded-read.ts'

/** Bytes of L2 tables kept in memory; a large image's tables come and go. */
const BUDGET = 8 << 20

/**
 * The active L1 table and its L2 tables: loaded when needed, copied (not overwritten) when changed. A changed table has a
 * staged host cluster from the start, so it can leave memory for that cluster when there are too many.
 */
export class MappingTables {
  readonly #storage: Storage
  readonly #geometry: Geometry
  readonly #allocator: ClusterAllocator | undefined
  #committed: L1Table
  #staged: L1Table | undefined
  /** By host offset, in the order of their last use. */
  readonly #tables = new Map<number, L2Table>()
  readonly #loading = new Map<number, Promise<L2Table>>()
  readonly #most: number

  constructor(storage: Storage, geometry: Geometry, l1: L1Table, allocator: ClusterAllocator | undefined) {
    this.#storage = storage
    this.#geometry = geometry
    this.#allocator = allocator
    this.#committed = l1
    this.#most = Math.max(4, Math.floor(BUDGET / geometry.clusterSize))
  }

  get l1(): L1Table {
    return this.#staged ?? this.#committed
  }

  /** Whether the L1 table differs from the committed one. */
  get changed(): boolean {
    return this.#staged !== undefined
  }

  /** The table for reading; `undefined` when the L1 entry has none. */
  async l2(index: number): Promise<L2Table | undefined> {
    const offset = checkedL2Offset(this.#storage.name, this.#geometry, this.l1, index)
    if (offset === 0) return undefined
    const table = this.#tables.get(offset)
    if (table !== undefined) return table
    let loading = this.#loading.get(offset)
    if (loading === undefined) {
      loading = this.#load(offset).finally(() => this.#loading.delete(offset))
      this.#loading.set(offset, loading)
    }
    return loading
  }

  async #load(offset: number): Promise<L2Table> {
    const bytes = new Uint8Array(this.#geometry.clusterSize)
    if (offset >= this.#storage.size)
      throw corrupt(
        this.#storage.name,
        `an L2 table at byte ${offset} lies outside the file of ${this.#storage.size} bytes`,
        {
          structure: 'L2 table',
          offset,
        },
      )
    await readPadded(this.#storage, offset, bytes)
    const table = new L2Table(this.#geometry, offset, bytes)
    this.#tables.set(offset, table)
    this.#forgetClean()
    return table
  }

  /** Makes room, down to half of the budget, so that it is not done for every single table. */
  #forgetClean(): void {
    if (this.#tables.size <= this.#most) return
    for (const [offset, table] of this.#tables) {
      if (table.dirty) continue
      this.#tables.delete(offset)
      if (this.#tables.size <= this.#most / 2) return
    }
  }

  /**
   * The table for changing: a staged one. To be changed before anything else is awaited, for `relieve` may take it out of
   * memory later.
   */
  async l2ForChange(index: number): Promise<L2Table> {
    const allocator = this.#writer()
    const old = await this.l2(index)
    const { clusterSize } = this.#geometry
    if (old !== undefined && allocator.isStaged(old.offset / clusterSize)) {
      // Loading may just have made room by forgetting this very table.
      this.#tables.set(old.offset, old)
      return old
    }
    const { first } = allocator.allocate(1)
    const table = new L2Table(
      this.#geometry,
      first * clusterSize,
      old === undefined ? new Uint8Array(clusterSize) : old.bytes.slice(),
    )
    table.dirty = true
    this.#tables.set(table.offset, table)
    this.#staged ??= this.#committed.clone()
    this.#staged.set(index, table.offset)
    if (old !== undefined) {
      allocator.release(old.offset / clusterSize)
      this.#tables.delete(old.offset)
    }
    return table
  }

  #writer(): ClusterAllocator {
    if (this.#allocator === undefined) throw new TypeError('the tables are open for reading only')
    return this.#allocator
  }

  /** Moves changed tables to their clusters in the file when there are too many in memory. Call with no table in hand. */
  async relieve(): Promise<void> {
    if (this.#tables.size <= this.#most) return
    await this.writeAll()
    this.#forgetClean()
  }

  /** Writes every changed table to its staged cluster, neighbours together. */
  async writeAll(): Promise<void> {
    const dirty = [...this.#tables.values()].filter(table => table.dirty).sort((a, b) => a.offset - b.offset)
    for (let first = 0; first < dirty.length; ) {
      const start = dirty[first]?.offset ?? 0
      let next = first + 1
      while (
        dirty[next]?.offset === start + (next - first) * this.#geometry.clusterSize &&
        (next - first) * this.#geometry.clusterSize < 1 << 20
      )
        next++
      const run = dirty.slice(first, next)
      const bytes = new Uint8Array(run.length * this.#geometry.clusterSize)
      for (const [index, table] of run.entries()) bytes.set(table.bytes, index * this.#geometry.clusterSize)
      await this.#storage.write(start, bytes)
      for (const table of run) table.dirty = false
      first = next
    }
  }

  /** The staged L1 table is the committed one. */
  publish(): void {
    if (this.#staged !== undefined) this.#committed = this.#staged
    this.#staged = undefined
  }

  rollback(): void {
    this.#staged = undefined
    // Staged tables may lie at offsets that mean something else later.
    this.#tables.clear()
  }
}
