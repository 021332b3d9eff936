import { RangeSet } from '../bytes/range-set.ts'
import {
  BLOCK_SIZE,
  BLOCKS_PER_PAGE,
  blocksChecksum,
  countBlocks,
  PAGE_SIZE,
  type PageFile,
} from './page-file.ts'

const ALL_BLOCKS = (1 << BLOCKS_PER_PAGE) - 1
/** Pages that leave memory together, in one write. */
const SPILL_BATCH = 32

/** What is staged over: a device or a storage. */
export interface OverlayBase {
  readonly size: number
  read(offset: number, into: Uint8Array): Promise<void>
}

export interface StagedPage {
  /** In memory; `undefined` when only the page file has it. */
  data: Uint8Array | undefined
  /** Bit n: block n of the page is staged. */
  mask: number
  /** First slot in the page file; -1 when it has none yet. */
  slot: number
  /** The blocks that lie in its slots, one after another: those staged when it was saved. */
  savedMask: number
  /** Of what the slots hold. */
  checksum: number
  /** The slots hold what `data` does. */
  clean: boolean
}

/** A run that one source answers for. */
export interface OverlaySegment {
  readonly start: number
  readonly end: number
  readonly page: StagedPage | undefined
  /** When there is no page: reads as zeros, without the base. */
  readonly zero: boolean
}

/**
 * Copy-on-write staging over a base that it never writes to. Pages live in memory up to a budget and in a page file beyond
 * it; ranges that were erased are kept as runs, so memory does not grow with their length.
 *
 * Changes run one after another; reads may overlap them.
 */
export class PageOverlay {
  readonly #base: OverlayBase
  /** Where the base ends: fixed when the overlay is made, whatever happens to the file later. */
  readonly baseSize: number
  readonly #pageFile: PageFile
  readonly #budgetPages: number
  readonly #pages = new Map<number, StagedPage>()
  /** Pages in memory, the longest unused first. */
  readonly #resident = new Map<number, StagedPage>()
  /** Blocks that read as zeros unless a page stages them. */
  readonly #erased = new RangeSet()
  #size: number
  #queue: Promise<void> = Promise.resolve()

  /** @param budget bytes of pages to keep in memory. */
  constructor(base: OverlayBase, pageFile: PageFile, budget: number) {
    this.#base = base
    this.baseSize = base.size
    this.#size = base.size
    this.#pageFile = pageFile
    this.#budgetPages = Math.max(1, Math.floor(budget / PAGE_SIZE))
  }

  get size(): number {
    return this.#size
  }

  get dirty(): boolean {
    return this.#pages.size > 0 || this.#erased.runs > 0 || this.#size !== this.baseSize
  }

