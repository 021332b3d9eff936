import { crc32c } from '../bytes/crc32c.ts'
import { DrydiskError } from '../errors.ts'
import type { Storage } from './storage.ts'

/** What an overlay stages and spills by. */
export const PAGE_SIZE = 64 << 10
/** The unit that is staged or not: a filesystem block, mostly, so that few writes need the old bytes around them. */
export const BLOCK_SIZE = 4096
export const BLOCKS_PER_PAGE = PAGE_SIZE / BLOCK_SIZE
/**
 * A slot is one block. The first is left to whoever gave the storage: the redo log keeps its header there.
 */
export function slotOffset(slot: number): number {
  return (1 + slot) * BLOCK_SIZE
}

/** How many blocks a mask stands for. */
export function countBlocks(mask: number): number {
  let count = 0
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++
  return count
}

export function blocksChecksum(blocks: Uint8Array): number {
  return crc32c(0xffff_ffff, blocks)
}

/**
 * Blocks of pages that do not fit in memory, in a file that comes into being with the first of them. A slot is never used for
 * another page later on, so a read that is under way cannot meet another page's bytes.
 */
export class PageFile {
  readonly #make: () => Promise<Storage>
  #storage: Storage | undefined
  #slots = 0

  constructor(make: () => Promise<Storage>) {
    this.#make = make
  }

  /** A page file that exists already, with `slots` slots in use. */
  static existing(storage: Storage, slots: number): PageFile {
    const file = new PageFile(async () => storage)
    file.#storage = storage
    file.#slots = slots
    return file
  }

  get slots(): number {
    return this.#slots
  }

  /** `undefined` until the first page is written or `ensure` is called. */
  get storage(): Storage | undefined {
    return this.#storage
  }

  async ensure(): Promise<Storage> {
    this.#storage ??= await this.#make()
    return this.#storage
  }

  /** Reserves slots that follow one another. @returns the first. */
  reserve(count: number): number {
    const first = this.#slots
    this.#slots += count
    return first
  }

  /** @param blocks whole blocks, for slots that follow one another. */
  async write(slot: number, blocks: Uint8Array): Promise<void> {
    const storage = await this.ensure()
    await storage.write(slotOffset(slot), blocks)
  }

  /** `ERR_CORRUPT` when the blocks are not what was written. */
  async read(slot: number, checksum: number, into: Uint8Array): Promise<void> {
    const storage = await this.ensure()
    await storage.read(slotOffset(slot), into)
    if (blocksChecksum(into) !== checksum)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${storage.name}: what lies at offset ${slotOffset(slot)} does not have the checksum that was recorded for it; ` +
          'nothing was taken from it',
        { path: storage.name, offset: slotOffset(slot) },
      )
  }

  /** Forgets all slots and the storage, which the caller closes and removes. */
  reset(): Storage | undefined {
    const storage = this.#storage
    this.#storage = undefined
    this.#slots = 0
    return storage
  }
}
