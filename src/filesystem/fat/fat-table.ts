import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import type { CachedBlocks } from '../cached-blocks.ts'
import { type FatGeometry, FIRST_CLUSTER } from './geometry.ts'

/** Entries of FAT32 have 28 bits; the upper four belong to nobody and stay (fatgen103). */
const LOW_28 = 0x0fff_ffff
/** Sectors read at a time when the table is followed. */
const AHEAD_BYTES = 64 << 10
/** Bytes read at a time when the whole table is. */
const SCAN_BYTES = 1 << 20

/** Entry `index` of a table that starts with `bytes`, or a window of it that starts with entry 0. */
function entryIn(bytes: Uint8Array, index: number, bits: 12 | 16 | 32): number {
  if (bits === 12) {
    const at = index + (index >> 1)
    const pair = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)
    return index & 1 ? pair >> 4 : pair & 0xfff
  }
  const at = index * (bits / 8)
  const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)
  if (bits === 16) return low
  return (low | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) & LOW_28
}

/** The file allocation table: for each cluster the one that follows it in its file. */
export class FatTable {
  readonly #device: BlockDevice
  readonly #geometry: FatGeometry
  readonly #blocks: CachedBlocks
  /** Sectors of the active FAT that changed, relative to its start: the others become like them. */
  readonly #changed = new Set<number>()

  constructor(device: BlockDevice, geometry: FatGeometry, blocks: CachedBlocks) {
    this.#device = device
    this.#geometry = geometry
    this.#blocks = blocks
  }

