/** Bytes of compressed clusters that are to move, by their place in the file. */
export class CompressedExtents {
  #offsets = new Float64Array(64)
  #lengths = new Uint32Array(64)
  #references = new Float64Array(64)
  #to = new Float64Array(0)
  #count = 0
  #sorted = true

  get count(): number {
    return this.#count
  }

  /** @param references how many L1 entries lead here by this entry. */
  add(offset: number, length: number, references: number): void {
    if (this.#count === this.#offsets.length) {
      this.#offsets = longer(this.#offsets, new Float64Array(this.#count * 2))
      this.#lengths = longer(this.#lengths, new Uint32Array(this.#count * 2))
      this.#references = longer(this.#references, new Float64Array(this.#count * 2))
    }
    if (this.#count > 0 && offset <= (this.#offsets[this.#count - 1] ?? 0)) this.#sorted = false
    this.#offsets[this.#count] = offset
    this.#lengths[this.#count] = length
    this.#references[this.#count] = references
    this.#count++
  }

  /** Puts them in order, each place once: to be called when all are there. */
  settle(): void {
    const count = this.#count
    if (!this.#sorted) {
      const order = Uint32Array.from({ length: count }, (_, index) => index)
      const [offsets, lengths, references] = [this.#offsets, this.#lengths, this.#references]
      order.sort((a, b) => (offsets[a] ?? 0) - (offsets[b] ?? 0))
      this.#offsets = Float64Array.from(order, index => offsets[index] ?? 0)
      this.#lengths = Uint32Array.from(order, index => lengths[index] ?? 0)
      this.#references = Float64Array.from(order, index => references[index] ?? 0)
      this.#joinSame()
    }
    this.#to = new Float64Array(this.#count)
  }

  /** Snapshots name the same compressed cluster from several tables. */
  #joinSame(): void {
    let kept = -1
    for (let index = 0; index < this.#count; index++) {
      if (kept >= 0 && this.#offsets[kept] === this.#offsets[index]) {
        this.#lengths[kept] = Math.max(this.#lengths[kept] ?? 0, this.#lengths[index] ?? 0)
        this.#references[kept] = (this.#references[kept] ?? 0) + (this.#references[index] ?? 0)
        continue
      }
      kept++
      this.#offsets[kept] = this.#offsets[index] ?? 0
      this.#lengths[kept] = this.#lengths[index] ?? 0
      this.#references[kept] = this.#references[index] ?? 0
    }
    this.#count = kept + 1
  }

  offset(index: number): number {
    return this.#offsets[index] ?? 0
  }
  length(index: number): number {
    return this.#lengths[index] ?? 0
  }
  references(index: number): number {
    return this.#references[index] ?? 0
  }

  place(index: number, to: number): void {
    this.#to[index] = to
  }

  /** Where the extent at the offset goes; 0 when it stays. */
  placeOf(offset: number): number {
    let low = 0
    let high = this.#count
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#offsets[middle] ?? 0) < offset) low = middle + 1
      else high = middle
    }
    return low < this.#count && this.#offsets[low] === offset ? (this.#to[low] ?? 0) : 0
  }
}

function longer<A extends Float64Array | Uint32Array>(from: A, into: A): A {
  into.set(from)
  return into
}

/** A run of free clusters. */
export interface FreeRun {
  readonly first: number
  readonly count: number
}

const SECTOR = 512

/**
 * Finds places for extents from index `from` on, one after another, in runs of free clusters. Each keeps its place within a
 * sector, so that its descriptor keeps its number of sectors, and extents that overlap (the end of one lies in the same sector as
 * the next one's beginning) stay as they are to each other where a run goes on.
 * @param refcountMax of the image: no more extents go into one cluster.
 * @param place told of each extent's new byte offset.
 * @returns index of the first extent for which there was no room, and how many clusters were begun.
 */
export function packExtents(
  extents: CompressedExtents,
  from: number,
  runs: Iterator<FreeRun>,
  { clusterSize, refcountMax }: { readonly clusterSize: number; readonly refcountMax: number },
  most: number,
  place: (index: number, to: number) => void,
): { readonly next: number; readonly clusters: number } {
  let clusters = 0
  /** Of the run: first free byte and end. */
  let at = 0
  let end = 0
  /** The last cluster begun and its references. */
  let tail = -1
  let tailReferences = 0
  /** The extent before, where it is in this run. */
  let before = -1
  let beforeTo = 0
  for (let index = from; index < extents.count; index++) {
    const offset = extents.offset(index)
    const length = extents.length(index)
    const references = extents.references(index)
    for (;;) {
      let to = aligned(at, offset)
      if (before >= 0 && offset < extents.offset(before) + extents.length(before))
        to = beforeTo + offset - extents.offset(before)
      if (Math.floor(to / clusterSize) === tail && tailReferences + references > refcountMax)
        to = aligned((tail + 1) * clusterSize, offset)
      if (to + length > end) {
        const run = runs.next()
        if (run.done === true) return { next: index, clusters }
        at = run.value.first * clusterSize
        end = at + run.value.count * clusterSize
        before = -1
        tail = -1
        continue
      }
      const last = Math.floor((to + length - 1) / clusterSize)
      const first = Math.floor(to / clusterSize)
      const begun = last - first + (first === tail ? 0 : 1)
      if (clusters + begun > most) return { next: index, clusters }
      clusters += begun
      tailReferences = last === tail ? tailReferences + references : references
      tail = last
      place(index, to)
      before = index
      beforeTo = to
      at = Math.max(at, to + length)
      break
    }
  }
  return { next: extents.count, clusters }
}

/** The first byte from `at` that lies in its sector as `offset` does. */
function aligned(at: number, offset: number): number {
  const to = at - (at % SECTOR) + (offset % SECTOR)
  return to < at ? to + SECTOR : to
}
