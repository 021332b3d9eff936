import { LruCache } from '../bytes/lru-cache.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError } from '../errors.ts'

type BlockNumber = number

/** A run of blocks of the volume. */
interface BlockRun {
  readonly block: BlockNumber
  readonly count: number
}

/** What messages call a filesystem and the program that repairs it. */
export interface FileSystemNames {
  readonly filesystem: string
  readonly checker: string
}

/** Bytes of unmodified blocks kept in memory. */
const CLEAN_BYTES = 16 << 20
/** Bytes of one write when neighbouring blocks changed. */
const WRITE_BYTES = 1 << 20

/** The metadata blocks of one filesystem in memory: unmodified ones bounded, changed ones until they are written. */
export class CachedBlocks {
  readonly #device: BlockDevice
  readonly #blockSize: number
  readonly #blocksCount: number
  readonly #names: FileSystemNames
  readonly #clean: LruCache<BlockNumber, Uint8Array>
  readonly #changed = new Map<BlockNumber, Uint8Array>()
  /** Reads under way, so that two callers at a time get one buffer. */
  readonly #reading = new Map<BlockNumber, Promise<Uint8Array>>()

  constructor(device: BlockDevice, blockSize: number, blocksCount: number, names: FileSystemNames) {
    this.#device = device
    this.#blockSize = blockSize
    this.#blocksCount = blocksCount
    this.#names = names
    this.#clean = new LruCache(CLEAN_BYTES)
  }

  /** Bytes of blocks that wait to be written. */
  get changedBytes(): number {
    return this.#changed.size * this.#blockSize
  }

  /** Whether reading the block needs no input. */
  holds(block: BlockNumber): boolean {
    return this.#changed.has(block) || this.#clean.has(block)
  }

  /** The block's bytes, as `read` gives them, where that needs no input. */
  held(block: BlockNumber): Uint8Array | undefined {
    return this.#changed.get(block) ?? this.#clean.get(block)
  }

  /** Whether the block waits to be written. */
  changed(block: BlockNumber): boolean {
    return this.#changed.has(block)
  }

  /**
   * The block's bytes: the cache's own buffer, so not to be changed by the caller. `ERR_CORRUPT` outside the volume.
   * An unmodified block may be dropped from memory; a buffer in hand stays valid.
   */
  async read(block: BlockNumber): Promise<Uint8Array> {
    const held = this.held(block)
    if (held !== undefined) return held
    const underWay = this.#reading.get(block)
    if (underWay !== undefined) return underWay
    this.#check(block)
    const reading = this.#load(block)
    this.#reading.set(block, reading)
    try {
      return await reading
    } finally {
      this.#reading.delete(block)
    }
  }

  /** The same buffer, to be changed in place; it counts as changed from now on. */
  async edit(block: BlockNumber): Promise<Uint8Array> {
    const bytes = await this.read(block)
    this.#clean.delete(block)
    this.#changed.set(block, bytes)
    return bytes
  }

  /** A zeroed buffer for a block that was just allocated, without reading it. Counts as changed. */
  fresh(block: BlockNumber): Uint8Array {
    this.#check(block)
    const bytes = new Uint8Array(this.#blockSize)
    this.#clean.delete(block)
    this.#changed.set(block, bytes)
    return bytes
  }

  /** Drops blocks that were freed: what was changed in them is not written. */
  forget(run: BlockRun): void {
    const end = run.block + run.count
    // A long run of file data is not looked up block by block when little is held.
    if (run.count > this.#changed.size)
      for (const block of [...this.#changed.keys()]) {
        if (block >= run.block && block < end) this.#changed.delete(block)
      }
    else for (let block = run.block; block < end; block++) this.#changed.delete(block)
    if (run.count > this.#clean.size)
      for (const [block] of [...this.#clean.entries()]) {
        if (block >= run.block && block < end) this.#clean.delete(block)
      }
    else for (let block = run.block; block < end; block++) this.#clean.delete(block)
  }

  /** Blocks of a run that wait to be written. */
  changedIn(run: BlockRun): [block: BlockNumber, bytes: Uint8Array][] {
    const end = run.block + run.count
    if (run.count > this.#changed.size)
      return [...this.#changed].filter(([block]) => block >= run.block && block < end)
    const found: [BlockNumber, Uint8Array][] = []
    for (let block = run.block; block < end; block++) {
      const bytes = this.#changed.get(block)
      if (bytes !== undefined) found.push([block, bytes])
    }
    return found
  }

  /**
   * Puts a block back to where it was before a change: waiting to be written, as read, or (`undefined`) not in memory. What
   * the buffer holds is the caller's to put back.
   */
  restore(block: BlockNumber, bytes: Uint8Array | undefined, changed: boolean): void {
    this.#changed.delete(block)
    this.#clean.delete(block)
    if (bytes === undefined) return
    if (changed) this.#changed.set(block, bytes)
    else this.#clean.set(block, bytes, this.#blockSize)
  }

  /**
   * Reads a run of blocks ahead in one piece, where none of them is held yet. Silently does less at the end of the
   * volume: it is a hint.
   */
  async prefetch(run: BlockRun): Promise<void> {
    const count = Math.min(run.count, this.#blocksCount - run.block)
    if (count < 1) return
    const bytes = new Uint8Array(count * this.#blockSize)
    await this.#device.read(run.block * this.#blockSize, bytes)
    for (let index = 0; index < count; index++) {
      const block = run.block + index
      if (this.#changed.has(block) || this.#clean.has(block) || this.#reading.has(block)) continue
      // Its own copy: a window would keep the whole run in memory for as long as one block of it is held.
      this.#clean.set(
        block,
        bytes.slice(index * this.#blockSize, (index + 1) * this.#blockSize),
        this.#blockSize,
      )
    }
  }

  /** Writes what changed, in the order of the volume, neighbours together. */
  async flush(): Promise<void> {
    const blocks = [...this.#changed.keys()].sort((a, b) => a - b)
    const most = Math.max(1, Math.floor(WRITE_BYTES / this.#blockSize))
    for (let at = 0; at < blocks.length; ) {
      let end = at + 1
      while (end < blocks.length && end - at < most && blocks[end] === (blocks[end - 1] ?? 0) + 1) end++
      const run = blocks.slice(at, end)
      const first = run[0] ?? 0
      const bytes = new Uint8Array(run.length * this.#blockSize)
      run.forEach((block, index) => {
        const changed = this.#changed.get(block)
        if (changed !== undefined) bytes.set(changed, index * this.#blockSize)
      })
      await this.#device.write(first * this.#blockSize, bytes)
      for (const block of run) {
        const changed = this.#changed.get(block)
        this.#changed.delete(block)
        if (changed !== undefined) this.#clean.set(block, changed, this.#blockSize)
      }
      at = end
    }
  }

  async #load(block: BlockNumber): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.#blockSize)
    await this.#device.read(block * this.#blockSize, bytes)
    const held = this.held(block)
    if (held !== undefined) return held
    this.#clean.set(block, bytes, this.#blockSize)
    return bytes
  }

  #check(block: BlockNumber): void {
    if (!(Number.isInteger(block) && block >= 0 && block < this.#blocksCount))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${this.#names.filesystem}: block ${block} is referred to, but the filesystem has ${this.#blocksCount} blocks; run ${this.#names.checker}`,
        { block, blocks: this.#blocksCount },
      )
  }
}