  /** The entry as it stands: also for the first two, which are no clusters. */
  async get(index: number): Promise<number> {
    const { bits, sectorSize } = this.#geometry
    if (bits !== 12) {
      const perSector = (sectorSize * 8) / bits
      return entryIn(await this.#read(Math.floor(index / perSector)), index % perSector, bits)
    }
    const at = index + (index >> 1)
    const pair = (await this.#byte(at)) | ((await this.#byte(at + 1)) << 8)
    return index & 1 ? pair >> 4 : pair & 0xfff
  }

  /**
   * How many clusters from `cluster` on each lead to the next number, and what the last of them says.
   * @param most clusters to look at.
   */
  async run(cluster: number, most: number): Promise<{ readonly count: number; readonly next: number }> {
    const { bits, sectorSize } = this.#geometry
    const perSector = (sectorSize * 8) / bits
    let at = cluster
    for (;;) {
      if (bits === 12) {
        const next = await this.get(at)
        if (next !== at + 1 || at + 1 - cluster >= most || !this.#geometry.isCluster(next))
          return { count: at + 1 - cluster, next }
        at = next
        continue
      }
      const bytes = await this.#read(Math.floor(at / perSector))
      for (let index = at % perSector; index < perSector; index++, at++) {
        const next = entryIn(bytes, index, bits)
        if (next !== at + 1 || at + 1 - cluster >= most || !this.#geometry.isCluster(next))
          return { count: at + 1 - cluster, next }
      }
    }
  }

  /** Clusters `first` and on, each leading to the next number; the last to `next`. */
  async setRun(first: number, count: number, next: number): Promise<void> {
    const last = first + count - 1
    await this.#fill(first, count, cluster => (cluster === last ? next : cluster + 1))
  }

  /** They hold nothing. */
  async clearRun(first: number, count: number): Promise<void> {
    await this.#fill(first, count, () => 0)
  }

  async #fill(first: number, count: number, follower: (cluster: number) => number): Promise<void> {
    const { bits, sectorSize } = this.#geometry
    const end = first + count
    if (bits === 12) {
      for (let cluster = first; cluster < end; cluster++) await this.#set12(cluster, follower(cluster))
      return
    }
    const perSector = (sectorSize * 8) / bits
    for (let cluster = first; cluster < end; ) {
      const bytes = await this.#edit(Math.floor(cluster / perSector))
      const until = Math.min(end, cluster + perSector - (cluster % perSector))
      for (; cluster < until; cluster++) {
        const value = follower(cluster)
        const at = (cluster % perSector) * (bits / 8)
        bytes[at] = value & 0xff
        bytes[at + 1] = (value >> 8) & 0xff
        if (bits === 16) continue
        bytes[at + 2] = (value >> 16) & 0xff
        bytes[at + 3] = ((bytes[at + 3] ?? 0) & 0xf0) | ((value >> 24) & 0x0f)
      }
    }
  }

  /** An entry of FAT12 is one and a half bytes, which may lie in two sectors. */
  async #set12(cluster: number, value: number): Promise<void> {
    const at = cluster + (cluster >> 1)
    const [low, high] = [await this.#byte(at), await this.#byte(at + 1)]
    const odd = (cluster & 1) === 1
    await this.#setByte(at, odd ? (low & 0x0f) | ((value & 0x0f) << 4) : value & 0xff)
    await this.#setByte(at + 1, odd ? value >> 4 : (high & 0xf0) | (value >> 8))
  }

  async #byte(at: number): Promise<number> {
    const { sectorSize } = this.#geometry
    return (await this.#read(Math.floor(at / sectorSize)))[at % sectorSize] ?? 0
  }

  async #setByte(at: number, value: number): Promise<void> {
    const { sectorSize } = this.#geometry
    const bytes = await this.#edit(Math.floor(at / sectorSize))
    bytes[at % sectorSize] = value
  }

  async #edit(sector: number): Promise<Uint8Array> {
    this.#changed.add(sector)
    return this.#blocks.edit(this.#place(this.#geometry.activeFat, sector))
  }

  async #read(sector: number): Promise<Uint8Array> {
    const { activeFat, fatSectors, sectorSize } = this.#geometry
    const block = this.#place(activeFat, sector)
    if (!this.#blocks.holds(block))
      await this.#blocks.prefetch({ block, count: Math.min(AHEAD_BYTES / sectorSize, fatSectors - sector) })
    return this.#blocks.read(block)
  }

  #place(fat: number, sector: number): number {
    const { fatStart, fatSectors } = this.#geometry
    if (sector < 0 || sector >= fatSectors)
      throw new DrydiskError('ERR_CORRUPT', `FAT: sector ${sector} of a table of ${fatSectors} sectors`)
    return fatStart + fat * fatSectors + sector
  }

  /** Makes the other FATs like the active one where it changed; to be called before the blocks are written. */
  async seal(): Promise<void> {
    const { activeFat, writtenFats } = this.#geometry
    for (const sector of this.#changed) {
      const bytes = await this.#blocks.read(this.#place(activeFat, sector))
      for (const fat of writtenFats)
        if (fat !== activeFat) this.#blocks.fresh(this.#place(fat, sector)).set(bytes)
    }
    this.#changed.clear()
  }

  /**
   * Shows every entry of one FAT as it is on the volume, in order. Nothing may wait to be written.
   * @param visit is given the cluster and what follows it.
   */
  async scan(fat: number, visit: (cluster: number, next: number) => void): Promise<void> {
    const { bits, clusters, sectorSize } = this.#geometry
    const end = FIRST_CLUSTER + clusters
    const start = this.#place(fat, 0) * sectorSize
    // Whole sectors and whole entries: FAT12 fits into the first piece.
    const perPiece = (SCAN_BYTES * 8) / (bits === 12 ? 16 : bits)
    for (let first = 0; first < end; first += perPiece) {
      const count = Math.min(perPiece, end - first)
      const bytes = new Uint8Array(Math.ceil((count * bits) / 8))
      await this.#device.read(start + (first * bits) / 8, bytes)
      for (let index = Math.max(0, FIRST_CLUSTER - first); index < count; index++)
        visit(first + index, entryIn(bytes, index, bits))
    }
  }
}
