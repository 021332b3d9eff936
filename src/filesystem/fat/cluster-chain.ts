import { DrydiskError } from '../../errors.ts'
import type { FatTable } from './fat-table.ts'
import type { FatGeometry } from './geometry.ts'

/** Clusters with consecutive numbers. */
export interface ClusterRun {
  readonly cluster: number
  readonly count: number
}

/** The clusters of a file or directory in order, as runs. */
export class ClusterChain {
  readonly #clusters: number[] = []
  /** Clusters of the chain before each run. */
  readonly #before: number[] = []
  #length = 0

  /** Clusters. */
  get length(): number {
    return this.#length
  }

  /** Number of runs. */
  get runs(): number {
    return this.#clusters.length
  }

  get last(): number | undefined {
    return this.#length === 0 ? undefined : this.#at(this.#length - 1).cluster
  }

  append({ cluster, count }: ClusterRun): void {
    if (this.last === undefined || this.last + 1 !== cluster) {
      this.#clusters.push(cluster)
      this.#before.push(this.#length)
    }
    this.#length += count
  }

  /** Keeps the first `length` clusters. @returns what is cut off. */
  cut(length: number): ClusterRun[] {
    const cut = [...this.slice(length, this.#length)]
    while (this.#before.length > 0 && (this.#before.at(-1) ?? 0) >= length) {
      this.#before.pop()
      this.#clusters.pop()
    }
    this.#length = Math.min(length, this.#length)
    return cut
  }

  /** Cluster number `index` of the chain and those that follow it with consecutive numbers. `index` is below `length`. */
  #at(index: number): ClusterRun {
    let [low, high] = [0, this.#before.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((this.#before[middle] ?? 0) <= index) low = middle
      else high = middle - 1
    }
    const within = index - (this.#before[low] ?? 0)
    const end = this.#before[low + 1] ?? this.#length
    return { cluster: (this.#clusters[low] ?? 0) + within, count: end - index }
  }

  /** The runs from cluster `from` of the chain up to, not including, `to`. */
  *slice(from: number, to: number): IterableIterator<ClusterRun> {
    for (let index = from; index < Math.min(to, this.#length); ) {
      const { cluster, count } = this.#at(index)
      const most = Math.min(count, to - index)
      yield { cluster, count: most }
      index += most
    }
  }
}

/**
 * Follows a chain through the FAT, run by run. `ERR_CORRUPT` where it leaves the clusters that exist, leads to a free or bad one
 * or goes round in a circle.
 * @param what the chain is of, for messages.
 */
export async function* chainRuns(
  table: FatTable,
  geometry: FatGeometry,
  first: number,
  what: string,
): AsyncIterable<ClusterRun> {
  const { marks, clusters } = geometry
  const corrupt = (found: string, cluster: number) =>
    new DrydiskError(
      'ERR_CORRUPT',
      `FAT: the cluster chain of ${what} ${found} at cluster ${cluster}; run fsck.fat`,
      { structure: 'cluster chain', cluster },
    )
  // Brent's way to find a circle: the walk compares itself with a place that it was at, further and further back.
  let [watched, steps, until] = [0, 0, 1]
  for (let at = first; ; ) {
    if (!geometry.isCluster(at)) throw corrupt('leaves the volume', at)
    if (at === watched) throw corrupt('goes round in a circle', at)
    if (++steps === until) {
      watched = at
      until *= 2
      steps = 0
    }
    const { count, next } = await table.run(at, clusters)
    const last = at + count - 1
    if (next === 0) throw corrupt('leads to a free cluster', last)
    if (next === marks.bad) throw corrupt('leads to a bad cluster', last)
    yield { cluster: at, count }
    if (next >= marks.end) return
    at = next
  }
}

/**
 * Reads a whole chain.
 * @param most clusters that it may have.
 */
export async function readChain(
  table: FatTable,
  geometry: FatGeometry,
  first: number,
  most: number,
  what: string,
): Promise<ClusterChain> {
  const chain = new ClusterChain()
  if (first === 0) return chain
  for await (const run of chainRuns(table, geometry, first, what)) {
    chain.append(run)
    if (chain.length > most)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `FAT: the cluster chain of ${what} is longer than the ${most} clusters that it may have; run fsck.fat`,
        { structure: 'cluster chain', cluster: first },
      )
  }
  return chain
}
