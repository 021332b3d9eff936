import { LruCache } from '../../bytes/lru-cache.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { CachedBlocks } from '../cached-blocks.ts'
import { storeChecksum } from './checksum.ts'
import type { VolumeBlock } from './geometry.ts'

/** Bytes of directory blocks made of several filesystem blocks that are kept in memory. */
const JOINED_BYTES = 4 << 20
/** Bytes of copies of blocks that are kept for the next transaction: making new ones for each costs more than filling them. */
const SPARE_BYTES = 1 << 20

/** A structure with a checksum in a buffer: where it begins, its bytes, and where in it the checksum is. */
export interface Seal {
  readonly at: number
  readonly length: number
  readonly crcAt: number
}

/** A buffer of several blocks that waits to be written. */
interface Joined {
  readonly blocks: readonly VolumeBlock[]
  readonly bytes: Uint8Array
}

/** A transaction, or a part of one. */
interface Level {
  /** What takes it back, to be run from the end. */
  readonly undo: (() => void)[]
  /** Buffers whose bytes before it are kept. */
  readonly kept: Set<Uint8Array>
  /** What it is a part of. */
  readonly outer: Level | undefined
}

/**
 * The metadata of one filesystem in memory, as buffers of one block or (directories) of several. What is changed stays in
 * memory until `flush`, which also computes the checksums.
 *
 * Changes are made in transactions: `rollback` puts every buffer back, byte by byte, so that what fails midway (no space, a
 * damaged structure further on) has changed nothing.
 */
export class Buffers {
  readonly #blocks: CachedBlocks
  readonly #blockSize: number
  readonly #checksums: boolean
  readonly #joined = new LruCache<string, Uint8Array>(JOINED_BYTES)
  readonly #joinedChanged = new Map<VolumeBlock, Joined>()
  /** Structures of changed buffers whose checksum is to be computed, by the buffer's first block and their place in it. */
  readonly #seals = new Map<VolumeBlock, Map<number, Seal>>()
  /** The transaction under way, or the part of it that can be taken back on its own. */
  #level: Level | undefined
  /** Transactions so far. */
  #begun = 0

  /** Copies that the transaction under way may need, and those that none needs any more. */
  #copies: Uint8Array[] = []
  readonly #spare: Uint8Array[] = []

  /** @param checksums whether structures have them (version 5). */
  constructor(device: BlockDevice, blockSize: number, blocks: number, checksums: boolean) {
    this.#blocks = new CachedBlocks(device, blockSize, blocks, { filesystem: 'xfs', checker: 'xfs_repair' })
    this.#blockSize = blockSize
    this.#checksums = checksums
  }