  /** Runs changes one after another. A change that fails does not stop the next. */
  #change(change: () => Promise<void>): Promise<void> {
    const result = this.#queue.then(change)
    this.#queue = result.catch(() => undefined)
    return result
  }

  /** The window cut where the source changes: gapless, in order. Nothing may change while it is walked. */
  *segments(start: number, end: number): IterableIterator<OverlaySegment> {
    let at = start
    for (const index of this.#pageIndexes(start, end)) {
      const page = this.#pages.get(index)
      if (page === undefined) continue
      const pageStart = index * PAGE_SIZE
      for (let block = 0; block < BLOCKS_PER_PAGE; ) {
        if ((page.mask & (1 << block)) === 0) {
          block++
          continue
        }
        let last = block + 1
        while (last < BLOCKS_PER_PAGE && (page.mask & (1 << last)) !== 0) last++
        const from = Math.max(start, pageStart + block * BLOCK_SIZE)
        const to = Math.min(end, pageStart + last * BLOCK_SIZE)
        block = last
        if (from >= to) continue
        if (from > at) yield* this.#beneath(at, from)
        yield { start: from, end: to, page, zero: false }
        at = to
      }
    }
    if (at < end) yield* this.#beneath(at, end)
  }

  /** Indexes of staged pages in the window, in order, at a cost of the fewer of the window's and the overlay's pages. */
  *#pageIndexes(start: number, end: number): IterableIterator<number> {
    const first = Math.floor(start / PAGE_SIZE)
    const last = Math.ceil(end / PAGE_SIZE)
    if (last - first <= this.#pages.size) {
      for (let index = first; index < last; index++) if (this.#pages.has(index)) yield index
    } else
      yield* [...this.#pages.keys()].filter(index => index >= first && index < last).sort((a, b) => a - b)
  }

  *#beneath(start: number, end: number): IterableIterator<OverlaySegment> {
    const basePart = Math.min(end, Math.max(start, this.baseSize))
    const firstBlock = Math.floor(start / BLOCK_SIZE)
    const lastBlock = Math.ceil(basePart / BLOCK_SIZE)
    if (basePart > start)
      for (const run of this.#erased.segments(firstBlock, lastBlock)) {
        const from = Math.max(start, run.start * BLOCK_SIZE)
        const to = Math.min(basePart, run.end * BLOCK_SIZE)
        if (from < to) yield { start: from, end: to, page: undefined, zero: run.inside }
      }
    if (end > basePart) yield { start: basePart, end, page: undefined, zero: true }
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    for (const { start, end, page, zero } of [...this.segments(offset, offset + into.length)]) {
      const target = into.subarray(start - offset, end - offset)
      if (page !== undefined) {
        const within = start % PAGE_SIZE
        const data = page.data ?? (await this.#load(page))
        target.set(data.subarray(within, within + target.length))
      } else if (zero) target.fill(0)
      else await this.#base.read(start, target)
    }
  }

  async #load(page: StagedPage): Promise<Uint8Array> {
    for (;;) {
      const { checksum, slot, savedMask } = page
      const packed = new Uint8Array(countBlocks(savedMask) * BLOCK_SIZE)
      try {
        await this.#pageFile.read(slot, checksum, packed)
        return page.data ?? unpack(packed, savedMask)
      } catch (error) {
        // A change that overlaps this read may have put the page back into memory, and even rewritten its slots.
        if (page.data !== undefined) return page.data
        if (page.checksum === checksum && page.slot === slot) throw error
      }
    }
  }

  /** Stages bytes; grows the size where they reach past it. */
  write(offset: number, from: Uint8Array): Promise<void> {
    return this.#change(async () => {
      for (let done = 0; done < from.length; ) {
        const at = offset + done
        const length = Math.min(PAGE_SIZE - (at % PAGE_SIZE), from.length - done)
        await this.#writeInPage(at, from.subarray(done, done + length))
        done += length
      }
      this.#size = Math.max(this.#size, offset + from.length)
    })
  }

  async #writeInPage(at: number, from: Uint8Array): Promise<void> {
    const index = Math.floor(at / PAGE_SIZE)
    const within = at % PAGE_SIZE
    const end = within + from.length
    const firstBlock = Math.floor(within / BLOCK_SIZE)
    const lastBlock = Math.ceil(end / BLOCK_SIZE)
    const mask = ((1 << lastBlock) - 1) & ~((1 << firstBlock) - 1)

    let page = this.#pages.get(index)
    let data = page?.data
    if (page !== undefined && data === undefined)
      data = mask === ALL_BLOCKS && from.length === PAGE_SIZE ? undefined : await this.#load(page)
    data ??= new Uint8Array(PAGE_SIZE)

    // The first and the last block may be written in part: the rest of them is what reads there now.
    if (within % BLOCK_SIZE !== 0) await this.#fillBlock(page, data, index, firstBlock)
    if (end % BLOCK_SIZE !== 0 && !(lastBlock - 1 === firstBlock && within % BLOCK_SIZE !== 0))
      await this.#fillBlock(page, data, index, lastBlock - 1)

    data.set(from, within)
    if (page === undefined) {
      page = { data, mask: 0, slot: -1, savedMask: 0, checksum: 0, clean: false }
      this.#pages.set(index, page)
    }
    page.data = data
    page.mask |= mask
    page.clean = false
    this.#resident.delete(index)
    this.#resident.set(index, page)
    if (this.#resident.size > this.#budgetPages) await this.#spill(SPILL_BATCH)
  }

  /** Brings a block that is not staged yet into the page's buffer. */
  async #fillBlock(
    page: StagedPage | undefined,
    data: Uint8Array,
    index: number,
    block: number,
  ): Promise<void> {
    if (page !== undefined && (page.mask & (1 << block)) !== 0) return
    const start = index * PAGE_SIZE + block * BLOCK_SIZE
    const target = data.subarray(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE)
    const present = Math.max(0, Math.min(BLOCK_SIZE, this.#size - start))
    target.fill(0, present)
    if (present > 0) await this.read(start, target.subarray(0, present))
  }

  /** Moves up to `count` of the longest unused pages to the page file. */
  async #spill(count: number): Promise<void> {
    const leaving: [number, StagedPage][] = []
    for (const entry of this.#resident) {
      if (leaving.length >= count) break
      leaving.push(entry)
    }
    await this.#save(leaving.map(([, page]) => page))
    for (const [index, page] of leaving) {
      page.data = undefined
      this.#resident.delete(index)
    }
  }

  async #save(pages: readonly StagedPage[]): Promise<void> {
    const fresh: { readonly page: StagedPage; readonly mask: number; readonly blocks: Uint8Array }[] = []
    let count = 0
    for (const page of pages) {
      if (page.clean || page.data === undefined) continue
      const { mask } = page
      const blocks = pack(page.data, mask)
      if (page.slot < 0 || page.savedMask !== mask) {
        fresh.push({ page, mask, blocks })
        count += countBlocks(mask)
        continue
      }
      await this.#pageFile.write(page.slot, blocks)
      page.checksum = blocksChecksum(blocks)
      page.clean = true
    }
    if (fresh.length === 0) return
    const first = this.#pageFile.reserve(count)
    const joined = new Uint8Array(count * BLOCK_SIZE)
    let at = 0
    for (const { blocks } of fresh) {
      joined.set(blocks, at)
      at += blocks.length
    }
    await this.#pageFile.write(first, joined)
    let slot = first
    for (const { page, mask, blocks } of fresh) {
      page.slot = slot
      page.savedMask = mask
      page.checksum = blocksChecksum(blocks)
      page.clean = true
      slot += countBlocks(mask)
    }
  }

  /** Gets every page into the page file; those in memory stay there. */
  save(): Promise<void> {
    return this.#change(async () => {
      const resident = [...this.#resident.values()]
      for (let at = 0; at < resident.length; at += SPILL_BATCH)
        await this.#save(resident.slice(at, at + SPILL_BATCH))
    })
  }

  /** The range reads as zeros. */
  async erase(offset: number, length: number): Promise<void> {
    const end = offset + length
    const first = Math.ceil(offset / BLOCK_SIZE)
    // A last block that ends with the content is whole.
    const last = end === this.#size ? Math.ceil(end / BLOCK_SIZE) : Math.floor(end / BLOCK_SIZE)
    if (first >= last) {
      if (!(await this.#readsAsZero(offset, length))) await this.write(offset, new Uint8Array(length))
      return
    }
    const head = first * BLOCK_SIZE - offset
    if (head > 0) await this.write(offset, new Uint8Array(head))
    const tail = end - last * BLOCK_SIZE
    if (tail > 0) await this.write(last * BLOCK_SIZE, new Uint8Array(tail))
    await this.#change(async () => this.#eraseBlocks(first, last))
  }

  async #readsAsZero(offset: number, length: number): Promise<boolean> {
    for (const segment of this.segments(offset, offset + length)) if (!segment.zero) return false
    return true
  }

  #eraseBlocks(first: number, last: number): void {
    for (const index of [...this.#pageIndexes(first * BLOCK_SIZE, last * BLOCK_SIZE)]) {
      const page = this.#pages.get(index)
      if (page === undefined) continue
      const from = Math.max(0, first - index * BLOCKS_PER_PAGE)
      const to = Math.min(BLOCKS_PER_PAGE, last - index * BLOCKS_PER_PAGE)
      page.mask &= ~(((1 << to) - 1) & ~((1 << from) - 1))
      if (page.mask === 0) {
        this.#pages.delete(index)
        this.#resident.delete(index)
      }
    }
    this.#erased.add(first, Math.min(last, Math.ceil(this.baseSize / BLOCK_SIZE)))
  }

  /** Sets the size. What lies past a smaller one is gone: growing again shows zeros. */
  async truncate(size: number): Promise<void> {
    if (size < this.#size) await this.erase(size, this.#size - size)
    await this.#change(async () => {
      this.#size = size
    })
  }

  /** Staged pages by index, in order. */
  *stagedPages(): IterableIterator<[number, StagedPage]> {
    for (const index of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const page = this.#pages.get(index)
      if (page !== undefined) yield [index, page]
    }
  }

  /** Runs of blocks of the base that were erased (a page may stage some of them again), in order. */
  erasedBlocks(): IterableIterator<{ readonly start: number; readonly end: number }> {
    return this.#erased.ranges()
  }

  /** Takes over what a redo log recorded. Only on a new overlay. */
  adopt(
    size: number,
    pages: Iterable<readonly [number, StagedPage]>,
    erased: Iterable<{ readonly start: number; readonly end: number }>,
  ): void {
    this.#size = size
    for (const [index, page] of pages) this.#pages.set(index, page)
    for (const { start, end } of erased) this.#erased.add(start, end)
  }

  /** Drops everything staged. The page file is the caller's to reset. */
  clear(): Promise<void> {
    return this.#change(async () => {
      this.#pages.clear()
      this.#resident.clear()
      this.#erased.clear()
      this.#size = this.baseSize
    })
  }
}

/** The blocks of a page that the mask names, one after another. */
function pack(page: Uint8Array, mask: number): Uint8Array {
  if (mask === ALL_BLOCKS) return page
  const packed = new Uint8Array(countBlocks(mask) * BLOCK_SIZE)
  let at = 0
  for (let block = 0; block < BLOCKS_PER_PAGE; block++) {
    if ((mask & (1 << block)) === 0) continue
    packed.set(page.subarray(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE), at)
    at += BLOCK_SIZE
  }
  return packed
}

function unpack(packed: Uint8Array, mask: number): Uint8Array {
  if (mask === ALL_BLOCKS) return packed
  const page = new Uint8Array(PAGE_SIZE)
  let at = 0
  for (let block = 0; block < BLOCKS_PER_PAGE; block++) {
    if ((mask & (1 << block)) === 0) continue
    page.set(packed.subarray(at, at + BLOCK_SIZE), block * BLOCK_SIZE)
    at += BLOCK_SIZE
  }
  return page
}
