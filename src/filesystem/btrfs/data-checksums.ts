import { corrupt } from './errors.ts'
import { ITEM, OBJECTID } from './key.ts'
import type { Tree } from './tree.ts'

/** Checksums of file data, one for each sector (on-disk format, "EXTENT_CSUM"). */
export class DataChecksums {
  readonly #tree: Tree
  readonly #sectorsize: number
  readonly #size: number

  /** @param size bytes of one checksum. */
  constructor(tree: Tree, sectorsize: number, size: number) {
    this.#tree = tree
    this.#sectorsize = sectorsize
    this.#size = size
  }

  /** The checksums of so many sectors from a logical address on; `undefined` for a sector that has none. */
  async read(logical: number, sectors: number): Promise<(Uint8Array | undefined)[]> {
    const out = new Array<Uint8Array | undefined>(sectors).fill(undefined)
    const key = (offset: number) => ({
      objectid: OBJECTID.EXTENT_CSUM,
      type: ITEM.EXTENT_CSUM,
      offset: BigInt(offset),
    })
    const end = logical + sectors * this.#sectorsize
    const before = await this.#tree.floor(key(logical))
    const isCsum = before?.key.objectid === OBJECTID.EXTENT_CSUM && before.key.type === ITEM.EXTENT_CSUM
    const from = isCsum ? before.key : key(logical)
    for await (const item of this.#tree.range(from, key(end - 1))) {
      const start = Number(item.key.offset)
      const count = Math.floor(item.data.length / this.#size)
      if ((start - logical) % this.#sectorsize !== 0)
        throw corrupt(
          'checksums',
          `data checksums begin at the logical address ${start}, in the middle of a sector`,
        )
      const first = (start - logical) / this.#sectorsize
      for (let index = Math.max(0, -first); index < count && first + index < sectors; index++)
        out[first + index] = item.data.slice(index * this.#size, this.#size)
    }
    return out
  }
}
