import { DrydiskError } from '../../errors.ts'
import type { Geometry } from './geometry.ts'
import { COMPRESSED, COPIED, RESERVED_HIGH, RESERVED_LOW, ZERO } from './l2-table.ts'
import type { TableObserver } from './references.ts'
import type { EntryFault } from './references-l2.ts'

/** Entries with faults of their own; more is no damage any more but noise. */
const MAX_ENTRIES = 1 << 20
/** Problems that are told of when an image cannot be repaired. */
const MAX_TOLD = 5

/** An L2 table, by its byte offset in the file, and how often L1 tables name it. */
export interface NamedTable {
  readonly offset: number
  readonly active: number
  readonly inactive: number
}

/**
 * Learns what is wrong with the tables in themselves, sorted by whether it can be put right without a guess.
 *
 * It can where no pointer is lost: reserved bits, which mean nothing, OFLAG_COPIED of a compressed cluster, and preallocated
 * clusters that lie askew and read as zeros anyhow.
 */
export class Damage implements TableObserver {
  readonly tables: NamedTable[] = []
  /** By the table's offset: indexes of the entries to put right. */
  readonly entries = new Map<number, number[]>()
  /** Whether an L1 table has entries with reserved bits. */
  l1Reserved = false
  readonly #name: string
  readonly #lost: string[] = []
  #losses = 0
  #count = 0
  #table = 0

  /** @param name of the image, for messages. */
  constructor(name: string) {
    this.#name = name
  }

  /** What remains a problem. */
  readonly problem = (what: () => string): void => {
    if (++this.#losses <= MAX_TOLD) this.#lost.push(what())
  }

  table(offset: number, active: number, inactive: number): void {
    this.#table = offset
    this.tables.push({ offset, active, inactive })
  }

  clusters(): void {}

  compressed(): void {}

  mendsL1(): boolean {
    this.l1Reserved = true
    return true
  }

  fault(): void {}

  mends(index: number, fault: EntryFault): boolean {
    if (fault !== 'reserved bits' && fault !== 'copied compressed' && fault !== 'misaligned zero')
      return false
    if (++this.#count > MAX_ENTRIES)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${this.#name}: more than ${MAX_ENTRIES} entries of its tables are damaged; nothing was changed`,
        { path: this.#name },
      )
    const known = this.entries.get(this.#table)
    if (known === undefined) this.entries.set(this.#table, [index])
    else if (known.at(-1) !== index) known.push(index)
    return true
  }

  /** Errors: `ERR_CORRUPT` where something can be put right by guessing only. */
  refuseLosses(): void {
    if (this.#losses === 0) return
    const more = this.#losses - this.#lost.length
    throw new DrydiskError(
      'ERR_CORRUPT',
      `${this.#name}: ${this.#lost.join('; ')}${more > 0 ? `; and ${more} more` : ''}. What such an entry pointed at cannot be told, ` +
        'so nothing was changed; copy what can be read to a new image',
      { path: this.#name, problems: this.#losses },
    )
  }
}

/** Puts entries of an L2 table right whose faults `Damage` knows of. */
export function mendEntries(bytes: Uint8Array, geometry: Geometry, indexes: readonly number[]): void {
  const { clusterSize, l2EntrySize, subclusters } = geometry
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (const index of indexes) {
    const at = index * l2EntrySize
    const high = view.getUint32(at)
    if ((high & COMPRESSED) !== 0) {
      view.setUint32(at, (high & ~COPIED) >>> 0)
      continue
    }
    const low = (view.getUint32(at + 4) & ~RESERVED_LOW) >>> 0
    view.setUint32(at, (high & ~RESERVED_HIGH) >>> 0)
    view.setUint32(at + 4, low)
    if ((low & (clusterSize - 1) & ~ZERO) === 0) continue
    // A preallocated cluster that lies askew: what reads as zeros goes on doing so without it.
    view.setUint32(at, 0)
    view.setUint32(at + 4, subclusters > 1 ? 0 : ZERO)
    if (subclusters > 1) view.setUint32(at + 12, 0)
  }
}
