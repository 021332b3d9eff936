import { corrupt } from './corruption.ts'
import type { Geometry } from './geometry.ts'
import { COMPRESSED, COPIED, compressedDescriptor, entryOffset, type L2Table, ZERO } from './l2-table.ts'
import type { MappingTables } from './mapping-tables.ts'

/** Where a run of guest bytes is. */
export type Run =
  /** In the file (or the data file), in one piece from `host`. */
  | { readonly kind: 'data'; readonly length: number; readonly host: number }
  /** Reads as zeros. `host`: an allocated cluster stands behind it, in one piece from there. */
  | { readonly kind: 'zero'; readonly length: number; readonly host?: number }
  /** Not here: in the backing file, or zeros. `host`: these subclusters have a place all the same, from there. */
  | { readonly kind: 'hole'; readonly length: number; readonly host?: number }
  /** In one compressed cluster, from `within` of its decompressed bytes. */
  | {
      readonly kind: 'compressed'
      readonly length: number
      readonly host: number
      readonly stored: number
      readonly within: number
    }

/** What one L2 entry says. */
export type Entry =
  | { readonly kind: 'hole' }
  | { readonly kind: 'compressed'; readonly offset: number; readonly length: number }
  /** An extended entry has bitmaps; in a standard one they are 0 or all ones. `host` is -1 without a cluster. */
  | { readonly kind: 'cluster'; readonly host: number; readonly zero: number; readonly allocated: number }

const ALL = 0xffff_ffff

/** Decodes and checks one L2 entry. */
export function decodeEntry(
  name: string,
  geometry: Geometry,
  dataFile: boolean,
  table: L2Table,
  index: number,
  version: 2 | 3,
): Entry {
  const high = table.high(index)
  const low = table.low(index)
  const extended = geometry.subclusters > 1
  if (high === 0 && low === 0 && !extended) return { kind: 'hole' }
  const wrong = (what: string): Error =>
    corrupt(name, `L2 entry ${index} at byte ${table.offset} ${what}`, {
      structure: 'L2 table',
      offset: table.offset,
      index,
    })
  if ((high & COMPRESSED) !== 0) {
    if (dataFile) throw wrong('is compressed, which an image with an external data file cannot have')
    if (extended && (table.zeroBitmap(index) !== 0 || table.allocatedBitmap(index) !== 0))
      throw wrong('is compressed and has a subcluster bitmap')
    const { offset, length } = compressedDescriptor(geometry.clusterBits, high, low)
    if (!(offset < 2 ** 53)) throw wrong('is compressed at an offset beyond any file')
    return { kind: 'compressed', offset, length }
  }
  const offset = entryOffset(high, low)
  if (offset % geometry.clusterSize !== 0)
    throw wrong(`points at byte ${offset}, which is no cluster boundary`)
  const host = offset !== 0 || (dataFile && (high & COPIED) !== 0) ? offset : -1
  if (!extended) {
    if ((low & ZERO) !== 0) {
      if (version === 2) throw wrong('has the zero flag, which version 2 does not know')
      return { kind: 'cluster', host, zero: ALL, allocated: 0 }
    }
    return host < 0 ? { kind: 'hole' } : { kind: 'cluster', host, zero: 0, allocated: ALL }
  }
  const zero = table.zeroBitmap(index)
  const allocated = table.allocatedBitmap(index)
  if ((zero & allocated) !== 0) throw wrong('calls the same subcluster allocated and zero')
  if (host < 0 && allocated !== 0) throw wrong('calls a subcluster allocated and has no cluster')
  if (host < 0 && zero === 0) return { kind: 'hole' }
  return { kind: 'cluster', host, zero, allocated }
}

/** Says where guest bytes are; does no input or output but loading tables. */
export class ClusterMap {
  /** Of the image, for messages. */
  readonly name: string
  readonly #geometry: Geometry
  readonly #dataFile: boolean
  readonly #version: 2 | 3
  readonly tables: MappingTables

  constructor(name: string, geometry: Geometry, dataFile: boolean, version: 2 | 3, tables: MappingTables) {
    this.name = name
    this.#geometry = geometry
    this.#dataFile = dataFile
    this.#version = version
    this.tables = tables
  }

