import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import type { ClusterCounts } from './cluster-counts.ts'
import { type Geometry, geometryOf } from './geometry.ts'
import { FIELD, type Header, INCOMPATIBLE, KNOWN_AUTOCLEAR } from './header.ts'
import { readHeader } from './qcow2-image.ts'
import { serializeRefcountTable } from './refcount-table.ts'
import { stoppable } from './stoppable-storage.ts'
import { verifyRefcounts } from './verify.ts'

const MAX_TABLE_BYTES = 8 << 20
/** Bytes of refcount blocks in one write. */
const MAX_WRITE = 4 << 20

/**
 * A change of an image's whole structure: snapshots, resizing, repair, another refcount width, moving clusters. The new state's
 * metadata goes to clusters that neither state uses, with a refcount structure made anew; then one write of the header's
 * sector switches to all of it. Nothing that the old state reaches is changed before, so at every instant the file is a valid
 * image with the old or the new structure. A crash leaves clusters past the end of the image's use, or leaks, at most.
 *
 * The image must have nothing staged and nobody else writing; afterwards it has to be opened anew.
 */
export class Restructure {
  /** For all that comes before the switch: reads and writes fail with `ERR_ABORTED` once the signal is aborted. */
  readonly storage: Storage
  /** The same, which no signal stops. */
  readonly file: Storage
  /** Of the old state. */
  readonly header: Header
  /** The header's sector as it is on disk. */
  readonly sector: Uint8Array
  /** What the old state reaches, by host cluster. */
  readonly old: ClusterCounts
  /**
   * Refcounts of the new state, for the caller to change; without the refcount structure, which `publish` adds. Starts as what
   * the old state reaches.
   */
  readonly counts: ClusterCounts
  /** `allocate` takes no cluster below this one. */
  lowest = 1
  readonly #size: number
  #hint = 1

  /**
   * @param old everything that the old state reaches, the refcount structure included.
   * @param counts references of the new state, the refcount structure left out.
   * @param signal stops the work, up to the switch.
   */
  constructor(
    storage: Storage,
    header: Header,
    sector: Uint8Array,
    old: ClusterCounts,
    counts: ClusterCounts,
    signal?: AbortSignal,
  ) {
    this.storage = stoppable(storage, signal)
    this.file = storage
    this.header = header
    this.sector = sector
    this.old = old
    this.counts = counts
    this.#size = storage.size
  }

