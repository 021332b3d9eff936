import { type CompressClusters, loadClustersCompressor } from '../compression/compress-clusters.ts'
import { type ClusterAllocator, UNPLACED } from './cluster-allocator.ts'
import type { ClusterCache } from './cluster-cache.ts'
import type { Entry } from './cluster-map.ts'
import type { Geometry } from './geometry.ts'
import { TWO_32 } from './geometry.ts'
import type { GuestReader } from './guest-reader.ts'
import type { CompressionType } from './header.ts'
import { COPIED, compressedEntry, type L2Table } from './l2-table.ts'
import { StreamPacker } from './staged-compression-packer.ts'

const ALL = 0xffff_ffff

/** What the compression of staged clusters works on. */
export interface StagedCompressionParts {
  readonly geometry: Geometry
  readonly compressionType: CompressionType
  readonly reader: GuestReader
  readonly allocator: ClusterAllocator
  readonly cache: ClusterCache
  /** Whether clusters that the image does not have yet are to be compressed too. */
  readonly compressNew: boolean
}

/**
 * Keeps a compressed image compressed. A staged cluster that is to be compressed stays in memory, without a place in the file,
 * until memory is needed or the commit comes: only then is its content final, and its size known. Until then its L2 entry
 * has a host offset from `UNPLACED` on, which is never written where a reader would meet it.
 */
export class StagedCompression {
  readonly #parts: StagedCompressionParts
  readonly #packer: StreamPacker
  #compress: Promise<CompressClusters> | undefined

  constructor(parts: StagedCompressionParts) {
    this.#parts = parts
    this.#packer = new StreamPacker(parts.allocator, parts.cache, parts.geometry)
    parts.cache.placeWith(() => this.#place())
  }

  /** Whether a cluster is to be compressed when it takes the place of what the entry says. */
  wants(cluster: number, replaced: Entry): boolean {
    // The guest offset has to fit beside UNPLACED.
    if ((cluster + 1) * this.#parts.geometry.clusterSize > UNPLACED) return false
    if (replaced.kind === 'compressed') return true
    return this.#parts.compressNew && (replaced.kind === 'hole' || replaced.host < 0)
  }

  /** The host cluster of a guest cluster that has no place yet. */
  unplaced(cluster: number): number {
    return UNPLACED / this.#parts.geometry.clusterSize + cluster
  }

  /** Lets go of a compressed cluster that is staged. @returns whether it is. */
  letGo(offset: number, length: number): boolean {
    const { geometry, allocator, reader } = this.#parts
    const first = Math.floor(offset / geometry.clusterSize)
    // Streams are packed with staged ones only, so both of its clusters are staged or none is.
    if (!allocator.isStaged(first)) return false
    this.#packer.letGo(offset, length)
    reader.forgetCompressed(offset)
    return true
  }

  /** Gives every staged cluster without a place one: compressed, or as it is where compression does not make it smaller. */
  async #place(): Promise<void> {
    const { allocator, cache, geometry } = this.#parts
    const hosts = cache.clusters().filter(cluster => allocator.isUnplaced(cluster))
    if (hosts.length === 0) return
    this.#compress ??= loadClustersCompressor(this.#parts.compressionType)
    const compress = await this.#compress
    const contents = hosts.map(host => cache.get(host) ?? new Uint8Array(geometry.clusterSize))
    const streams = await compress(contents)
    const plain: number[] = []
    for (const [index, host] of hosts.entries()) {
      const stream = streams[index]
      if (stream === undefined || !(await this.#change(host, (table, at) => this.#pack(table, at, stream))))
        plain.push(host)
    }
    // Afterwards, so that they do not come between the packed ones.
    for (const host of plain)
      await this.#change(host, (table, at) => {
        const { first } = allocator.allocate(1)
        const offset = first * geometry.clusterSize
        table.set(at, (Math.floor(offset / TWO_32) | COPIED) >>> 0, offset >>> 0)
        if (geometry.subclusters > 1) table.setBitmaps(at, 0, ALL)
        const bytes = cache.get(host)
        if (bytes !== undefined) cache.set(first, bytes)
        return true
      })
  }

  #pack(table: L2Table, index: number, stream: Uint8Array): boolean {
    const { geometry } = this.#parts
    const offset = this.#packer.pack(stream)
    const entry = compressedEntry(geometry.clusterBits, offset, stream.length)
    if (entry === undefined) {
      this.#packer.letGo(offset, stream.length)
      return false
    }
    table.set(index, entry.high, entry.low)
    if (geometry.subclusters > 1) table.setBitmaps(index, 0, 0)
    return true
  }

  /** Changes the entry of a cluster without a place, in one go; where that was done, the cluster leaves the cache. */
  async #change(host: number, change: (table: L2Table, index: number) => boolean): Promise<boolean> {
    const { cache, geometry, reader } = this.#parts
    const { l2Entries, clusterSize } = geometry
    const { tables } = reader.map
    const cluster = host - UNPLACED / clusterSize
    const l1Index = Math.floor(cluster / l2Entries)
    await tables.relieve()
    const table = await tables.l2ForChange(l1Index)
    if (!change(table, cluster - l1Index * l2Entries)) return false
    cache.drop(host)
    return true
  }
}
