import { LruCache } from '../../bytes/lru-cache.ts'
import type { BlockDevice, Extent } from '../../device/block-device.ts'
import { atCluster, type Decompress, loadDecompressor } from '../compression/codec.ts'
import type { ClusterMap, Run } from './cluster-map.ts'
import type { Header } from './header.ts'

/** Bytes of decompressed clusters kept. */
const DECOMPRESSED_BUDGET = 4 << 20

/**
 * Where the bytes of clusters come from: the image file with what is staged over it, or the external data file (no cluster of
 * such an image is compressed).
 */
export interface HostBytes {
  read(offset: number, into: Uint8Array): Promise<void>
}

/** Reads guest bytes through the map, the compressed clusters and the backing file. */
export class GuestReader {
  readonly map: ClusterMap
  readonly backing: BlockDevice | undefined
  readonly #header: Header
  readonly #host: HostBytes
  readonly #decompressed: LruCache<number, Uint8Array>
  #decompress: Promise<Decompress> | undefined

  constructor(header: Header, map: ClusterMap, host: HostBytes, backing: BlockDevice | undefined) {
    this.#header = header
    this.map = map
    this.#host = host
    this.backing = backing
    this.#decompressed = new LruCache(DECOMPRESSED_BUDGET)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    for (let at = 0; at < into.length; ) {
      const run = await this.map.run(offset + at, into.length - at)
      const part = into.subarray(at, at + run.length)
      if (run.kind === 'data') await this.#host.read(run.host, part)
      else if (run.kind === 'zero') part.fill(0)
      else if (run.kind === 'hole') await this.#readBacking(offset + at, part)
      else part.set((await this.#cluster(run)).subarray(run.within, run.within + run.length))
      at += run.length
    }
  }

  async #readBacking(offset: number, into: Uint8Array): Promise<void> {
    const present =
      this.backing === undefined ? 0 : Math.max(0, Math.min(into.length, this.backing.size - offset))
    if (present > 0) await this.backing?.read(offset, into.subarray(0, present))
    into.fill(0, present)
  }

  async #cluster(run: Extract<Run, { kind: 'compressed' }>): Promise<Uint8Array> {
    const known = this.#decompressed.get(run.host)
    if (known !== undefined) return known
    this.#decompress ??= loadDecompressor(this.#header.compressionType)
    const decompress = await this.#decompress
    const stored = new Uint8Array(run.stored)
    await this.#host.read(run.host, stored)
    let cluster: Uint8Array
    try {
      cluster = decompress(stored, this.#header.geometry.clusterSize)
    } catch (error) {
      throw atCluster(error, this.map.name, run.host)
    }
    this.#decompressed.set(run.host, cluster, cluster.length)
    return cluster
  }

  /** After a commit or a rollback: a host offset may come to mean something else. */
  forgetDecompressed(): void {
    this.#decompressed.clear()
  }

  /** The compressed cluster at a host offset is given back. */
  forgetCompressed(host: number): void {
    this.#decompressed.delete(host)
  }

  /** The extents of one run of the map, where a hole is the backing file's to answer. */
  async *extentsOf(offset: number, run: Run): AsyncIterable<Extent> {
    const { length } = run
    if (run.kind === 'data' || run.kind === 'compressed') yield { offset, length, kind: 'data', depth: 0 }
    else if (run.kind === 'zero' || this.backing === undefined)
      yield { offset, length, kind: 'zero', depth: 0 }
    else {
      const present = Math.max(0, Math.min(length, this.backing.size - offset))
      if (present > 0)
        for await (const extent of this.backing.extents(offset, present))
          yield { ...extent, depth: extent.depth + 1 }
      if (present < length)
        yield { offset: offset + present, length: length - present, kind: 'zero', depth: 0 }
    }
  }

  /** Whether the range is known to read as zeros, by the tables alone. */
  async readsAsZero(offset: number, length: number): Promise<boolean> {
    for (let at = offset; at < offset + length; ) {
      const run = await this.map.run(at, offset + length - at)
      for await (const extent of this.extentsOf(at, run)) if (extent.kind !== 'zero') return false
      at += run.length
    }
    return true
  }
}
