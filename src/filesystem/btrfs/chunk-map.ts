import { BLOCK_GROUP, type Chunk } from './chunk.ts'
import { corrupt, unsupported } from './errors.ts'

/** Where a run of logical addresses lies: as many bytes as are together, in one or more copies. */
export interface Placement {
  /** Byte offsets in the device, one for each copy. */
  readonly copies: readonly number[]
  readonly length: number
}

const MIRRORED = BLOCK_GROUP.RAID1 | BLOCK_GROUP.RAID1C3 | BLOCK_GROUP.RAID1C4 | BLOCK_GROUP.DUP
const PARITY = BLOCK_GROUP.RAID5 | BLOCK_GROUP.RAID6

/** From logical addresses to bytes of the one device. */
export class ChunkMap {
  readonly #devid: bigint
  readonly #deviceSize: number
  /** In order of their logical address, without overlaps. */
  readonly #chunks: Chunk[] = []

  constructor(devid: bigint, deviceSize: number) {
    this.#devid = devid
    this.#deviceSize = deviceSize
  }

  get chunks(): readonly Chunk[] {
    return this.#chunks
  }

  /** One that is known already may come again: the chunk tree repeats what the superblock holds. */
  add(chunk: Chunk): void {
    const index = this.#firstAfter(chunk.logical)
    const before = this.#chunks[index - 1]
    const after = this.#chunks[index]
    if (before?.logical === chunk.logical && before.length === chunk.length) {
      this.#chunks[index - 1] = chunk
      return
    }
    if (
      (before && before.logical + before.length > chunk.logical) ||
      (after && chunk.logical + chunk.length > after.logical)
    )
      throw corrupt('chunk', `the chunk at ${chunk.logical} of ${chunk.length} bytes overlaps another`)
    this.#chunks.splice(index, 0, chunk)
  }

  /** Index of the first chunk that begins behind the address. */
  #firstAfter(logical: number): number {
    let low = 0
    let high = this.#chunks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#chunks[middle]?.logical ?? 0) <= logical) low = middle + 1
      else high = middle
    }
    return low
  }

  find(logical: number): Chunk | undefined {
    const chunk = this.#chunks[this.#firstAfter(logical) - 1]
    return chunk !== undefined && logical < chunk.logical + chunk.length ? chunk : undefined
  }

  /** Where the bytes from `logical` on lie; `length` at most. `ERR_CORRUPT` when no chunk or not the device holds them. */
  place(logical: number, length: number): Placement {
    const chunk = this.find(logical)
    if (chunk === undefined)
      throw corrupt('chunk', `the logical address ${logical} is referred to, and no chunk holds it`, {
        logical,
      })
    const within = logical - chunk.logical
    const together = Math.min(length, chunk.length - within)
    const copies = this.#stripesOf(chunk).map(offset => offset + within)
    // A copy that lies outside is of no use; the others may be.
    const inside = copies.filter(at => at + together <= this.#deviceSize)
    if (inside.length === 0)
      throw corrupt(
        'chunk',
        `the logical address ${logical} lies at ${copies.join(' and ')} of a device of ${this.#deviceSize} bytes: the volume was cut off`,
        { logical },
      )
    return { copies: inside, length: together }
  }

  /** Byte offsets of the chunk's copies on this device. */
  #stripesOf(chunk: Chunk): number[] {
    if ((chunk.type & PARITY) !== 0n)
      throw unsupported('the filesystem has chunks with RAID5 or RAID6, which drydisk does not read')
    // RAID0 and RAID10 of a single stripe are in one piece (mkfs.btrfs makes them on one device).
    if (chunk.stripes.length > 1 && (chunk.type & MIRRORED) === 0n)
      throw unsupported('the filesystem has striped chunks (RAID0 or RAID10), which drydisk does not read')
    const own = chunk.stripes.filter(stripe => stripe.devid === this.#devid).map(stripe => stripe.offset)
    if (own.length > 0) return own
    throw unsupported(
      `the chunk at ${chunk.logical} lies on device ${chunk.stripes.map(stripe => stripe.devid).join(', ')} of the filesystem, and this is device ${this.#devid}: a seed device or another device is missing`,
    )
  }
}
