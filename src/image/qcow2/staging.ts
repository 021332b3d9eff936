import type { Storage } from '../../device/storage.ts'
import type { ClusterAllocator } from './cluster-allocator.ts'
import type { ClusterCache } from './cluster-cache.ts'
import type { Entry } from './cluster-map.ts'
import { type Geometry, TWO_32 } from './geometry.ts'
import type { GuestReader } from './guest-reader.ts'
import { COPIED, type L2Table, ZERO } from './l2-table.ts'
import type { StagedCompression } from './staged-compression.ts'

const ALL = 0xffff_ffff
/** The whole clusters of a write of this many bytes or more go to the file at once, past the cache. */
const DIRECT = 256 << 10
/** Bytes of one direct write. */
const MAX_DIRECT = 4 << 20

/** What staging works on. */
export interface StagingParts {
  readonly storage: Storage
  readonly geometry: Geometry
  /** Bytes of the virtual disk. */
  readonly size: number
  readonly version: 2 | 3
  readonly reader: GuestReader
  readonly allocator: ClusterAllocator
  readonly cache: ClusterCache
  /** Where clusters are to be stored compressed. */
  readonly compression: StagedCompression | undefined
}

/**
 * Writes and erasures before the commit: data goes to clusters that no table on disk reaches, and only tables in memory point
 * at them. Every change of tables and counts happens in one go between two awaits, so a failed read or write leaves them
 * consistent.
 */
export class Staging {
  readonly #parts: StagingParts