  decode(table: L2Table, index: number): Entry {
    const entry = decodeEntry(this.name, this.#geometry, this.#dataFile, table, index, this.#version)
    return entry
  }

  /** The longest run from `offset` that one answer covers, at most `most` bytes. */
  async run(offset: number, most: number): Promise<Run> {
    const l1Index = Math.floor(offset / this.#geometry.l2Span)
    return this.runIn(await this.tables.l2(l1Index), offset, most)
  }

  /** As `run`, with the L2 table of `offset` in hand; `undefined` when its L1 entry has none. */
  runIn(table: L2Table | undefined, offset: number, most: number): Run {
    const { l2Span, clusterSize } = this.#geometry
    const l1Index = Math.floor(offset / l2Span)
    const length = Math.min(most, (l1Index + 1) * l2Span - offset)
    if (table === undefined) return { kind: 'hole', length: this.#emptyTables(l1Index, offset, most) }
    const start = offset - l1Index * l2Span
    let index = Math.floor(start / clusterSize)
    let within = start - index * clusterSize
    const first = this.#piece(table, index, within)
    if (first.kind === 'compressed') return { ...first, length: Math.min(first.length, length) }
    let total = first.length
    while (total < length) {
      const position = start + total
      index = Math.floor(position / clusterSize)
      const plain = this.#plainEnd(table, index, Math.ceil((start + length) / clusterSize), first, total)
      if (plain > index) {
        total += (plain - index) * clusterSize
        continue
      }
      within = position - index * clusterSize
      const next = this.#piece(table, index, within)
      if (next.kind !== first.kind) break
      if (first.kind === 'data' && next.kind === 'data' && next.host !== first.host + total) break
      if (
        (first.kind === 'zero' || first.kind === 'hole') &&
        (next.kind === 'zero' || next.kind === 'hole') &&
        (first.host === undefined ? next.host !== undefined : next.host !== first.host + total)
      )
        break
      total += next.length
    }
    return { ...first, length: Math.min(total, length) }
  }

  /** The end of the standard entries that plainly go on with the run: most do, and this is several times as fast as decoding them. */
  #plainEnd(table: L2Table, index: number, end: number, run: Run, total: number): number {
    if (this.#geometry.subclusters > 1) return index
    if (run.kind === 'hole' && run.host === undefined) return table.endOfHole(index, end)
    if (run.kind !== 'data') return index
    return table.endOfData(index, end, run.host + total, this.#geometry.clusterSize)
  }

  /** An L1 entry without a table answers for its whole span at once, together with its neighbours. */
  #emptyTables(l1Index: number, offset: number, most: number): number {
    const { l1 } = this.tables
    let next = l1Index + 1
    while (next < l1.length && next * this.#geometry.l2Span < offset + most && l1.offset(next) === 0) next++
    return Math.min(most, next * this.#geometry.l2Span - offset)
  }

  /** The run from `within` of a cluster to the end of the cluster or, with subclusters, as far as they are alike. */
  #piece(table: L2Table, index: number, within: number): Run {
    const { clusterSize, subclusters } = this.#geometry
    const entry = this.decode(table, index)
    const rest = clusterSize - within
    if (entry.kind === 'hole') return { kind: 'hole', length: rest }
    if (entry.kind === 'compressed')
      return { kind: 'compressed', length: rest, host: entry.offset, stored: entry.length, within }
    const placed = (kind: 'zero' | 'hole', length: number): Run =>
      entry.host < 0 ? { kind, length } : { kind, length, host: entry.host + within }
    if (entry.zero === ALL) return placed('zero', rest)
    if (entry.allocated === ALL) return { kind: 'data', length: rest, host: entry.host + within }
    const size = clusterSize / subclusters
    let sub = Math.floor(within / size)
    const kindOf = (bit: number): 'data' | 'zero' | 'hole' =>
      ((entry.allocated >>> bit) & 1) !== 0 ? 'data' : ((entry.zero >>> bit) & 1) !== 0 ? 'zero' : 'hole'
    const kind = kindOf(sub)
    do sub++
    while (sub < subclusters && kindOf(sub) === kind)
    const length = sub * size - within
    return kind === 'data' ? { kind, length, host: entry.host + within } : placed(kind, length)
  }
}
