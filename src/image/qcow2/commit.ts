import { bigEndian } from '../../bytes/byte-view.ts'
import { type Range, RangeSet } from '../../bytes/range-set.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { BITMAP_FLAG, type BitmapDirectory } from './bitmap-directory.ts'
import type { ClusterAllocator } from './cluster-allocator.ts'
import type { ClusterCache } from './cluster-cache.ts'
import { FIELD, type Header, INCOMPATIBLE, KNOWN_AUTOCLEAR } from './header.ts'
import type { MappingTables } from './mapping-tables.ts'
import type { HeaderChange } from './rebase-header.ts'
import type { RefcountPlan, RefcountWriter } from './refcount-writer.ts'

/** What a commit works on. */
export interface CommitParts {
  readonly storage: Storage
  readonly header: Header
  /**
   * The first 512 bytes of the file as they are on disk; kept up to date. A disk writes a sector whole or not at all, and all
   * fields that switch lie in this one.
   */
  readonly sector: Uint8Array
  readonly allocator: ClusterAllocator
  readonly refcounts: RefcountWriter
  readonly tables: MappingTables
  readonly cache: ClusterCache
  readonly bitmaps: BitmapDirectory | undefined
  /** True when the refcounts on disk are not to be trusted (dirty bit). */
  readonly rebuild: boolean
}

/**
 * Publishes what is staged. The order is the promise: at every instant the file is a valid image with the old or the new
 * content.
 *
 *  1. Data, L2 tables, the new L1 table and new refcount structures go to clusters that nothing on disk reaches; refcounts
 *     of those clusters go up, in place. The old state does not mind: to it they are leaks at most.
 *  2. Flush. 3. One sector, the header, switches to all of it. 4. Flush.
 *  5. Refcounts of what only the old state held go down, and the file's free tail is cut. Until then they are leaks.
 */
export class Committer {
  readonly #parts: CommitParts
  /** Clusters whose refcount on disk may be higher than it should be, after a commit that failed on the way. */
  readonly #overstated = new RangeSet()
  #rebuild: boolean
  #l1: { first: number; count: number }
  #bitmapsMarked = false