  /**
   * Starts from an image whose refcounts are right (or that has its dirty bit set).
   * Errors: `ERR_CORRUPT` where they are not, as opening for writing; `ERR_ABORTED`.
   * @param signal stops the work, up to the switch.
   */
  static async of(storage: Storage, signal?: AbortSignal): Promise<Restructure> {
    const { header, sector } = await readHeader(storage)
    if ((header.incompatible_features & INCOMPATIBLE.corrupt) !== 0n)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${storage.name}: the image is marked as corrupt; run "drydisk check --repair all" first`,
        { path: storage.name },
      )
    const { counts: old, blocks } = await verifyRefcounts(stoppable(storage, signal), header)
    const counts = old.clone()
    const { clusterSize } = header.geometry
    counts.addRun(header.refcount_table_offset / clusterSize, header.refcount_table_clusters, -1)
    for (const offset of blocks) if (offset !== 0) counts.add(offset / clusterSize, -1)
    return new Restructure(storage, header, sector, old, counts, signal)
  }

  /** First cluster from `from` that neither state uses. */
  nextFree(from: number): number {
    for (let at = from; ; ) {
      const free = this.counts.nextFree(at, Number.MAX_SAFE_INTEGER)
      const both = this.old.nextFree(free, Number.MAX_SAFE_INTEGER)
      if (both === free) return free
      at = both
    }
  }

  /** Whether neither state uses the cluster. */
  isFree(cluster: number): boolean {
    return this.counts.get(cluster) === 0 && this.old.get(cluster) === 0
  }

  /**
   * Takes `count` clusters in a row that neither state uses, the first that there are; each gets a refcount of 1.
   * @returns the first one's index.
   */
  allocate(count = 1): number {
    let first = this.nextFree(Math.max(this.#hint, this.lowest))
    const lowest = first
    for (let length = 1; length < count; ) {
      if (this.isFree(first + length)) length++
      else {
        first = this.nextFree(first + length + 1)
        length = 1
      }
    }
    if ((first + count) * this.header.geometry.clusterSize > 2 ** 53)
      throw new DrydiskError('EFBIG', 'the image file would grow beyond 2^53 bytes', { cluster: first })
    this.counts.addRun(first, count, 1)
    // Runs skip over holes that are too short for them; single clusters come back to these.
    this.#hint = first === lowest ? first + count : lowest
    return first
  }

  /** Gives back clusters taken by `allocate`, or clusters of the old state that the new one no longer uses. */
  release(first: number, count = 1): void {
    this.counts.addRun(first, count, -1)
    this.#hint = Math.min(this.#hint, first)
  }

  /**
   * Writes the refcount structure, switches, and cuts what the new state does not use off the end of the file.
   * On an error before the switch, the file is as before.
   * @param edit changes the header's sector for the new state: 512 bytes, the whole header where the clusters are that small.
   *   The refcount table's place, the dirty bit and unknown autoclear bits are seen to. What lies in the header cluster behind
   *   this sector must be in place already, where the old header does not reach it.
   * @param refcountBits of the new state; the old one's when left out.
   * Errors: `EFBIG`, and what the storage throws; `published: true` in the context when the new state may be on disk.
   */
  async publish(
    edit: (header: ByteView) => void,
    refcountBits = this.header.geometry.refcountBits,
  ): Promise<void> {
    const next = this.sector.slice()
    try {
      const view = bigEndian(next, 'header')
      const table = await this.#writeRefcounts(
        geometryOf(
          this.header.geometry.clusterBits,
          Math.log2(refcountBits),
          this.header.geometry.subclusters > 1,
        ),
      )
      view.setU64(FIELD.refcount_table_offset, table.offset)
      view.setU32(FIELD.refcount_table_clusters, table.clusters)
      if (this.header.version === 3) {
        view.setBig(FIELD.incompatible_features, view.big(FIELD.incompatible_features) & ~INCOMPATIBLE.dirty)
        view.setBig(FIELD.autoclear_features, view.big(FIELD.autoclear_features) & KNOWN_AUTOCLEAR)
      }
      edit(view)
      await this.storage.flush()
    } catch (error) {
      await this.abandon()
      throw failed(error, 'the image is as before', false)
    }
    await this.#switch(next)
    try {
      const end = this.counts.end() * this.header.geometry.clusterSize
      // A last cluster that was written in part is made whole: other programs take the file for cut otherwise.
      if (end !== this.file.size) await this.file.truncate(end)
      await this.file.flush()
    } catch (error) {
      throw failed(error, 'the change is done, but the file could not be cut', true)
    }
  }

  /** Drops everything that was written for the new state. */
  async abandon(): Promise<void> {
    if (this.file.size > this.#size) await this.file.truncate(this.#size)
  }

  async #switch(next: Uint8Array): Promise<void> {
    const { file, sector } = this
    try {
      await file.write(0, next)
      await file.flush()
    } catch (error) {
      try {
        await file.write(0, sector)
        await file.flush()
      } catch (second) {
        throw failed(second, 'whether the change counts is not known; open the image again', true)
      }
      await this.abandon()
      throw failed(error, 'the image is as before', false)
    }
  }

  async #writeRefcounts(geometry: Geometry): Promise<{ readonly offset: number; readonly clusters: number }> {
    const { clusterSize, refcountsPerBlock, refcountBits } = geometry
    const { counts, storage } = this
    const largest = counts.largest()
    if (largest > geometry.refcountMax)
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `a cluster would be in use ${largest} times, and refcounts of ${refcountBits} bits count to ${geometry.refcountMax}; ` +
          'make them wider first with "drydisk amend -o refcount_bits=16"',
        { refcountBits, largest },
      )
    const blocks = new Map<number, number>()
    let table = { first: 0, clusters: 0 }
    // Blocks and table count themselves, so taking them may call for one more.
    for (;;) {
      const missing: number[] = []
      for (const { first, count } of counts.ranges())
        for (
          let index = Math.floor(first / refcountsPerBlock);
          index * refcountsPerBlock < first + count;
          index++
        )
          if (
            !blocks.has(index) &&
            missing.at(-1) !== index &&
            counts.anyIn(index * refcountsPerBlock, refcountsPerBlock)
          )
            missing.push(index)
      for (const index of missing) blocks.set(index, this.allocate())
      const clusters = Math.max(1, Math.ceil((entriesOf(blocks) * 8) / clusterSize))
      if (clusters * clusterSize > MAX_TABLE_BYTES)
        throw new DrydiskError(
          'EFBIG',
          'the refcount table would grow beyond 8 MiB, which no qcow2 image may have',
        )
      if (clusters > table.clusters) {
        if (table.clusters > 0) this.release(table.first, table.clusters)
        table = { first: this.allocate(clusters), clusters }
      } else if (missing.length === 0) break
    }
    const sorted = [...blocks].sort((a, b) => a[1] - b[1])
    const atOnce = Math.max(1, Math.floor(MAX_WRITE / clusterSize))
    for (let at = 0; at < sorted.length; ) {
      const start = sorted[at]?.[1] ?? 0
      let run = 1
      while (run < atOnce && sorted[at + run]?.[1] === start + run) run++
      const bytes = new Uint8Array(run * clusterSize)
      for (let part = 0; part < run; part++)
        counts.encode(
          bytes.subarray(part * clusterSize, (part + 1) * clusterSize),
          0,
          (sorted[at + part]?.[0] ?? 0) * refcountsPerBlock,
          refcountsPerBlock,
          refcountBits,
        )
      await storage.write(start * clusterSize, bytes)
      at += run
    }
    const offsets = Array.from(
      { length: entriesOf(blocks) },
      (_, index) => (blocks.get(index) ?? 0) * clusterSize,
    )
    await storage.write(
      table.first * clusterSize,
      serializeRefcountTable(offsets, table.clusters, clusterSize),
    )
    return { offset: table.first * clusterSize, clusters: table.clusters }
  }
}

function entriesOf(blocks: ReadonlyMap<number, number>): number {
  let entries = 0
  for (const index of blocks.keys()) entries = Math.max(entries, index + 1)
  return entries
}

/** An error of a change, saying what has become of the image. */
export function failed(error: unknown, what: string, published: boolean): DrydiskError {
  if (error instanceof DrydiskError)
    return new DrydiskError(error.code, `${what}: ${error.message}`, { ...error.context, published }, error)
  return new DrydiskError('EIO', `${what}: ${String(error)}`, { published }, error)
}
