import { crc32c } from '../bytes/crc32c.ts'
import { DrydiskError } from '../errors.ts'
import type { Storage } from './storage.ts'

/** What an overlay stages and spills by: one memory buffer, one slot of a page file. */
export const PAGE_SIZE = 64 << 10
/** Slots start here; what lies before belongs to whoever gave the storage (the redo log keeps its header there). */
export const FIRST_SLOT_OFFSET = 4096

export function slotOffset(slot: number): number {
  return FIRST_SLOT_OFFSET + slot * PAGE_SIZE
}

export function pageChecksum(page: Uint8Array): number {
  return crc32c(0xffff_ffff, page)
}

/**
 * Pages that do not fit in memory, in a file that comes into being with the first of them. A slot is never used for
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

  /** @param pages whole pages, for slots that follow one another. */
  async write(slot: number, pages: Uint8Array): Promise<void> {
    const storage = await this.ensure()
    await storage.write(slotOffset(slot), pages)
  }

  /** `ERR_CORRUPT` when the page is not what was written. */
  async read(slot: number, checksum: number, into: Uint8Array): Promise<void> {
    const storage = await this.ensure()
    await storage.read(slotOffset(slot), into)
    if (pageChecksum(into) !== checksum)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${storage.name}: the page at offset ${slotOffset(slot)} does not have the checksum that was recorded for it; ` +
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
