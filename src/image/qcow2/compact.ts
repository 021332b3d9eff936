import type { Storage } from '../../device/storage.ts'
import { isDrydiskError } from '../../errors.ts'
import { ClusterUsage } from './cluster-usage.ts'
import { moveBitmaps } from './compact-bitmaps.ts'
import { denseClusters, lowestLimit, planCompaction, refcountClusters } from './compact-plan.ts'
import { type Survey, survey } from './compact-survey.ts'
import { carryOut } from './compact-write.ts'
import { checkSignal } from './move-bytes.ts'
import { Restructure } from './restructure.ts'

/** What compacting a qcow2 image takes. */
export interface CompactOptions {
  /** Aborted: `ERR_ABORTED`. What is done until then stays; the content is the same all the time. */
  readonly signal?: AbortSignal
  /** Bytes of data that are moved so far, and in all as far as is known. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
  /** Called before each switch; where it throws, that switch does not take place. */
  readonly beforeSwitch?: () => Promise<void>
}

/** What compacting did to a file. Sizes are in bytes. */
export interface CompactResult {
  /** Length of the file in bytes. */
  readonly before: number
  readonly after: number
  /** Clusters that were moved, tables included, each as often as it was. */
  readonly moved: number
  /** Bytes of data that were copied. */
  readonly copied: number
  readonly clusterSize: number
  /** Free clusters that are left below the end of the file. */
  readonly slack: number
}

/** Each round leaves less free than the one before; more than two are for tables of several clusters. */
const ROUNDS = 4

/**
 * Makes the file of a qcow2 image as short as what it holds: clusters from its tail move into free ones below, tables that
 * refer to them are written anew, and the file is cut. Everything moves: data, compressed clusters, tables, snapshots, bitmaps.
 * Free clusters are not read. Each step is one switch of the header, so at every instant the file is a valid image with the same
 * content. While it runs, the file grows by the tables that are written anew at most.
 *
 * Afterwards no cluster below the end is free, with these exceptions: a table of several clusters finds no run of free ones
 * that is long enough, or compressed clusters do not fill the clusters that they share.
 *
 * The image must not be open; afterwards it may be opened.
 * Errors: `ERR_CORRUPT`; what the storage throws (with the image as it was, or further compacted); `ERR_ABORTED`.
 */
export async function compactQcow2(storage: Storage, options: CompactOptions = {}): Promise<CompactResult> {
  const compaction = new Compaction(storage, options)
  const before = storage.size
  let state = await compaction.look()
  for (let round = 0; round < ROUNDS && !state.dense; round++) {
    const length = storage.size
    await compaction.round(state)
    state = await compaction.look()
    if (storage.size >= length) break
  }
  return {
    before,
    after: storage.size,
    moved: compaction.moved,
    copied: compaction.copied,
    clusterSize: state.restructure.header.geometry.clusterSize,
    slack: state.free,
  }
}

interface State {
  readonly restructure: Restructure
  readonly found: Survey
  /** Clusters below the end of the file that nothing uses. */
  readonly free: number
  /** Clusters of the file with nothing free in it. */
  readonly goal: number
  readonly dense: boolean
}

class Compaction {
  readonly #storage: Storage
  readonly #options: CompactOptions
  moved = 0
  copied = 0
  #total = 0

  constructor(storage: Storage, options: CompactOptions) {
    this.#storage = storage
    this.#options = options
  }

  async look(): Promise<State> {
    const restructure = await Restructure.of(this.#storage, this.#options.signal)
    const { clusterSize } = restructure.header.geometry
    const end = restructure.old.end()
    const found = await survey(restructure)
    const used = new ClusterUsage(restructure.counts).total - found.empty.size
    const goal = denseClusters(used, restructure)
    return {
      restructure,
      found,
      goal,
      free: end - new ClusterUsage(restructure.old).total,
      // The last cluster may be there in part.
      dense: end <= goal && this.#storage.size <= end * clusterSize,
    }
  }

  async round(begin: State): Promise<void> {
    let state = begin
    if (await moveBitmaps(state.restructure, state.goal, this.#options)) state = await this.look()
    await this.#pass(state, {
      limit: lowestLimit(state.restructure, state.found),
      tablesFrom: 1,
      mustGain: true,
    })
    state = await this.look()
    if (state.dense) return
    // What is written anew leaves holes where it was. Now it goes past the end, and in the next step down into these holes.
    try {
      const tablesFrom = state.restructure.old.end()
      await this.#pass(state, { limit: state.goal, tablesFrom, mustGain: false })
    } catch (error) {
      if (isDrydiskError(error, 'ENOSPC') && error.context.published !== true && this.moved > 0) return
      throw error
    }
    state = await this.look()
    await this.#pass(state, {
      limit: lowestLimit(state.restructure, state.found),
      tablesFrom: 1,
      mustGain: false,
    })
  }

  /** @param pass.mustGain nothing is done where the file would not become shorter by it. */
  async #pass(
    { restructure, found }: State,
    pass: { readonly limit: number; readonly tablesFrom: number; readonly mustGain: boolean },
  ): Promise<void> {
    checkSignal(this.#options.signal, this.#storage)
    const { limit, tablesFrom } = pass
    const plan = await planCompaction(restructure, found, {
      limit,
      tablesFrom,
      reserve: tablesFrom < limit ? refcountClusters(limit, restructure) : 0,
    })
    const { clusterSize } = restructure.header.geometry
    if (pass.mustGain && restructure.counts.end() * clusterSize >= this.#storage.size) return
    restructure.lowest = tablesFrom
    this.#total += plan.moves.total
    await carryOut(restructure, found, plan, {
      signal: this.#options.signal,
      beforeSwitch: this.#options.beforeSwitch,
      onMoved: bytes => {
        this.copied += bytes
        this.#options.onProgress?.({ done: this.copied, total: this.#total })
      },
    })
    this.moved += plan.moved
  }
}
