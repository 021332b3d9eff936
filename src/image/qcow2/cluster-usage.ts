import type { ClusterCounts } from './cluster-counts.ts'

/** How many clusters below an index are in use, answered quickly. Holds as long as the counts do not change. */
export class ClusterUsage {
  readonly #counts: ClusterCounts
  readonly #ranges: { readonly first: number; readonly count: number }[]
  /** Clusters in use below the range of the same index; one more entry holds them all. */
  readonly #before: number[] = [0]

  constructor(counts: ClusterCounts) {
    this.#counts = counts
    this.#ranges = counts.ranges()
    for (const { first, count } of this.#ranges)
      this.#before.push((this.#before.at(-1) ?? 0) + counts.used(first, count))
  }

  get total(): number {
    return this.#before.at(-1) ?? 0
  }

  below(cluster: number): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ranges[middle]?.first ?? 0) < cluster) low = middle + 1
      else high = middle
    }
    const range = this.#ranges[low - 1]
    if (range === undefined) return 0
    if (cluster >= range.first + range.count) return this.#before[low] ?? 0
    return (this.#before[low - 1] ?? 0) + this.#counts.used(range.first, cluster - range.first)
  }
}
