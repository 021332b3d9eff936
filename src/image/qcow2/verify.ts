import type { Range } from '../../bytes/range-set.ts'
import type { Storage } from '../../device/storage.ts'
import { readBitmapDirectory } from './bitmap-directory.ts'
import type { ClusterCounts } from './cluster-counts.ts'
import { corrupt } from './corruption.ts'
import { type Header, INCOMPATIBLE } from './header.ts'
import { COMPRESSED, entryOffset, L1Table } from './l2-table.ts'
import { readPadded, readPieces } from './padded-read.ts'
import { compareRefcounts } from './refcount-compare.ts'
import { readRefcountTable } from './refcount-table.ts'
import { countReferences, type TableObserver } from './references.ts'

/** A refcount structure that was found right, or that is to be made anew. */
export interface Verified {
  readonly counts: ClusterCounts
  readonly blocks: readonly number[]
  /** Clusters that nothing references and whose refcount says otherwise. */
  readonly leaks: readonly Range[]
  /** True when the refcounts on disk are not to be trusted: the image has its dirty bit set. */
  readonly rebuild: boolean
  /** Whether more of the guest's clusters are stored compressed than as they are. */
  readonly mostlyCompressed: boolean
}

/** More than any crash leaves; beyond it, a refcount structure is noise. */
const MAX_LEAK_RUNS = 1 << 20

const ADVICE = 'Run "drydisk check --repair all", or open the image for reading only'

/**
 * Holds the whole refcount structure against the references before anything may be written: an allocator that trusts a wrong
 * refcount overwrites data.
 * Errors: `ERR_CORRUPT` when a cluster is in use and its refcount is too low, or the tables are wrong in themselves.
 */
export async function verifyRefcounts(storage: Storage, header: Header): Promise<Verified> {
  const { geometry } = header
  const fail = (what: string): never => {
    throw corrupt(storage.name, `${what}. Writing to such an image would make it worse. ${ADVICE}`, {
      structure: 'refcounts',
    })
  }
  const blocks = await readRefcountTable(storage, header)
  if (new Set(blocks.filter(offset => offset !== 0)).size !== blocks.filter(offset => offset !== 0).length)
    fail('the refcount table names the same block twice')
  const stored = new StoredClusters()
  const counts = await countReferences(storage, header, blocks, what => fail(what()), stored)
  // A commit writes these in place too.
  if (counts.get(0) > 1) fail('the header cluster is in use for something else too')
  const directory = await readBitmapDirectory(storage, header)
  if (directory !== undefined)
    for (let at = directory.offset; at < directory.offset + directory.length; at += geometry.clusterSize)
      if (counts.get(at / geometry.clusterSize) > 1)
        fail('the bitmap directory is in use for something else too')
  if ((header.incompatible_features & INCOMPATIBLE.dirty) !== 0n) {
    checkWidth(counts, header, fail)
    return { counts, blocks, leaks: [], rebuild: true, mostlyCompressed: stored.mostlyCompressed }
  }
  const leaks: { start: number; end: number }[] = []
  const addLeak = (cluster: number): void => {
    const last = leaks.at(-1)
    if (last?.end === cluster) last.end++
    else if (leaks.length < MAX_LEAK_RUNS) leaks.push({ start: cluster, end: cluster + 1 })
    else fail(`more than ${MAX_LEAK_RUNS} runs of clusters have a refcount and are not in use`)
  }
  const shared: { cluster: number; references: number; refcount: number }[] = []
  await compareRefcounts(storage, geometry, blocks, counts, (cluster, references, refcount) => {
    if (refcount < references)
      fail(`cluster ${cluster} is referenced ${references} times and its refcount is ${refcount}`)
    if (references === 0) addLeak(cluster)
    else if (shared.length < MAX_LEAK_RUNS) shared.push({ cluster, references, refcount })
    else fail(`more than ${MAX_LEAK_RUNS} clusters have a refcount that is too high`)
  })
  if (shared.length > 0) {
    const active = await activeClusters(storage, header, new Set(shared.map(({ cluster }) => cluster)))
    // Lowering it would call for another OFLAG_COPIED in the active tables; such a leak stays.
    for (const { cluster, refcount } of shared)
      if (active.has(cluster)) counts.set(cluster, Math.min(refcount, 0xffff_ffff))
      else addLeak(cluster)
  }
  leaks.sort((a, b) => a.start - b.start)
  return { counts, blocks, leaks, rebuild: false, mostlyCompressed: stored.mostlyCompressed }
}

/** Counts how the active tables store the guest's clusters. */
class StoredClusters implements TableObserver {
  #active = false
  #plain = 0
  #compressed = 0

  get mostlyCompressed(): boolean {
    return this.#compressed > this.#plain
  }

  table(_offset: number, active: number): void {
    this.#active = active > 0
  }

  clusters(_index: number, _host: number, count: number): void {
    if (this.#active) this.#plain += count
  }

  compressed(): void {
    if (this.#active) this.#compressed++
  }

  fault(): void {}
}

function checkWidth(counts: ClusterCounts, header: Header, fail: (what: string) => never): void {
  if (header.geometry.refcountMax >= 0xffff) return
  for (const { first, count } of counts.ranges())
    for (let cluster = first; cluster < first + count; cluster++)
      if (counts.get(cluster) > header.geometry.refcountMax)
        fail(`cluster ${cluster} is referenced ${counts.get(cluster)} times, more than its refcount can say`)
}

/** Which of the clusters the active tables reference. */
async function activeClusters(
  storage: Storage,
  header: Header,
  wanted: ReadonlySet<number>,
): Promise<Set<number>> {
  const { clusterSize, l2Entries, l2EntrySize } = header.geometry
  const found = new Set<number>()
  const bytes = new Uint8Array(header.l1_size * 8)
  await readPadded(storage, header.l1_table_offset, bytes)
  const l1 = new L1Table(bytes)
  const offsets = new Set<number>()
  for (let index = 0; index < l1.length; index++) if (l1.offset(index) !== 0) offsets.add(l1.offset(index))
  for (const offset of offsets) if (wanted.has(offset / clusterSize)) found.add(offset / clusterSize)
  const sorted = Float64Array.from(offsets).sort()
  await readPieces(storage, sorted, clusterSize, (_offset, table) => {
    const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
    for (let at = 0; at < l2Entries * l2EntrySize; at += l2EntrySize) {
      const high = view.getUint32(at)
      if ((high & COMPRESSED) !== 0) continue
      const cluster = entryOffset(high, view.getUint32(at + 4)) / clusterSize
      if (wanted.has(cluster)) found.add(cluster)
    }
  })
  return found
}
