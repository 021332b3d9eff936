import type { Storage } from '../../device/storage.ts'
import type { Entry } from './cluster-map.ts'
import { type Geometry, TWO_32 } from './geometry.ts'
import type { GuestReader } from './guest-reader.ts'
import { COPIED, type L2Table, ZERO } from './l2-table.ts'
import type { StagedFiles } from './staged-files.ts'

const ALL = 0xffff_ffff

/** Where guest bytes are written to before the commit. */
export interface GuestWriter {
  write(offset: number, from: Uint8Array): Promise<void>
  /** @param always also where the range reads as zeros already, but a hole says so: another backing file may come. */
  erase(offset: number, length: number, always?: boolean): Promise<void>
}

/**
 * Writes to an image whose data lies in an external data file, each cluster at its guest offset. The file is an overlay,
 * so nothing of this is on disk before the commit.
 */
export class DataFileStaging implements GuestWriter {
  readonly #geometry: Geometry
  readonly #size: number
  readonly #reader: GuestReader
  readonly #data: Storage
  readonly #files: StagedFiles
  readonly #raw: boolean

  /** @param raw the data file is to read as the whole disk by itself. */
  constructor(geometry: Geometry, size: number, reader: GuestReader, files: StagedFiles, raw: boolean) {
    this.#geometry = geometry
    this.#size = size
    this.#reader = reader
    this.#data = files.data
    this.#files = files
    this.#raw = raw
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    const { clusterSize } = this.#geometry
    const end = offset + from.length
    for (let cluster = Math.floor(offset / clusterSize); cluster * clusterSize < end; cluster++)
      await this.#allocate(
        cluster,
        offset <= cluster * clusterSize && end >= Math.min((cluster + 1) * clusterSize, this.#size),
      )
    await this.#data.write(offset, from)
  }

  /** Makes the cluster one of data. Without `whole`, what it read as before is written out first. */
  async #allocate(cluster: number, whole: boolean): Promise<void> {
    const { clusterSize, l2Entries, subclusters } = this.#geometry
    const { map } = this.#reader
    await map.tables.relieve()
    const l1Index = Math.floor(cluster / l2Entries)
    const index = cluster - l1Index * l2Entries
    const current = await map.tables.l2(l1Index)
    if (current !== undefined) {
      const entry = map.decode(current, index)
      if (entry.kind === 'cluster' && entry.host >= 0 && entry.allocated === ALL) return
    }
    const offset = cluster * clusterSize
    if (!whole) {
      const bytes = new Uint8Array(Math.min(clusterSize, this.#size - offset))
      await this.#reader.read(offset, bytes)
      await this.#data.write(offset, bytes)
    }
    const table = await map.tables.l2ForChange(l1Index)
    table.set(index, (Math.floor(offset / TWO_32) | COPIED) >>> 0, offset >>> 0)
    if (subclusters > 1) table.setBitmaps(index, 0, ALL)
  }

  async erase(offset: number, length: number, always = false): Promise<void> {
    const { clusterSize } = this.#geometry
    const end = offset + length
    for (let at = offset; at < end; ) {
      const run = await this.#reader.map.run(at, end - at)
      const stop = at + run.length
      if (run.kind === 'data') {
        // Reading as zeros in the data file is right in both modes; the map gains a zero flag where it may.
        await this.#files.eraseData(at, run.length)
        if (!this.#raw) await this.#flagWhole(Math.ceil(at / clusterSize), this.#wholeEnd(stop))
      } else if (run.kind === 'hole' && (always || !(await this.#reader.readsAsZero(at, run.length)))) {
        const first = Math.ceil(at / clusterSize)
        const last = this.#wholeEnd(stop)
        if (first >= last) await this.write(at, new Uint8Array(run.length))
        else {
          await this.write(at, new Uint8Array(first * clusterSize - at))
          await this.#flagWhole(first, last)
          const tail = Math.min(last * clusterSize, stop)
          await this.write(tail, new Uint8Array(stop - tail))
        }
      }
      at = stop
    }
  }

  #wholeEnd(end: number): number {
    const { clusterSize } = this.#geometry
    return end === this.#size ? Math.ceil(end / clusterSize) : Math.floor(end / clusterSize)
  }

  async #flagWhole(first: number, end: number): Promise<void> {
    const { l2Entries } = this.#geometry
    const { map } = this.#reader
    for (let cluster = first; cluster < end; ) {
      await map.tables.relieve()
      const l1Index = Math.floor(cluster / l2Entries)
      const stop = Math.min(end, (l1Index + 1) * l2Entries)
      const table = await map.tables.l2ForChange(l1Index)
      for (; cluster < stop; cluster++) this.#flag(table, cluster - l1Index * l2Entries)
    }
  }

  #flag(table: L2Table, index: number): void {
    const entry: Entry = this.#reader.map.decode(table, index)
    const host = entry.kind === 'cluster' ? entry.host : -1
    const extended = this.#geometry.subclusters > 1
    const high = host < 0 ? 0 : (Math.floor(host / TWO_32) | COPIED) >>> 0
    table.set(index, high, (host < 0 ? 0 : host >>> 0) | (extended ? 0 : ZERO))
    if (extended) table.setBitmaps(index, ALL, 0)
  }
}
