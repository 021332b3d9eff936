/** A run of integers: `start` up to, not including, `end`. */
export interface Range {
  readonly start: number
  readonly end: number
}

/**
 * A set of non-negative integers kept as sorted, disjoint, non-touching runs. Lookup is a binary search; adding at the
 * end, the common case, costs no shift.
 */
export class RangeSet {
  readonly #starts: number[] = []
  readonly #ends: number[] = []

  /** Number of runs. */
  get runs(): number {
    return this.#starts.length
  }

  /** Number of integers in the set. */
  get total(): number {
    let total = 0
    for (let index = 0; index < this.#starts.length; index++) total += this.#end(index) - this.#start(index)
    return total
  }

  #start(index: number): number {
    return this.#starts[index] ?? Number.POSITIVE_INFINITY
  }

  #end(index: number): number {
    return this.#ends[index] ?? Number.POSITIVE_INFINITY
  }

  /** Index of the first run whose end is at or after `at` (`touching`), or strictly after it. */
  #firstEndingFrom(at: number, touching: boolean): number {
    let low = 0
    let high = this.#ends.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const end = this.#end(middle)
      if (touching ? end < at : end <= at) low = middle + 1
      else high = middle
    }
    return low
  }

  add(start: number, end: number): void {
    if (end <= start) return
    const first = this.#firstEndingFrom(start, true)
    let last = first
    let newStart = start
    let newEnd = end
    while (last < this.#starts.length && this.#start(last) <= end) {
      newStart = Math.min(newStart, this.#start(last))
      newEnd = Math.max(newEnd, this.#end(last))
      last++
    }
    this.#starts.splice(first, last - first, newStart)
    this.#ends.splice(first, last - first, newEnd)
  }

  delete(start: number, end: number): void {
    if (end <= start) return
    const first = this.#firstEndingFrom(start, false)
    let last = first
    const starts: number[] = []
    const ends: number[] = []
    while (last < this.#starts.length && this.#start(last) < end) {
      if (this.#start(last) < start) {
        starts.push(this.#start(last))
        ends.push(start)
      }
      if (this.#end(last) > end) {
        starts.push(end)
        ends.push(this.#end(last))
      }
      last++
    }
    this.#starts.splice(first, last - first, ...starts)
    this.#ends.splice(first, last - first, ...ends)
  }

  has(value: number): boolean {
    return this.#start(this.#firstEndingFrom(value, false)) <= value
  }

  /** Whether all of the run is in the set; true for an empty run. */
  covers(start: number, end: number): boolean {
    if (end <= start) return true
    const index = this.#firstEndingFrom(start, false)
    return this.#start(index) <= start && this.#end(index) >= end
  }

  /** Whether any of the run is in the set. */
  intersects(start: number, end: number): boolean {
    return end > start && this.#start(this.#firstEndingFrom(start, false)) < end
  }

  /** The set's runs, cut to the window, in order. The set must not change meanwhile. */
  *ranges(start = 0, end = Number.POSITIVE_INFINITY): IterableIterator<Range> {
    for (
      let index = this.#firstEndingFrom(start, false);
      index < this.#starts.length && this.#start(index) < end;
      index++
    )
      yield { start: Math.max(this.#start(index), start), end: Math.min(this.#end(index), end) }
  }

  /** The window as alternating runs in and out of the set: gapless, in order. The set must not change meanwhile. */
  *segments(start: number, end: number): IterableIterator<Range & { readonly inside: boolean }> {
    let at = start
    for (const range of this.ranges(start, end)) {
      if (range.start > at) yield { start: at, end: range.start, inside: false }
      yield { ...range, inside: true }
      at = range.end
    }
    if (at < end) yield { start: at, end, inside: false }
  }

  clear(): void {
    this.#starts.length = 0
    this.#ends.length = 0
  }
}