  constructor(parts: CommitParts) {
    this.#parts = parts
    this.#rebuild = parts.rebuild
    const { clusterSize } = parts.header.geometry
    this.#l1 = {
      first: parts.header.l1_table_offset / clusterSize,
      count: Math.ceil((parts.header.l1_size * 8) / clusterSize),
    }
  }

  /**
   * @param change of the header besides, which leaves the disk's content as it is.
   */
  async commit(change?: HeaderChange): Promise<void> {
    const { storage, allocator, refcounts, tables, cache, header } = this.#parts
    const { clusterSize } = header.geometry
    const allocated: { first: number; count: number }[] = []
    let l1 = this.#l1
    let plan: RefcountPlan
    try {
      await cache.writeAll()
      await tables.writeAll()
      if (tables.changed) {
        l1 = { first: allocator.allocateContiguous(this.#l1.count), count: this.#l1.count }
        allocated.push(l1)
        const bytes = new Uint8Array(l1.count * clusterSize)
        bytes.set(tables.l1.bytes)
        await storage.write(l1.first * clusterSize, bytes)
      }
      plan = refcounts.plan(this.#rebuild)
      allocated.push(...plan.allocated)
      if (change === undefined) await this.#markBitmaps()
      else if (change.ahead !== undefined) await storage.write(change.ahead.offset, change.ahead.bytes)
      await refcounts.writeFresh(plan)
      await refcounts.writeInPlace(allocator.stagedRanges(), plan)
      await storage.flush()
    } catch (error) {
      this.#undo(allocated)
      throw failure(error, 'nothing was committed', false)
    }
    await this.#switchHeader(l1, plan, allocated, change)

    // From here on the new state is what is on disk.
    if (l1 !== this.#l1) allocator.release(this.#l1.first, this.#l1.count)
    for (const { first, count } of plan.replaced) allocator.release(first, count)
    this.#l1 = l1
    refcounts.adopt(plan)
    this.#rebuild = false
    tables.publish()
    const released = allocator.publish()
    for (const { first, count } of released) this.#overstated.add(first, first + count)
    try {
      await this.giveBack()
      await this.cutTail()
      await storage.flush()
    } catch (error) {
      throw failure(
        error,
        'the commit is done, but clusters of the old content could not be given back',
        true,
      )
    }
  }

  /** Remembers clusters whose refcount on disk is higher than it should be; the next commit puts them right. */
  noteOverstated(clusters: Iterable<Range>): void {
    for (const { start, end } of clusters) this.#overstated.add(start, end)
  }

  /** Puts refcounts right that are higher on disk than they should be. */
  async giveBack(also: Iterable<Range> = []): Promise<void> {
    this.noteOverstated(also)
    if (this.#overstated.runs === 0) return
    await this.#parts.refcounts.writeInPlace(this.#overstated.ranges())
    this.#overstated.clear()
  }

  /** Whether a failed commit left refcounts on disk that `giveBack` has to put right. */
  get hasOverstated(): boolean {
    return this.#overstated.runs > 0
  }

  /** Cuts what nothing uses off the end of the file. */
  async cutTail(): Promise<void> {
    const { storage, allocator, header } = this.#parts
    const { clusterSize } = header.geometry
    const end = allocator.counts.end()
    if (end * clusterSize < storage.size) await storage.truncate(end * clusterSize)
    allocator.setEnd(Math.max(end, Math.ceil(storage.size / clusterSize)))
  }

  /**
   * Bitmaps that are to track every write say "not up to date" before the content changes: qemu marks them so, in place,
   * whenever it opens an image for writing. Each flag is a bit in one sector, and errs on the safe side alone.
   */
  async #markBitmaps(): Promise<void> {
    const { bitmaps, storage } = this.#parts
    if (bitmaps === undefined || this.#bitmapsMarked) return
    for (const { flags, flagsOffset } of bitmaps.bitmaps) {
      if ((flags & BITMAP_FLAG.auto) === 0 || (flags & BITMAP_FLAG.inUse) !== 0) continue
      const bytes = new Uint8Array(4)
      bigEndian(bytes, 'bitmap flags').setU32(0, (flags | BITMAP_FLAG.inUse) >>> 0)
      await storage.write(flagsOffset, bytes)
    }
    this.#bitmapsMarked = true
  }

  async #switchHeader(
    l1: { readonly first: number },
    plan: RefcountPlan,
    allocated: readonly { readonly first: number; readonly count: number }[],
    change: HeaderChange | undefined,
  ): Promise<void> {
    const { storage, header, sector } = this.#parts
    const { clusterSize } = header.geometry
    const old = sector.slice()
    const next = sector.slice()
    const view = bigEndian(next, 'header')
    view.setU64(FIELD.l1_table_offset, l1.first * clusterSize)
    view.setU64(FIELD.refcount_table_offset, plan.offset)
    view.setU32(FIELD.refcount_table_clusters, plan.clusters)
    if (header.version === 3) {
      if (this.#rebuild)
        view.setBig(FIELD.incompatible_features, view.big(FIELD.incompatible_features) & ~INCOMPATIBLE.dirty)
      view.setBig(FIELD.autoclear_features, view.big(FIELD.autoclear_features) & KNOWN_AUTOCLEAR)
    }
    change?.edit(next)
    try {
      await storage.write(0, next)
      await storage.flush()
    } catch (error) {
      try {
        await storage.write(0, old)
        await storage.flush()
      } catch (second) {
        throw failure(second, 'whether the commit counts is not known; open the image again', true)
      }
      this.#undo(allocated)
      throw failure(error, 'nothing was committed', false)
    }
    sector.set(next)
  }

  /** After a failure: frees what the commit itself took, and remembers which refcounts may be too high on disk. */
  #undo(allocated: readonly { readonly first: number; readonly count: number }[]): void {
    const { allocator } = this.#parts
    for (const { start, end } of allocator.stagedRanges()) this.#overstated.add(start, end)
    for (const { first, count } of allocated) allocator.freeStaged(first, count)
  }
}

function failure(error: unknown, what: string, published: boolean): DrydiskError {
  if (error instanceof DrydiskError)
    return new DrydiskError(error.code, `${what}: ${error.message}`, { ...error.context, published }, error)
  return new DrydiskError('EIO', `${what}: ${String(error)}`, { published }, error)
}
