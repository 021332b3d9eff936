import { LruCache } from '../../bytes/lru-cache.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { isDrydiskError } from '../../errors.ts'
import { type Checksum, matches } from './checksum.ts'
import type { ChunkMap } from './chunk-map.ts'
import type { DataChecksums } from './data-checksums.ts'
import { decompressExtent } from './decompress.ts'
import { corrupt } from './errors.ts'
import type { StoredContent } from './file-extent.ts'

/** Bytes read at once, and checked sector by sector. */
const PIECE = 1 << 20
/** Bytes of decompressed extents kept: reads are often smaller than an extent. */
const CACHED_BYTES = 2 << 20

/** Reads what extents hold, by their logical addresses. */
export class DataReader {
  readonly #device: BlockDevice
  readonly #map: ChunkMap
  readonly #checksum: Checksum
  readonly #sums: DataChecksums | undefined
  readonly #sectorsize: number
  readonly #decompressed = new LruCache<string, Uint8Array>(CACHED_BYTES)

  constructor(
    device: BlockDevice,
    map: ChunkMap,
    checksum: Checksum,
    sums: DataChecksums | undefined,
    sectorsize: number,
  ) {
    this.#device = device
    this.#map = map
    this.#checksum = checksum
    this.#sums = sums
    this.#sectorsize = sectorsize
  }

  /**
   * Fills `into` from byte `at` of what an extent item shows.
   * @param checked whether the data has checksums; those that are there are held against it.
   */
  async read(content: StoredContent, at: number, into: Uint8Array, checked: boolean): Promise<void> {
    const begin = content.offset + at
    if (content.compression === undefined) return this.#plain(content.diskBytenr + begin, into, checked)
    const whole = await this.#whole(content, checked)
    into.set(whole.subarray(begin, begin + into.length))
  }

  /** All of a compressed extent. */
  async #whole(content: StoredContent, checked: boolean): Promise<Uint8Array> {
    const { compression, diskBytenr, diskNumBytes, ramBytes } = content
    const key = [compression, diskBytenr, diskNumBytes, ramBytes, checked].join(' ')
    const held = this.#decompressed.get(key)
    if (held !== undefined || compression === undefined) return held ?? new Uint8Array()
    const packed = new Uint8Array(diskNumBytes)
    await this.#plain(diskBytenr, packed, checked)
    const bytes = await decompressExtent(compression, packed, ramBytes, this.#sectorsize)
    this.#decompressed.set(key, bytes, bytes.length)
    return bytes
  }

  async #plain(logical: number, into: Uint8Array, checked: boolean): Promise<void> {
    const sector = this.#sectorsize
    for (let done = 0; done < into.length; ) {
      const at = logical + done
      // Checksums are of whole sectors: what is read begins and ends with one.
      const before = checked ? at % sector : 0
      const wanted = Math.min(PIECE, into.length - done + before)
      const padded = checked ? Math.ceil(wanted / sector) * sector : wanted
      const { copies, length } = this.#map.place(at - before, padded)
      const whole = before === 0 && length <= into.length - done
      const bytes = whole ? into.subarray(done, done + length) : new Uint8Array(length)
      if (checked) await this.#readChecked(at - before, copies, bytes)
      else await this.#readFirst(copies, bytes)
      const useful = bytes.subarray(before, before + into.length - done)
      if (!whole) into.set(useful, done)
      done += useful.length
    }
  }

  async #readFirst(copies: readonly number[], bytes: Uint8Array): Promise<void> {
    let problem: unknown
    for (const copy of copies)
      try {
        await this.#device.read(copy, bytes)
        return
      } catch (error) {
        if (!isDrydiskError(error, 'EIO')) throw error
        problem ??= error
      }
    throw problem
  }

  /** Each sector from the first copy whose checksum is right. */
  async #readChecked(logical: number, copies: readonly number[], bytes: Uint8Array): Promise<void> {
    const sector = this.#sectorsize
    const sums = (await this.#sums?.read(logical, Math.ceil(bytes.length / sector))) ?? []
    await this.#readFirst(copies, bytes)
    for (let at = 0, index = 0; at < bytes.length; at += sector, index++) {
      const sum = sums[index]
      const part = bytes.subarray(at, at + sector)
      if (sum === undefined || matches(this.#checksum, part, sum)) continue
      await this.#readOther(
        logical + at,
        copies.map(copy => copy + at),
        part,
        sum,
      )
    }
  }

  async #readOther(
    logical: number,
    copies: readonly number[],
    part: Uint8Array,
    sum: Uint8Array,
  ): Promise<void> {
    for (const copy of copies.slice(1)) {
      await this.#device.read(copy, part)
      if (matches(this.#checksum, part, sum)) return
    }
    throw corrupt(
      'file data',
      `the data at the logical address ${logical} (byte ${copies[0]} of the volume) has a wrong checksum`,
      { logical, offset: copies[0] },
    )
  }
}
