import { RangeSet } from '../../../bytes/range-set.ts'
import type { XfsVolume } from '../volume.ts'
import type { Run } from './free-extents.ts'

/**
 * Blocks that the transaction under way has freed. A file's data is written before its transaction is over, and so not to
 * these: the transaction may be taken back, and they hold what they held before. Metadata may go there at once, which is
 * written later.
 */
export class FreedBlocks {
  readonly #volume: XfsVolume
  /** Of which transaction they are, by the volume's numbers: there is one at a time. */
  #freed = new RangeSet()
  #transaction = 0

  constructor(volume: XfsVolume) {
    this.#volume = volume
  }

  add(agno: number, { start, count }: Run): void {
    const { transaction } = this.#volume.buffers
    if (this.#transaction !== transaction) {
      this.#transaction = transaction
      this.#freed = new RangeSet()
    }
    const first = this.#base(agno) + start
    this.#freed.add(first, first + count)
  }

  /** The parts of a run that were free before. */
  freeBefore(agno: number, run: Run): readonly Run[] {
    if (this.#transaction !== this.#volume.buffers.transaction) return [run]
    const base = this.#base(agno)
    const first = base + run.start
    const parts: Run[] = []
    for (const { start, end, inside } of this.#freed.segments(first, first + run.count))
      if (!inside) parts.push({ start: start - base, count: end - start })
    return parts
  }

  #base(agno: number): number {
    return agno * this.#volume.geometry.agBlocks
  }
}
