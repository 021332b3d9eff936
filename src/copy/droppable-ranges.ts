import { RangeSet } from '../bytes/range-set.ts'

/** Images are freed and punched in whole sectors. */
const SECTOR = 512
/** About 16 MiB of memory; a disk with more pieces of free space than this has most of its free space in few of them. */
export const MOST_RUNS = 1 << 20
/** Where pieces are left out for their number, those below a page go first. */
const FIRST_SHORTEST = 4096

/**
 * Ranges of a disk, rounded inward to sectors, in bounded memory: when they become too many, the shortest are left out,
 * twice as long ones at each step, until half as many are left. Ranges of a filesystem are added in order, which is cheap.
 */
export class DroppableRanges {
  readonly #most: number
  #ranges = new RangeSet()
  #shortest = SECTOR

  constructor(most = MOST_RUNS) {
    this.#most = most
  }

  get ranges(): RangeSet {
    return this.#ranges
  }
  /** Bytes that a run has to have to count; 512 unless there were too many. */
  get shortest(): number {
    return this.#shortest
  }
  /** Whether any were left out. */
  get cut(): boolean {
    return this.#shortest > SECTOR
  }

  add(start: number, end: number): void {
    const first = Math.ceil(start / SECTOR) * SECTOR
    const last = Math.floor(end / SECTOR) * SECTOR
    if (last - first < this.#shortest) return
    this.#ranges.add(first, last)
    if (this.#ranges.runs > this.#most) this.#leaveOutShort()
  }

  /** What was added in a window no longer counts. */
  withdraw(start: number, end: number): void {
    this.#ranges.delete(start, end)
  }

  /** Bytes in a window. */
  within(start: number, end: number): number {
    let total = 0
    for (const range of this.#ranges.ranges(start, end)) total += range.end - range.start
    return total
  }

  #leaveOutShort(): void {
    while (this.#ranges.runs > this.#most / 2) {
      this.#shortest = Math.max(FIRST_SHORTEST, this.#shortest * 2)
      const longer = new RangeSet()
      for (const { start, end } of this.#ranges.ranges())
        if (end - start >= this.#shortest) longer.add(start, end)
      this.#ranges = longer
    }
  }
}
