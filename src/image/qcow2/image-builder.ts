import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { type CreateQcow2Options, checkOptions, headerCluster } from './create.ts'
import { type Geometry, roundUp, TWO_32 } from './geometry.ts'
import { MAX_L1_BYTES } from './header.ts'
import { HostPlacer } from './host-placer.ts'
import { COMPRESSED, COPIED, L1Table, L2Table, ZERO } from './l2-table.ts'
import { MetadataWriter } from './metadata-writer.ts'
import { RefcountStream } from './refcount-stream.ts'
import { serializeRefcountTable } from './refcount-table.ts'

const ALL = 0xffff_ffff
const MAX_TABLE_BYTES = 8 << 20

/**
 * Makes a new image from its beginning to its end: guest clusters come in ascending order, and each table is written when it is
 * complete, so memory does not follow the disk's size. Data clusters are placed here and written by the caller. Nothing is
 * an image before `finish()`, which writes the header last.
 */
export class ImageBuilder {
  readonly geometry: Geometry
  /** Bytes of the disk: whole sectors. */
  readonly size: number
  readonly #storage: Storage
  readonly #options: CreateQcow2Options
  readonly #l1: L1Table
  readonly #refcounts: RefcountStream
  readonly #placer: HostPlacer
  readonly #metadata: MetadataWriter
  /** Host offsets of the refcount blocks that are written. */
  readonly #blocks: number[] = []
  #l2: { readonly index: number; readonly table: L2Table } | undefined