  constructor(parts: StagingParts) {
    this.#parts = parts
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    const { geometry, cache, reader } = this.#parts
    const { clusterSize } = geometry
    for (let at = 0; at < from.length; ) {
      await cache.relieve()
      await reader.map.tables.relieve()
      const cluster = Math.floor((offset + at) / clusterSize)
      const within = offset + at - cluster * clusterSize
      const rest = from.length - at
      if (within === 0 && rest >= clusterSize && from.length >= DIRECT) {
        const written = await this.#writeDirect(
          cluster,
          from.subarray(at, at + Math.floor(rest / clusterSize) * clusterSize),
        )
        at += written
        if (written > 0) continue
      }
      const length = Math.min(clusterSize - within, rest)
      const bytes = await this.#stage(cluster, length < clusterSize)
      bytes.set(from.subarray(at, at + length), within)
      at += length
    }
  }

  #place(cluster: number): { readonly l1Index: number; readonly index: number } {
    const { l2Entries } = this.#parts.geometry
    const l1Index = Math.floor(cluster / l2Entries)
    return { l1Index, index: cluster - l1Index * l2Entries }
  }

  /** The staged bytes of a guest cluster, to be changed at once. Without `keep` their content is the caller's to give. */
  async #stage(cluster: number, keep: boolean): Promise<Uint8Array> {
    const { geometry, reader, allocator, cache, size, storage } = this.#parts
    const { clusterSize } = geometry
    const { tables } = reader.map
    const { l1Index, index } = this.#place(cluster)
    const current = await tables.l2(l1Index)
    if (current !== undefined) {
      const entry = reader.map.decode(current, index)
      if (entry.kind === 'cluster' && this.#isStaged(entry)) {
        const known = cache.get(entry.host / clusterSize)
        if (known !== undefined) return known
        const bytes = new Uint8Array(clusterSize)
        if (keep) await storage.read(entry.host, bytes)
        cache.set(entry.host / clusterSize, bytes)
        return bytes
      }
    }
    const bytes = new Uint8Array(clusterSize)
    const start = cluster * clusterSize
    if (keep) await reader.read(start, bytes.subarray(0, Math.min(clusterSize, size - start)))
    const table = await tables.l2ForChange(l1Index)
    const { compression } = this.#parts
    const host = compression?.wants(cluster, reader.map.decode(table, index))
      ? compression.unplaced(cluster)
      : allocator.allocate(1).first
    this.#replace(table, index, host * clusterSize)
    cache.set(host, bytes)
    return bytes
  }

  /** Staged clusters are always whole: all subclusters allocated. */
  #isStaged(entry: Extract<Entry, { kind: 'cluster' }>): boolean {
    return entry.host > 0 && this.#parts.allocator.isStaged(entry.host / this.#parts.geometry.clusterSize)
  }

  /** Writes whole clusters from one L2 table to the file. @returns bytes written; 0 when the first is to be compressed. */
  async #writeDirect(cluster: number, from: Uint8Array): Promise<number> {
    const { geometry, reader, allocator, cache, storage } = this.#parts
    const { clusterSize, l2Entries } = geometry
    const { tables, decode } = { tables: reader.map.tables, decode: reader.map.decode.bind(reader.map) }
    const { l1Index, index } = this.#place(cluster)
    const most = Math.min(
      from.length / clusterSize,
      l2Entries - index,
      Math.max(1, Math.floor(MAX_DIRECT / clusterSize)),
    )
    const table = await tables.l2ForChange(l1Index)
    const { compression } = this.#parts
    /** -1: not staged. -2: to be compressed, or in memory for that. */
    const hostOf = (at: number): number => {
      const entry = decode(table, at)
      if (compression?.wants(cluster + at - index, entry)) return -2
      if (entry.kind !== 'cluster' || !this.#isStaged(entry)) return -1
      const host = entry.host / clusterSize
      return allocator.isUnplaced(host) ? -2 : host
    }
    const own = hostOf(index)
    if (own === -2) return 0
    let count = 1
    if (own >= 0) {
      // Staged before: nothing on disk reaches these clusters, so they are written over.
      while (count < most && hostOf(index + count) === own + count) count++
      await storage.write(own * clusterSize, from.subarray(0, count * clusterSize))
      cache.drop(own, count)
      return count * clusterSize
    }
    while (count < most && hostOf(index + count) === -1) count++
    const run = allocator.allocate(count)
    try {
      await storage.write(run.first * clusterSize, from.subarray(0, run.count * clusterSize))
    } catch (error) {
      allocator.freeStaged(run.first, run.count)
      throw error
    }
    for (let at = 0; at < run.count; at++) this.#replace(table, index + at, (run.first + at) * clusterSize)
    return run.count * clusterSize
  }

  /** Points an entry at a staged cluster and lets go of what it held. */
  #replace(table: L2Table, index: number, host: number): void {
    this.#letGo(this.#parts.reader.map.decode(table, index))
    table.set(index, (Math.floor(host / TWO_32) | COPIED) >>> 0, host >>> 0)
    if (this.#parts.geometry.subclusters > 1) table.setBitmaps(index, 0, ALL)
  }

  #letGo(entry: Entry): void {
    const { allocator, cache, geometry } = this.#parts
    const { clusterSize } = geometry
    if (entry.kind === 'hole') return
    if (entry.kind === 'compressed') {
      if (this.#parts.compression?.letGo(entry.offset, entry.length)) return
      const first = Math.floor(entry.offset / clusterSize)
      const last = Math.floor((entry.offset + entry.length - 1) / clusterSize)
      allocator.release(first, last - first + 1)
      return
    }
    if (entry.host < 0) return
    const cluster = entry.host / clusterSize
    if (allocator.isStaged(cluster)) {
      allocator.freeStaged(cluster)
      cache.drop(cluster)
    } else allocator.release(cluster)
  }

  /** @param always also where the range reads as zeros already, but a hole says so: another backing file may come. */
  async erase(offset: number, length: number, always = false): Promise<void> {
    const { geometry, size } = this.#parts
    const { clusterSize } = geometry
    const end = offset + length
    const firstWhole = Math.ceil(offset / clusterSize)
    // The last cluster of the disk is whole even where the disk ends within it.
    const endWhole = end === size ? Math.ceil(end / clusterSize) : Math.floor(end / clusterSize)
    if (firstWhole > endWhole) {
      await this.#erasePart(offset, length, always)
      return
    }
    const head = Math.min(firstWhole * clusterSize, end)
    if (head > offset) await this.#erasePart(offset, head - offset, always)
    await this.#eraseWhole(firstWhole, endWhole, always)
    const tail = Math.max(endWhole * clusterSize, head)
    if (end > tail) await this.#erasePart(tail, end - tail, always)
  }

  /** Within one cluster. */
  async #erasePart(offset: number, length: number, always: boolean): Promise<void> {
    const { geometry, reader, cache } = this.#parts
    if (!always && (await reader.readsAsZero(offset, length))) return
    await cache.relieve()
    await reader.map.tables.relieve()
    const cluster = Math.floor(offset / geometry.clusterSize)
    const bytes = await this.#stage(cluster, true)
    const within = offset - cluster * geometry.clusterSize
    bytes.fill(0, within, within + length)
  }

  async #eraseWhole(first: number, end: number, always: boolean): Promise<void> {
    const { geometry, reader, version, cache } = this.#parts
    const { clusterSize, l2Entries } = geometry
    const { map } = reader
    for (let cluster = first; cluster < end; ) {
      await map.tables.relieve()
      const { l1Index, index } = this.#place(cluster)
      const count = Math.min(end - cluster, l2Entries - index)
      const backed = always
        ? count
        : Math.max(
            0,
            Math.min(count, Math.ceil(((reader.backing?.size ?? 0) - cluster * clusterSize) / clusterSize)),
          )
      const current = await map.tables.l2(l1Index)
      if (current === undefined && backed === 0) {
        cluster += count
        continue
      }
      const changes = (table: L2Table | undefined, at: number): boolean => {
        const entry: Entry = table === undefined ? { kind: 'hole' } : map.decode(table, index + at)
        if (entry.kind === 'hole') return at < backed
        return entry.kind === 'compressed' || entry.host >= 0 || entry.zero !== ALL
      }
      let at = 0
      while (at < count && !changes(current, at)) at++
      if (at < count) {
        if (version === 2)
          for (let part = at; part < Math.min(backed, count); part++) {
            // Version 2 has no way to say "zeros, whatever the backing file holds": they are written.
            await cache.relieve()
            if (
              always ||
              !(await reader.readsAsZero(
                (cluster + part) * clusterSize,
                Math.min(clusterSize, this.#parts.size - (cluster + part) * clusterSize),
              ))
            )
              (await this.#stage(cluster + part, false)).fill(0)
          }
        const from = version === 2 ? Math.max(at, backed) : at
        if (from < count) {
          const table = await map.tables.l2ForChange(l1Index)
          for (let part = from; part < count; part++)
            if (changes(table, part)) this.#setZero(table, index + part)
        }
      }
      cluster += count
    }
  }

  #setZero(table: L2Table, index: number): void {
    this.#letGo(this.#parts.reader.map.decode(table, index))
    const extended = this.#parts.geometry.subclusters > 1
    table.set(index, 0, this.#parts.version === 2 || extended ? 0 : ZERO)
    if (extended) table.setBitmaps(index, ALL, 0)
  }
}
