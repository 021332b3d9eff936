import type { Range } from '../../bytes/range-set.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import type { ClusterAllocator } from './cluster-allocator.ts'
import type { Geometry } from './geometry.ts'
import { serializeRefcountTable } from './refcount-table.ts'

const SECTOR = 512
const MAX_TABLE_BYTES = 8 << 20

/** The refcount structure that a commit will switch to. */
export interface RefcountPlan {
  /** Host offsets of the blocks, 0 where there is none. */
  readonly blocks: readonly number[]
  readonly offset: number
  readonly clusters: number
  /** Block indexes that are new and have to be written whole. */
  readonly fresh: ReadonlySet<number>
  /** What was allocated for it, and what it replaces; in clusters. */
  readonly allocated: readonly { readonly first: number; readonly count: number }[]
  readonly replaced: readonly { readonly first: number; readonly count: number }[]
}

/** The refcount table and blocks in the file. What the refcounts are, `ClusterAllocator.counts` says. */
export class RefcountWriter {
  readonly #storage: Storage
  readonly #geometry: Geometry
  readonly #allocator: ClusterAllocator
  #plan: RefcountPlan

  constructor(
    storage: Storage,
    geometry: Geometry,
    allocator: ClusterAllocator,
    table: { readonly blocks: readonly number[]; readonly offset: number; readonly clusters: number },
  ) {
    this.#storage = storage
    this.#geometry = geometry
    this.#allocator = allocator
    this.#plan = { ...table, fresh: new Set(), allocated: [], replaced: [] }
  }

  /**
   * Makes room for the refcounts of all staged clusters, in memory. A refcount table that gains a block is made anew rather
   * than changed in place, so that the header switches to it together with everything else.
   * @param rebuild makes every block anew: the old ones are not to be trusted.
   */
  plan(rebuild: boolean): RefcountPlan {
    const { clusterSize } = this.#geometry
    const old = this.#plan
    const blocks = rebuild ? [] : [...old.blocks]
    const fresh = new Set<number>()
    const allocated: { first: number; count: number }[] = []
    let table: { first: number; count: number } | undefined
    try {
      for (;;) {
        const missing = this.#missing(blocks, rebuild)
        const highest = missing.at(-1) ?? -1
        while (blocks.length <= highest) blocks.push(0)
        for (const index of missing) {
          const { first } = this.#allocator.allocate(1)
          allocated.push({ first, count: 1 })
          blocks[index] = first * clusterSize
          fresh.add(index)
        }
        const needed = Math.max(Math.ceil((blocks.length * 8) / clusterSize), rebuild ? 1 : old.clusters)
        if (needed * clusterSize > MAX_TABLE_BYTES)
          throw new DrydiskError(
            'EFBIG',
            'the refcount table would grow beyond 8 MiB, which no qcow2 image may have',
          )
        if (fresh.size > 0 && (table === undefined || table.count < needed)) {
          if (table !== undefined) this.#allocator.freeStaged(table.first, table.count)
          table = { first: this.#allocator.allocateContiguous(needed), count: needed }
        } else if (missing.length === 0) break
      }
    } catch (error) {
      for (const { first, count } of [...allocated, ...(table === undefined ? [] : [table])])
        this.#allocator.freeStaged(first, count)
      throw error
    }
    if (table === undefined) return { ...old, blocks, fresh, allocated: [], replaced: [] }
    const replaced = [{ first: old.offset / clusterSize, count: old.clusters }]
    if (rebuild)
      for (const offset of old.blocks)
        if (offset !== 0) replaced.push({ first: offset / clusterSize, count: 1 })
    return {
      blocks,
      offset: table.first * clusterSize,
      clusters: table.count,
      fresh,
      allocated: [...allocated, table],
      replaced,
    }
  }

  /** Indexes of blocks that are needed and missing, ascending. */
  #missing(blocks: readonly number[], all: boolean): number[] {
    const { refcountsPerBlock } = this.#geometry
    const { counts } = this.#allocator
    const missing = new Set<number>()
    const ranges: Iterable<Range> = all
      ? counts.ranges().map(({ first, count }) => ({ start: first, end: first + count }))
      : this.#allocator.stagedRanges()
    for (const { start, end } of ranges)
      for (let index = Math.floor(start / refcountsPerBlock); index * refcountsPerBlock < end; index++) {
        if ((blocks[index] ?? 0) !== 0 || missing.has(index)) continue
        if (all && !counts.anyIn(index * refcountsPerBlock, refcountsPerBlock)) continue
        missing.add(index)
      }
    return [...missing].sort((a, b) => a - b)
  }

  /** Writes the plan's new blocks and table. Nothing on disk points at them yet. */
  async writeFresh(plan: RefcountPlan): Promise<void> {
    const { clusterSize, refcountsPerBlock, refcountBits } = this.#geometry
    for (const index of plan.fresh) {
      const bytes = new Uint8Array(clusterSize)
      this.#allocator.counts.encode(bytes, 0, index * refcountsPerBlock, refcountsPerBlock, refcountBits)
      await this.#storage.write(plan.blocks[index] ?? 0, bytes)
    }
    if (plan.fresh.size > 0)
      await this.#storage.write(plan.offset, serializeRefcountTable(plan.blocks, plan.clusters, clusterSize))
  }

  /**
   * Writes the refcounts of the clusters in place, in whole sectors, into blocks of the plan that are not new.
   * @param plan the committed structure when left out.
   */
  async writeInPlace(clusters: Iterable<Range>, plan: RefcountPlan = this.#plan): Promise<void> {
    const { refcountsPerBlock, refcountBits } = this.#geometry
    const perSector = (SECTOR * 8) / refcountBits
    /** First and last changed sector by block. */
    const touched = new Map<number, { from: number; to: number }>()
    for (const { start, end } of clusters)
      for (let at = start; at < end; ) {
        const index = Math.floor(at / refcountsPerBlock)
        const stop = Math.min(end, (index + 1) * refcountsPerBlock)
        const from = Math.floor((at - index * refcountsPerBlock) / perSector)
        const to = Math.floor((stop - 1 - index * refcountsPerBlock) / perSector)
        const known = touched.get(index)
        if (known === undefined) touched.set(index, { from, to })
        else {
          known.from = Math.min(known.from, from)
          known.to = Math.max(known.to, to)
        }
        at = stop
      }
    for (const [index, { from, to }] of [...touched].sort((a, b) => a[0] - b[0])) {
      const offset = plan.blocks[index] ?? 0
      if (offset === 0 || plan.fresh.has(index)) continue
      const bytes = new Uint8Array((to - from + 1) * SECTOR)
      const count = (to - from + 1) * perSector
      this.#allocator.counts.encode(
        bytes,
        0,
        index * refcountsPerBlock + from * perSector,
        count,
        refcountBits,
      )
      await this.#storage.write(offset + from * SECTOR, bytes)
    }
  }

  /** The plan is the committed structure from now on. */
  adopt(plan: RefcountPlan): void {
    this.#plan = { ...plan, fresh: new Set(), allocated: [], replaced: [] }
  }
}