  /** Bytes that wait to be written. */
  get changedBytes(): number {
    let bytes = this.#blocks.changedBytes
    for (const joined of this.#joinedChanged.values()) bytes += joined.bytes.length
    return bytes
  }

  holds(block: VolumeBlock): boolean {
    return this.#blocks.holds(block)
  }

  async prefetch(run: { readonly block: VolumeBlock; readonly count: number }): Promise<void> {
    await this.#blocks.prefetch(run)
  }

  /** As `read`, where that needs no input: most reading does not, and need not wait. */
  held(block: VolumeBlock): Uint8Array | undefined {
    return this.#blocks.held(block)
  }

  /** One block's bytes, not to be changed by the caller. `ERR_CORRUPT` outside the volume. */
  async read(block: VolumeBlock): Promise<Uint8Array> {
    return this.#blocks.read(block)
  }

  /** One buffer of several blocks, which need not lie side by side; not to be changed by the caller. */
  async readJoined(blocks: readonly VolumeBlock[]): Promise<Uint8Array> {
    const [first] = blocks
    if (first !== undefined && blocks.length === 1) return this.#blocks.read(first)
    const changed = first === undefined ? undefined : this.#joinedChanged.get(first)
    if (changed !== undefined) return changed.bytes
    const key = blocks.join(' ')
    const held = this.#joined.get(key)
    if (held !== undefined) return held
    const bytes = new Uint8Array(blocks.length * this.#blockSize)
    for (const [index, block] of blocks.entries())
      bytes.set(await this.#blocks.read(block), index * this.#blockSize)
    this.#joined.set(key, bytes, bytes.length)
    return bytes
  }

  /**
   * The same buffer as `readJoined` gives, to be changed in place. Only in a transaction.
   * @param seal what in it gets a checksum before it is written.
   */
  async edit(blocks: readonly VolumeBlock[], seal: Seal): Promise<Uint8Array> {
    const [first] = blocks
    if (first === undefined) throw new Error('a buffer of no blocks')
    if (blocks.length === 1)
      return this.editHeld(first, seal) ?? this.#open(blocks, await this.read(first), seal)
    return this.#open(blocks, await this.readJoined(blocks), seal)
  }

  /** As `edit` for one block, where that needs no input. */
  editHeld(block: VolumeBlock, seal: Seal): Uint8Array | undefined {
    const bytes = this.#blocks.held(block)
    if (bytes === undefined) return undefined
    // Most are open already: then there is only what they hold to be named.
    if (this.#transaction().kept.has(bytes) && this.#blocks.changed(block)) {
      this.#seal(block, seal)
      return bytes
    }
    return this.#open([block], bytes, seal)
  }

  /** What is in a buffer is kept for a rollback, and it counts as changed from now on. */
  #open(blocks: readonly VolumeBlock[], bytes: Uint8Array, seal: Seal): Uint8Array {
    const [first] = blocks
    const { undo, kept } = this.#transaction()
    if (first === undefined) throw new Error('a buffer of no blocks')
    const isJoined = blocks.length > 1
    const wasChanged = isJoined ? this.#joinedChanged.has(first) : this.#blocks.changed(first)
    if (!kept.has(bytes)) {
      kept.add(bytes)
      const before = this.#copy(bytes)
      undo.push(() => {
        bytes.set(before)
        if (!isJoined) this.#blocks.restore(first, bytes, wasChanged)
        else if (!wasChanged) this.#joinedChanged.delete(first)
        else this.#joinedChanged.set(first, { blocks, bytes })
      })
    }
    if (isJoined) this.#joinedChanged.set(first, { blocks, bytes })
    else if (!wasChanged) this.#blocks.restore(first, bytes, true)
    this.#seal(first, seal)
    return bytes
  }

  /** A zeroed buffer for blocks that were just allocated, without reading them. Only in a transaction. */
  fresh(blocks: readonly VolumeBlock[], seal: Seal): Uint8Array {
    const [first] = blocks
    if (first === undefined) throw new Error('a buffer of no blocks')
    for (const block of blocks) this.forget(block, 1)
    const { undo, kept } = this.#transaction()
    const bytes =
      blocks.length === 1 ? this.#blocks.fresh(first) : new Uint8Array(blocks.length * this.#blockSize)
    kept.add(bytes)
    if (blocks.length > 1) this.#joinedChanged.set(first, { blocks, bytes })
    undo.push(() => {
      this.#seals.delete(first)
      if (blocks.length === 1) this.#blocks.restore(first, undefined, false)
      else this.#joinedChanged.delete(first)
    })
    this.#seal(first, seal)
    return bytes
  }

  /** Drops blocks that were freed, or are about to hold a file's data: what was changed in them is not written. Only in a transaction. */
  forget(block: VolumeBlock, count: number): void {
    const { undo } = this.#transaction()
    const end = block + count
    const lost = this.#blocks.changedIn({ block, count })
    const lostJoined: [VolumeBlock, Joined][] = []
    if (this.#joinedChanged.size > 0)
      for (const [first, joined] of this.#joinedChanged)
        if (joined.blocks.some(each => each >= block && each < end)) lostJoined.push([first, joined])
    if (this.#joined.size > 0) this.#forgetJoined(block, end)
    this.#blocks.forget({ block, count })
    if (lost.length === 0 && lostJoined.length === 0) return
    const lostSeals = new Map<VolumeBlock, Map<number, Seal>>()
    for (const [first] of lostJoined) this.#joinedChanged.delete(first)
    for (const [first] of [...lost, ...lostJoined]) {
      const seals = this.#seals.get(first)
      if (seals !== undefined) lostSeals.set(first, seals)
      this.#seals.delete(first)
    }
    undo.push(() => {
      for (const [changed, bytes] of lost) this.#blocks.restore(changed, bytes, true)
      for (const [first, joined] of lostJoined) this.#joinedChanged.set(first, joined)
      for (const [first, seals] of lostSeals) this.#seals.set(first, seals)
    })
  }

  #forgetJoined(from: VolumeBlock, end: VolumeBlock): void {
    for (const [key] of [...this.#joined.entries()])
      if (key.split(' ').some(each => Number(each) >= from && Number(each) < end)) this.#joined.delete(key)
  }

  begin(): void {
    if (this.#level !== undefined) throw new Error('a transaction is under way')
    this.#level = { undo: [], kept: new Set(), outer: undefined }
    this.#begun++
  }

  /** The number of the transaction under way, whatever part of it: for what is only to be remembered as long as it lasts. */
  get transaction(): number {
    this.#transaction()
    return this.#begun
  }

  /** Begins a part of the transaction, which the next `end` or `rollback` is of. */
  beginPart(): void {
    this.#level = { undo: [], kept: new Set(), outer: this.#transaction() }
  }

  /** Keeps what the transaction changed; what a part changed goes with what it is a part of. */
  end(): void {
    const { undo, kept, outer } = this.#transaction()
    this.#level = outer
    if (outer === undefined) {
      this.#reuseCopies()
      return
    }
    for (const step of undo) outer.undo.push(step)
    for (const bytes of kept) outer.kept.add(bytes)
  }

  /** Takes back what the transaction, or the part, changed. */
  rollback(): void {
    const { undo, outer } = this.#transaction()
    this.#level = outer
    for (const step of undo.reverse()) step()
    if (outer === undefined) this.#reuseCopies()
  }

  /** What a buffer holds before the transaction changes it, in memory that an earlier transaction had. */
  #copy(bytes: Uint8Array): Uint8Array {
    const copy = bytes.length === this.#blockSize ? this.#spare.pop() : undefined
    if (copy === undefined) {
      const fresh = bytes.slice()
      this.#copies.push(fresh)
      return fresh
    }
    copy.set(bytes)
    this.#copies.push(copy)
    return copy
  }

  #reuseCopies(): void {
    for (const copy of this.#copies)
      if (copy.length === this.#blockSize && this.#spare.length * this.#blockSize < SPARE_BYTES)
        this.#spare.push(copy)
    this.#copies = []
  }

  /** Computes checksums and writes what changed, in the order of the volume. Not in a transaction. */
  async flush(): Promise<void> {
    for (const [first, { blocks, bytes }] of this.#joinedChanged) {
      this.#storeChecksums(first, bytes)
      for (const [index, block] of blocks.entries()) {
        const one = this.#blocks.fresh(block)
        one.set(bytes.subarray(index * this.#blockSize, (index + 1) * this.#blockSize))
      }
      this.#joined.set(blocks.join(' '), bytes, bytes.length)
    }
    this.#joinedChanged.clear()
    for (const first of [...this.#seals.keys()])
      if (this.#blocks.changed(first)) this.#storeChecksums(first, await this.#blocks.read(first))
    this.#seals.clear()
    await this.#blocks.flush()
  }

  #storeChecksums(first: VolumeBlock, bytes: Uint8Array): void {
    const seals = this.#seals.get(first)
    this.#seals.delete(first)
    if (!this.#checksums) return
    for (const { at, length, crcAt } of seals?.values() ?? [])
      storeChecksum(bytes.subarray(at, at + length), crcAt)
  }

  /** Most seals are there already. */
  #seal(first: VolumeBlock, seal: Seal): void {
    const known = this.#seals.get(first)
    const before = known?.get(seal.at)
    if (before !== undefined && before.length === seal.length && before.crcAt === seal.crcAt) return
    if (known === undefined) this.#seals.set(first, new Map([[seal.at, seal]]))
    else known.set(seal.at, seal)
    this.#transaction().undo.push(() => this.#unseal(first, seal.at, before))
  }

  #unseal(first: VolumeBlock, at: number, before: Seal | undefined): void {
    const seals = this.#seals.get(first)
    if (before !== undefined) seals?.set(at, before)
    else if (seals?.delete(at) && seals.size === 0) this.#seals.delete(first)
  }

  #transaction(): Level {
    if (this.#level === undefined) throw new Error('metadata is changed outside a transaction')
    return this.#level
  }
}
