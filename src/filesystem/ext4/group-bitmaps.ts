import { crc32c } from '../../bytes/crc32c.ts'
import { countFree, fillBits } from './bitmap.ts'
import type { BlockNumber, MetadataBlocks } from './context.ts'
import type { Geometry } from './geometry.ts'
import { GROUP_FLAG, type GroupDescriptor } from './group-descriptor.ts'
import type { GroupDescriptors } from './group-descriptors.ts'

/** What differs between the bitmaps of blocks and of inodes. */
export interface BitmapKind {
  readonly name: string
  readonly uninitialised: number
  /** Bits of a group that mean something; the rest of the block is padding, all ones. */
  bits(group: number): number
  /** Bytes that the checksum covers. */
  readonly checksummed: number
  place(descriptor: GroupDescriptor): BlockNumber
  free(descriptor: GroupDescriptor): number
  checksumIs(descriptor: GroupDescriptor, crc: number): boolean
  setChecksum(descriptor: GroupDescriptor, crc: number): void
  /** Marks what is used in a bitmap that was never written. */
  initialise(bitmap: Uint8Array, group: number): void
}

export interface BitmapParts {
  readonly geometry: Geometry
  readonly descriptors: GroupDescriptors
  readonly blocks: MetadataBlocks
  /** What the crc32c of bitmaps starts with, `undefined` without metadata_csum. */
  readonly checksumSeed: number | undefined
}

interface Loaded {
  readonly bytes: Uint8Array
  /** What keeps the bitmap from being used, if anything. */
  readonly fault: string | undefined
  changed: boolean
}

/** Bytes of loaded bitmaps that may stay in memory after they were written. */
const KEPT_BYTES = 16 << 20

/** The bitmaps of one kind, loaded group by group when they are wanted. */
export class GroupBitmaps {
  readonly #parts: BitmapParts
  readonly #kind: BitmapKind
  readonly #loaded = new Map<number, Loaded>()

  constructor(parts: BitmapParts, kind: BitmapKind) {
    this.#parts = parts
    this.#kind = kind
  }

  /** The group's bitmap, to be changed in place after `markChanged`; or what is wrong with it. */
  async load(group: number): Promise<{ readonly bytes: Uint8Array; readonly fault: string | undefined }> {
    return this.#load(group)
  }

  /** The bitmap is to be written, and its group is initialised from now on. */
  async markChanged(group: number): Promise<void> {
    const loaded = await this.#load(group)
    loaded.changed = true
    await this.#parts.descriptors.change(group, descriptor =>
      descriptor.setFlag(this.#kind.uninitialised, false),
    )
  }

  /** Puts changed bitmaps into their blocks and their checksums into the descriptors. */
  async seal(): Promise<void> {
    const { descriptors, blocks, checksumSeed } = this.#parts
    for (const [group, loaded] of this.#loaded) {
      if (!loaded.changed) continue
      const descriptor = await descriptors.read(group)
      blocks.fresh(this.#kind.place(descriptor)).set(loaded.bytes)
      if (checksumSeed !== undefined)
        await descriptors.change(group, changed =>
          this.#kind.setChecksum(changed, this.#checksum(checksumSeed, loaded.bytes)),
        )
      loaded.changed = false
    }
    if (this.#loaded.size * this.#parts.geometry.blockSize > KEPT_BYTES) this.#loaded.clear()
  }

  async #load(group: number): Promise<Loaded> {
    const held = this.#loaded.get(group)
    if (held !== undefined) return held
    const { descriptors, blocks, checksumSeed, geometry } = this.#parts
    const descriptor = await descriptors.read(group)
    const bits = this.#kind.bits(group)
    const padded = geometry.blockSize * 8
    let bytes: Uint8Array
    let fault: string | undefined
    if (descriptors.hasChecksums && descriptor.hasFlag(this.#kind.uninitialised)) {
      bytes = new Uint8Array(geometry.blockSize)
      this.#kind.initialise(bytes, group)
      fillBits(bytes, bits, padded - bits, true)
    } else {
      bytes = (await blocks.read(this.#kind.place(descriptor))).slice()
      if (
        checksumSeed !== undefined &&
        !this.#kind.checksumIs(descriptor, this.#checksum(checksumSeed, bytes))
      )
        fault = 'its checksum is wrong'
    }
    const free = countFree(bytes, bits)
    if (fault === undefined && free !== this.#kind.free(descriptor))
      fault = `it has ${free} free, but the group descriptor says ${this.#kind.free(descriptor)}`
    if (fault !== undefined) fault = `ext4 group ${group}: the ${this.#kind.name} is damaged: ${fault}`
    const loaded = { bytes, fault, changed: false }
    this.#loaded.set(group, loaded)
    return loaded
  }

  #checksum(seed: number, bytes: Uint8Array): number {
    return crc32c(seed, bytes.subarray(0, this.#kind.checksummed))
  }
}

/** Block bitmaps. `mark` marks the filesystem's own blocks in a window of the volume, for groups never written to. */
export function blockBitmapKind(
  geometry: Geometry,
  mark: (start: BlockNumber, end: BlockNumber) => Iterable<{ readonly start: number; readonly end: number }>,
): BitmapKind {
  return {
    name: 'block bitmap',
    uninitialised: GROUP_FLAG.BLOCK_UNINIT,
    bits: group => geometry.groupClusters(group),
    checksummed: geometry.clustersPerGroup >>> 3,
    place: descriptor => descriptor.bg_block_bitmap,
    free: descriptor => descriptor.bg_free_blocks_count,
    checksumIs: (descriptor, crc) => descriptor.blockBitmapChecksumIs(crc),
    setChecksum: (descriptor, crc) => {
      descriptor.blockBitmapChecksum = crc
    },
    initialise: (bitmap, group) => {
      const first = geometry.groupFirstBlock(group)
      for (const { start, end } of mark(first, first + geometry.groupBlocks(group)))
        fillBits(bitmap, start - first, end - start, true)
    },
  }
}

export function inodeBitmapKind(geometry: Geometry): BitmapKind {
  return {
    name: 'inode bitmap',
    uninitialised: GROUP_FLAG.INODE_UNINIT,
    bits: () => geometry.inodesPerGroup,
    checksummed: geometry.inodesPerGroup >>> 3,
    place: descriptor => descriptor.bg_inode_bitmap,
    free: descriptor => descriptor.bg_free_inodes_count,
    checksumIs: (descriptor, crc) => descriptor.inodeBitmapChecksumIs(crc),
    setChecksum: (descriptor, crc) => {
      descriptor.inodeBitmapChecksum = crc
    },
    initialise: () => {},
  }
}
