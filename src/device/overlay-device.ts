import type { BlockDevice, Extent } from './block-device.ts'
import { PAGE_SIZE, PageFile } from './page-file.ts'
import { PageOverlay } from './page-overlay.ts'
import { checkRange, checkWritable } from './range.ts'
import type { Storage } from './storage.ts'

/** Memory that staged pages take before they go to the spill file. */
export const DEFAULT_BUDGET = 16 << 20

/** Bytes as a staged device over `base`: what reads share with every overlay. */
export async function* overlayExtents(
  overlay: PageOverlay,
  base: Pick<BlockDevice, 'extents'>,
  offset: number,
  length: number,
): AsyncIterable<Extent> {
  checkRange(overlay.size, offset, length)
  let last: Extent | undefined
  for (const { start, end, page, zero } of [...overlay.segments(offset, offset + length)]) {
    const runs: AsyncIterable<Extent> | readonly Extent[] =
      page !== undefined || zero
        ? [{ offset: start, length: end - start, kind: zero ? 'zero' : 'data', depth: 0 }]
        : base.extents(start, end - start)
    for await (const run of runs)
      if (last !== undefined && last.kind === run.kind && last.depth === run.depth)
        last = { ...last, length: last.length + run.length }
      else {
        if (last !== undefined) yield last
        last = run
      }
  }
  if (last !== undefined) yield last
}

/**
 * A writable device over another that is never written to: what is written stays in memory up to a budget, then goes to a
 * spill file, and is gone when the device is closed. A dry run edits through one.
 */
export class OverlayDevice implements BlockDevice {
  readonly base: BlockDevice
  readonly writable = true
  readonly #pageFile: PageFile
  readonly #overlay: PageOverlay
  #closed = false

  /**
   * @param options.spill makes the spill file when it is needed; the device closes it. Without it all stays in memory.
   * @param options.budget bytes; 16 MiB when left out.
   */
  constructor(
    base: BlockDevice,
    options: { readonly spill?: () => Promise<Storage>; readonly budget?: number } = {},
  ) {
    this.base = base
    this.#pageFile = new PageFile(options.spill ?? (() => Promise.reject(new Error('no spill file'))))
    const budget = options.spill === undefined ? Number.POSITIVE_INFINITY : (options.budget ?? DEFAULT_BUDGET)
    this.#overlay = new PageOverlay(base, this.#pageFile, budget)
  }

  get size(): number {
    return this.base.size
  }

  /** Whether anything was written or erased since it was made, or since `rollback()`. */
  get dirty(): boolean {
    return this.#overlay.dirty
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this.size, offset, into.length)
    await this.#overlay.read(offset, into)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    checkWritable(!this.#closed)
    checkRange(this.size, offset, from.length)
    await this.#overlay.write(offset, from)
  }

  async erase(offset: number, length: number): Promise<void> {
    checkWritable(!this.#closed)
    checkRange(this.size, offset, length)
    await this.#overlay.erase(offset, length)
  }

  extents(offset: number, length: number): AsyncIterable<Extent> {
    return overlayExtents(this.#overlay, this.base, offset, length)
  }

  /** Writes what is staged to the base, in order, and keeps it staged: what is read stays the same. */
  async writeBack(): Promise<void> {
    checkWritable(!this.#closed)
    const buffer = new Uint8Array(PAGE_SIZE)
    for (const { start, end, page, zero } of [...this.#overlay.segments(0, this.size)]) {
      if (zero) await this.base.erase(start, end - start)
      if (page === undefined) continue
      const bytes = buffer.subarray(0, end - start)
      await this.#overlay.read(start, bytes)
      await this.base.write(start, bytes)
    }
  }

  /** Nothing here is meant to last. */
  async flush(): Promise<void> {}

  /** Drops everything staged. */
  async rollback(): Promise<void> {
    await this.#overlay.clear()
    await this.#pageFile.reset()?.close()
  }

  /** Drops what is staged and closes the base. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.rollback()
    await this.base.close()
  }
}
