import { DrydiskError } from '../../errors.ts'
import type { ClusterRun } from './cluster-chain.ts'
import type { FatTable } from './fat-table.ts'
import { type FatGeometry, FIRST_CLUSTER } from './geometry.ts'

/** Which clusters are free: a bit for each, counted from the FAT itself and not taken from FSInfo's hints. */
export class ClusterAllocator {
  readonly #end: number
  readonly #free: Uint8Array
  #count = 0
  #bad = 0
  #last: number

  private constructor(geometry: FatGeometry, last: number) {
    this.#end = FIRST_CLUSTER + geometry.clusters
    this.#free = new Uint8Array(Math.ceil(this.#end / 8))
    this.#last = geometry.isCluster(last) ? last : FIRST_CLUSTER
  }

  /** @param last FSInfo's hint: the cluster that was given out last. */
  static async read(table: FatTable, geometry: FatGeometry, last: number): Promise<ClusterAllocator> {
    const allocator = new ClusterAllocator(geometry, last)
    await table.scan(geometry.activeFat, (cluster, next) => {
      if (next === 0) allocator.#mark(cluster)
      else if (next === geometry.marks.bad) allocator.#bad++
    })
    return allocator
  }

  get freeClusters(): number {
    return this.#count
  }

  /** Clusters that are marked as bad. */
  get badClusters(): number {
    return this.#bad
  }

  /** The cluster that was given out last. */
  get last(): number {
    return this.#last
  }

  /**
   * Takes clusters, in as few runs as there are from a place on.
   * @param after the cluster that they are to follow; where none was given, the one given out last.
   */
  allocate(wanted: number, after?: number): ClusterRun[] {
    this.require(wanted)
    const runs: ClusterRun[] = []
    let at = (after ?? this.#last) + 1
    for (let left = wanted; left > 0; ) {
      const cluster = this.#next(at) ?? this.#next(FIRST_CLUSTER)
      if (cluster === undefined) break
      let count = 0
      while (count < left && this.#isFree(cluster + count)) {
        this.#take(cluster + count)
        count++
      }
      runs.push({ cluster, count })
      left -= count
      at = cluster + count
      this.#last = at - 1
    }
    return runs
  }

  /** `ENOSPC` unless there are so many. */
  require(clusters: number): void {
    if (clusters <= this.#count) return
    throw new DrydiskError(
      'ENOSPC',
      `FAT: no space left: ${clusters} clusters are needed and ${this.#count} are free`,
      { needed: clusters, free: this.#count },
    )
  }

  release({ cluster, count }: ClusterRun): void {
    for (let index = 0; index < count; index++) this.#mark(cluster + index)
  }

  #isFree(cluster: number): boolean {
    return cluster < this.#end && ((this.#free[cluster >> 3] ?? 0) & (1 << (cluster & 7))) !== 0
  }

  #mark(cluster: number): void {
    if (this.#isFree(cluster)) return
    this.#free[cluster >> 3] = (this.#free[cluster >> 3] ?? 0) | (1 << (cluster & 7))
    this.#count++
  }

  #take(cluster: number): void {
    this.#free[cluster >> 3] = (this.#free[cluster >> 3] ?? 0) & ~(1 << (cluster & 7))
    this.#count--
  }

  #next(from: number): number | undefined {
    for (let cluster = from; cluster < this.#end; cluster++) {
      if ((cluster & 7) === 0 && this.#free[cluster >> 3] === 0) cluster += 7
      else if (this.#isFree(cluster)) return cluster
    }
    return undefined
  }
}
