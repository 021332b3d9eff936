import type { ClusterAllocator } from './cluster-allocator.ts'
import type { ClusterCache } from './cluster-cache.ts'
import type { Geometry } from './geometry.ts'

/** A host cluster that streams are being packed into. */
interface OpenCluster {
  readonly cluster: number
  readonly bytes: Uint8Array
  /** Bytes taken. */
  used: number
  /** The allocator's, when the cluster was staged. */
  readonly transaction: number
}

/**
 * Puts compressed clusters one behind another into staged host clusters, as qemu does: byte by byte, several in a host cluster
 * and, where two host clusters lie side by side, from one into the next. The refcount of a host cluster is the number of
 * compressed ones in it. A host cluster that the committed state reaches takes no more: its refcount would have to
 * change together with the header.
 */
export class StreamPacker {
  readonly #allocator: ClusterAllocator
  readonly #cache: ClusterCache
  readonly #geometry: Geometry
  /** The host cluster that the last stream ended in, while there is room in it. */
  #open: OpenCluster | undefined

  constructor(allocator: ClusterAllocator, cache: ClusterCache, geometry: Geometry) {
    this.#allocator = allocator
    this.#cache = cache
    this.#geometry = geometry
  }

  /** Stages a stream, shorter than a cluster. @returns its byte offset in the file. */
  pack(stream: Uint8Array): number {
    const { clusterSize } = this.#geometry
    const open = this.#usable()
    const room = open === undefined ? 0 : clusterSize - open.used
    if (open !== undefined && room >= stream.length) {
      this.#allocator.share(open.cluster)
      return this.#put(open, stream)
    }
    // The first free one, which is the next one where nothing was given back before.
    const cluster = this.#allocator.allocate(1).first
    const next = {
      cluster,
      bytes: new Uint8Array(clusterSize),
      used: 0,
      transaction: this.#allocator.transaction,
    }
    this.#open = next
    if (open === undefined || cluster !== open.cluster + 1) return this.#put(next, stream)
    this.#allocator.share(open.cluster)
    const offset = this.#put(open, stream.subarray(0, room))
    this.#put(next, stream.subarray(room))
    return offset
  }

  /** The open cluster, if another stream may go into it. */
  #usable(): OpenCluster | undefined {
    const open = this.#open
    if (open === undefined || open.transaction !== this.#allocator.transaction) return undefined
    if (open.used === this.#geometry.clusterSize) return undefined
    return this.#allocator.counts.get(open.cluster) < this.#geometry.refcountMax ? open : undefined
  }

  /** @returns the byte offset of the part in the file. */
  #put(into: OpenCluster, part: Uint8Array): number {
    const offset = into.cluster * this.#geometry.clusterSize + into.used
    into.bytes.set(part, into.used)
    into.used += part.length
    this.#cache.set(into.cluster, into.bytes)
    return offset
  }

  /** Takes one reference from the staged clusters that a stream lies in. */
  letGo(offset: number, length: number): void {
    const { clusterSize } = this.#geometry
    const first = Math.floor(offset / clusterSize)
    const last = Math.floor((offset + length - 1) / clusterSize)
    for (let cluster = first; cluster <= last; cluster++) {
      this.#allocator.freeStaged(cluster)
      if (this.#allocator.isStaged(cluster)) continue
      this.#cache.drop(cluster)
      if (this.#open?.cluster === cluster) this.#open = undefined
    }
  }
}
