import type { BlockDevice, Extent } from '../../device/block-device.ts'
import { checkRange, checkWritable } from '../../device/range.ts'
import type { BlockNumber } from './context.ts'
import type { JournalFile } from './journal-file.ts'
import type { JournalledBlock } from './journal-scan.ts'

/** The log's magic as it stands on disk: what an escaped block starts with. */
const MAGIC_BYTES = new Uint8Array([0xc0, 0x3b, 0x39, 0x98])

/** A volume as it is once its journal is replayed, with nothing written: for reading only. */
export class JournalOverlayDevice implements BlockDevice {
  readonly size: number
  readonly writable = false
  readonly #journal: JournalFile
  readonly #blocks: ReadonlyMap<BlockNumber, JournalledBlock>
  /** The journalled blocks in the order of the volume. */
  readonly #order: readonly BlockNumber[]

  constructor(journal: JournalFile, blocks: ReadonlyMap<BlockNumber, JournalledBlock>) {
    this.size = journal.device.size
    this.#journal = journal
    this.#blocks = blocks
    this.#order = [...blocks.keys()].sort((a, b) => a - b)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.size, offset, into.length)
    await this.#journal.device.read(offset, into)
    for (const block of this.#within(offset, into.length)) {
      const content = await this.content(block)
      const start = block * this.#journal.blockSize
      const from = Math.max(offset, start)
      const to = Math.min(offset + into.length, start + content.length)
      into.set(content.subarray(from - start, to - start), from - offset)
    }
  }

  /** What a journalled block is after replay, or the block as it is where the journal has nothing for it. */
  async content(block: BlockNumber): Promise<Uint8Array> {
    const { blockSize, device } = this.#journal
    const journalled = this.#blocks.get(block)
    const bytes = new Uint8Array(blockSize)
    const from = journalled === undefined ? block : this.#journal.locate(journalled.journalBlock).block
    await device.read(from * blockSize, bytes)
    if (journalled?.escaped === true) bytes.set(MAGIC_BYTES)
    return bytes
  }

  /** The journalled blocks that overlap a range, in order. */
  *#within(offset: number, length: number): Iterable<BlockNumber> {
    const { blockSize } = this.#journal
    const first = Math.floor(offset / blockSize)
    const end = Math.ceil((offset + length) / blockSize)
    let low = 0
    let high = this.#order.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#order[middle] ?? 0) < first) low = middle + 1
      else high = middle
    }
    for (; low < this.#order.length; low++) {
      const block = this.#order[low]
      if (block === undefined || block >= end) return
      yield block
    }
  }

  async write(): Promise<void> {
    checkWritable(false)
  }

  async erase(): Promise<void> {
    checkWritable(false)
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    checkRange(this.size, offset, length)
    const end = offset + length
    let pending: Extent | undefined
    for await (const piece of this.#pieces(offset, end)) {
      if (pending?.kind === piece.kind && pending.depth === piece.depth)
        pending = { ...pending, length: pending.length + piece.length }
      else {
        if (pending !== undefined) yield pending
        pending = piece
      }
    }
    if (pending !== undefined) yield pending
  }

  async *#pieces(offset: number, end: number): AsyncIterable<Extent> {
    const { blockSize, device } = this.#journal
    let at = offset
    for (const block of this.#within(offset, end - offset)) {
      const start = block * blockSize
      if (start > at) yield* device.extents(at, start - at)
      at = Math.max(at, start)
      const until = Math.min(start + blockSize, end)
      yield { offset: at, length: until - at, kind: 'data', depth: 0 }
      at = until
    }
    if (end > at) yield* device.extents(at, end - at)
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    await this.#journal.device.close()
  }
}
