import { TWO_32 } from './geometry.ts'
import { COMPRESSED, COPIED, entryOffset, type L1Table, L2Table, ZERO } from './l2-table.ts'
import type { Restructure } from './restructure.ts'
import { fixCopied, rewriteTables, type Switching, tablesOf } from './table-references.ts'

/** Bytes of zeros in one write. */
const MAX_WRITE = 1 << 20

/** Long work that can be followed and stopped. */
export interface Job extends Switching {
  /** Told of bytes of tables. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
}

/**
 * Turns clusters that a flag says are zeros into what version 2 has for them: nothing where there is no backing file, else
 * clusters that hold zeros. L1 tables are changed here, L2 tables go to new clusters.
 * @param active the L1 table of the disk.
 * @param saved those of the snapshots.
 * @returns whether an L1 table of a snapshot changed.
 */
export async function expandZeroClusters(
  restructure: Restructure,
  active: L1Table,
  saved: readonly L1Table[],
  job: Job,
): Promise<boolean> {
  const { header, counts } = restructure
  const { geometry } = header
  const { clusterSize, l2Entries } = geometry
  const { offsets, times } = tablesOf([active, ...saved])
  const activeTables = tablesOf([active]).times
  const zeros = new ZeroWriter(restructure)
  const places = new Map<number, number>()
  let done = 0
  let released = false
  await rewriteTables(
    restructure,
    offsets,
    async (bytes, offset) => {
      job.onProgress?.({ done: done++ * clusterSize, total: offsets.length * clusterSize })
      const references = times.get(offset) ?? 1
      const table = new L2Table(geometry, offset, bytes)
      for (let index = 0; index < l2Entries; index++) {
        const high = table.high(index)
        const low = table.low(index)
        if ((high & COMPRESSED) !== 0 || (low & ZERO) === 0) continue
        const host = entryOffset(high, low)
        if (host !== 0) {
          counts.add(host / clusterSize, -references)
          released = true
        }
        if (header.backingFile === undefined) table.set(index, 0, 0)
        else {
          const place = (await zeros.cluster(references)) * clusterSize
          const copied = references === 1 && activeTables.has(offset) ? COPIED : 0
          table.set(index, (Math.floor(place / TWO_32) | copied) >>> 0, place >>> 0)
        }
      }
      return table.dirty
    },
    (from, to) => {
      const references = times.get(from) ?? 1
      places.set(from, to)
      counts.set(to / clusterSize, references)
      counts.add(from / clusterSize, -references)
    },
  )
  await zeros.end()
  let moved = false
  for (const l1 of [active, ...saved])
    for (let index = 0; index < l1.length; index++) {
      const place = places.get(l1.offset(index))
      if (place === undefined) continue
      if (l1 !== active) moved = true
      l1.set(index, place, (l1.high(index) & COPIED) !== 0)
    }
  if (released) await fixCopied(restructure, [active])
  return moved
}

/** Allocates clusters and fills them with zeros, those in a row together. */
class ZeroWriter {
  readonly #restructure: Restructure
  #first = 0
  #count = 0

  constructor(restructure: Restructure) {
    this.#restructure = restructure
  }

  async cluster(references: number): Promise<number> {
    const { counts, header } = this.#restructure
    const cluster = this.#restructure.allocate()
    counts.set(cluster, references)
    if (cluster !== this.#first + this.#count || this.#count * header.geometry.clusterSize >= MAX_WRITE) {
      await this.end()
      this.#first = cluster
    }
    this.#count++
    return cluster
  }

  async end(): Promise<void> {
    const { storage, header } = this.#restructure
    const { clusterSize } = header.geometry
    if (this.#count > 0)
      await storage.write(this.#first * clusterSize, new Uint8Array(this.#count * clusterSize))
    this.#count = 0
  }
}