  /**
   * @param storage empty. Errors: `ERR_INVALID_ARGUMENT` for options that cannot be.
   */
  constructor(storage: Storage, options: CreateQcow2Options) {
    const { clusterSize = 65_536, refcountBits = 16, version = 3, extendedL2 = false } = options
    this.geometry = checkOptions(options, clusterSize, refcountBits, version, extendedL2)
    this.size = roundUp(options.size, 512)
    this.#storage = storage
    this.#options = options
    const l1Size = Math.ceil(this.size / this.geometry.l2Span)
    if (l1Size * 8 > MAX_L1_BYTES)
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `a disk of ${this.size} bytes is too large for clusters of ${clusterSize} bytes; take larger ones`,
      )
    this.#l1 = new L1Table(new Uint8Array(l1Size * 8))
    this.#refcounts = new RefcountStream(this.geometry)
    this.#placer = new HostPlacer(this.geometry, this.#refcounts, 1 + Math.ceil((l1Size * 8) / clusterSize))
    this.#metadata = new MetadataWriter(storage)
    // A name for the backing file that does not fit shows now, not after hours.
    headerCluster(options, this.geometry, {
      size: this.size,
      l1Size,
      refcountTable: { first: 0, count: 1 },
    })
  }

  /** Host offset for the bytes of `count` clusters in a row. */
  placeData(count: number): number {
    return this.#placer.data(count)
  }

  /** Host offset for a compressed cluster of so many bytes. */
  placeCompressed(length: number): number {
    return this.#placer.compressed(length)
  }

  /** A guest cluster lies at `host`. @param allocated,zero bitmaps of its subclusters, if it has them. */
  async setData(cluster: number, host: number, allocated = ALL, zero = 0): Promise<void> {
    const { table, index } = await this.#entry(cluster)
    table.set(index, (Math.floor(host / TWO_32) | COPIED) >>> 0, host >>> 0)
    if (this.geometry.subclusters > 1) table.setBitmaps(index, zero, allocated)
  }

  /** As `setData` of guest clusters in a row that lie in a row, whole. */
  async setDataRun(cluster: number, host: number, count: number): Promise<void> {
    const { clusterSize, l2Entries, subclusters } = this.geometry
    for (let done = 0; done < count; ) {
      const { table, index } = await this.#entry(cluster + done)
      const stop = Math.min(count, done + l2Entries - index)
      for (let at = index; done < stop; at++, done++) {
        const offset = host + done * clusterSize
        table.set(at, (Math.floor(offset / TWO_32) | COPIED) >>> 0, offset >>> 0)
        if (subclusters > 1) table.setBitmaps(at, 0, ALL)
      }
    }
  }

  /** A guest cluster is compressed to `length` bytes at `host`. */
  async setCompressed(cluster: number, host: number, length: number): Promise<void> {
    const { table, index } = await this.#entry(cluster)
    const shift = 62 - (this.geometry.clusterBits - 8) - 32
    const sectors = Math.floor((host + length - 1) / 512) - Math.floor(host / 512)
    table.set(index, (COMPRESSED | (sectors * 2 ** shift) | Math.floor(host / TWO_32)) >>> 0, host >>> 0)
  }

  /** A guest cluster reads as zeros whatever a backing file holds; not in version 2. */
  async setZero(cluster: number): Promise<void> {
    const { table, index } = await this.#entry(cluster)
    const extended = this.geometry.subclusters > 1
    table.set(index, 0, extended ? 0 : ZERO)
    if (extended) table.setBitmaps(index, ALL, 0)
  }

  async #entry(cluster: number): Promise<{ readonly table: L2Table; readonly index: number }> {
    const { l2Entries } = this.geometry
    const l1Index = Math.floor(cluster / l2Entries)
    if (this.#l2?.index !== l1Index) {
      await this.#completeL2()
      this.#l2 = {
        index: l1Index,
        table: new L2Table(this.geometry, this.#placer.metadata(), new Uint8Array(this.geometry.clusterSize)),
      }
    }
    return { table: this.#l2.table, index: cluster - l1Index * l2Entries }
  }

  async #completeL2(): Promise<void> {
    if (this.#l2 === undefined) return
    const { index, table } = this.#l2
    this.#l2 = undefined
    this.#l1.set(index, table.offset)
    await this.#metadata.write(table.offset, table.bytes)
    for (;;) {
      const block = this.#refcounts.excess
      if (block === undefined) return
      this.#placer.seal((block + 1) * this.geometry.refcountsPerBlock)
      const offset = this.#placer.metadata()
      this.#blocks[block] = offset
      await this.#metadata.write(offset, this.#refcounts.take(block))
    }
  }

  /** Writes what is left, and the header. The data must be written by then. @returns bytes of the file. */
  async finish(): Promise<number> {
    await this.#completeL2()
    const { clusterSize } = this.geometry
    const { first, count } = this.#placeRefcounts()
    for (const [index, block] of this.#refcounts.blocks)
      await this.#metadata.write(this.#blocks[index] ?? 0, block)
    const table = serializeRefcountTable(this.#blocks, count, clusterSize)
    await this.#metadata.write(first * clusterSize, table)
    await this.#metadata.finish()
    const end = this.#placer.end * clusterSize
    if (this.#storage.size < end) await this.#storage.truncate(end)
    const l1 = new Uint8Array(roundUp(this.#l1.bytes.length, clusterSize))
    l1.set(this.#l1.bytes)
    await this.#storage.write(clusterSize, l1)
    const layout = { size: this.size, l1Size: this.#l1.length, refcountTable: { first, count } }
    await this.#storage.write(0, headerCluster(this.#options, this.geometry, layout))
    return end
  }

  /** Places the open refcount blocks and the table behind everything else; both count themselves. */
  #placeRefcounts(): { readonly first: number; readonly count: number } {
    const { refcountsPerBlock, clusterSize } = this.geometry
    const { end } = this.#placer
    let count = 1
    for (let total = 1; ; ) {
      const open = new Set(this.#refcounts.blocks.map(([index]) => index))
      for (let cluster = end; cluster < end + total; cluster += refcountsPerBlock)
        open.add(Math.floor(cluster / refcountsPerBlock))
      open.add(Math.floor((end + total - 1) / refcountsPerBlock))
      const highest = Math.max(this.#blocks.length - 1, ...open)
      count = Math.ceil(((highest + 1) * 8) / clusterSize)
      if (open.size + count <= total) break
      total = open.size + count
    }
    if (count * clusterSize > MAX_TABLE_BYTES)
      throw new DrydiskError(
        'EFBIG',
        `${this.#storage.name}: the refcount table would be larger than 8 MiB, which no qcow2 image may have. Take larger clusters`,
        { path: this.#storage.name },
      )
    const table = this.#placer.data(count) / clusterSize
    // Each block that is placed is counted in one of them.
    for (let again = true; again; ) {
      again = false
      for (const [index] of this.#refcounts.blocks)
        if (this.#blocks[index] === undefined) {
          this.#blocks[index] = this.#placer.data(1)
          again = true
        }
    }
    return { first: table, count }
  }
}
