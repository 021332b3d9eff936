import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import type { Seal } from './buffers.ts'
import { checksumIsRight } from './checksum.ts'
import { corrupt } from './errors.ts'
import type { ForkMap } from './fork-map.ts'
import type { VolumeBlock } from './geometry.ts'
import { after, type Soon } from './soon.ts'
import type { XfsVolume } from './volume.ts'

const STRUCTURE = 'xfs directory or attribute block'

/** The two headers of blocks in directories and attributes, by what version 5 adds to them (xfs_da_format.h). The LSN, 0 in a new block, follows blkno. */
const HEADERS = {
  /** struct xfs_da3_blkinfo: nodes, leaves, attributes. */
  index: { magicAt: 8, wide: false, crc: 12, blkno: 16, uuid: 32, owner: 48 },
  /** struct xfs_dir3_blk_hdr: data and free space of directories. */
  data: { magicAt: 0, wide: true, crc: 4, blkno: 8, uuid: 24, owner: 40 },
} as const

/** A block that was read, with its header found right. */
export interface DaBlock {
  readonly view: ByteView
  readonly magic: number
}

/** Which of the headers a block has. */
export type DaHeader = keyof typeof HEADERS

/** What is found right of a block that has a header: its magic number is one of several, and its content once. */
interface Expected {
  /** The block's first filesystem block in the fork. */
  readonly first: number
  readonly header: DaHeader
  readonly magics: readonly number[]
  check(view: ByteView, magic: number): void
}

/** The view of a buffer, and whose it was found to be: both stay for as long as it is in memory. */
const KNOWN = new WeakMap<Uint8Array, { readonly view: ByteView; readonly owner: number }>()

/** Reads and changes blocks of one directory, or of one inode's attributes, by their place in the fork. */
export class DaFork {
  readonly volume: XfsVolume
  readonly ino: number
  readonly map: ForkMap
  /** Filesystem blocks of one block here: directories may have larger ones. */
  readonly blockCount: number
  /** Blocks that were looked up in the map, which stays as it is. */
  readonly #places = new Map<number, readonly VolumeBlock[]>()

  constructor(volume: XfsVolume, ino: number, map: ForkMap, blockCount: number) {
    this.volume = volume
    this.ino = ino
    this.map = map
    this.blockCount = blockCount
  }

  corrupt(what: string): Error {
    return corrupt('directory', `inode ${this.ino}: ${what}`, { inode: this.ino })
  }

  /**
   * @param first the block's first filesystem block in the fork.
   * @param magics that the block may have, of version 4 or 5 as the filesystem is.
   * @param check of the structure, once for as long as the block is in memory.
   */
  read(
    first: number,
    header: DaHeader,
    magics: readonly number[],
    check: (view: ByteView, magic: number) => void,
  ): Soon<DaBlock> {
    const { buffers } = this.volume
    return after(this.#blocks(first), blocks => {
      const [block] = blocks
      const held = block === undefined || blocks.length > 1 ? undefined : buffers.held(block)
      const expected = { first, header, magics, check }
      return after(held ?? buffers.readJoined(blocks), bytes => this.#checked(bytes, blocks, expected))
    })
  }

  /** The same block, to be changed in place until the transaction ends. Its checksum is computed when it is written. */
  edit(
    first: number,
    header: DaHeader,
    magics: readonly number[],
    check: (view: ByteView, magic: number) => void,
  ): Soon<DaBlock> {
    const { buffers } = this.volume
    return after(this.#blocks(first), blocks => {
      const [block] = blocks
      const seal = this.#seal(header)
      const held = block === undefined || blocks.length > 1 ? undefined : buffers.editHeld(block, seal)
      const expected = { first, header, magics, check }
      return after(held ?? buffers.edit(blocks, seal), bytes => this.#checked(bytes, blocks, expected))
    })
  }

  /**
   * A block in blocks of the fork that were just allocated: zeros behind a header that says what it is, where it is and whose.
   * Only in a transaction.
   */
  fresh(first: number, header: DaHeader, magic: number): Soon<ByteView> {
    return after(this.#blocks(first), blocks => this.#fresh(blocks, header, magic))
  }

  #fresh(blocks: readonly VolumeBlock[], header: DaHeader, magic: number): ByteView {
    const { volume, ino } = this
    const bytes = volume.buffers.fresh(blocks, this.#seal(header))
    volume.trust(bytes)
    const view = bigEndian(bytes, STRUCTURE)
    const at = HEADERS[header]
    if (at.wide) view.setU32(at.magicAt, magic)
    else view.setU16(at.magicAt, magic)
    if (volume.superblock.isV5) {
      view.setU64(at.blkno, volume.geometry.diskAddress(blocks[0] ?? 0))
      bytes.set(volume.superblock.metaUuid, at.uuid)
      view.setU64(at.owner, ino)
    }
    return view
  }

  /** Whether a block is there. */
  isMapped(first: number): Soon<boolean> {
    return after(this.#place(first), blocks => blocks !== undefined)
  }

  /** Where a block is in the volume. */
  #blocks(first: number): Soon<readonly VolumeBlock[]> {
    return after(this.#place(first), blocks => {
      if (blocks === undefined) throw this.corrupt(`block ${first} is referred to, and is a hole`)
      return blocks
    })
  }

  #place(first: number): Soon<readonly VolumeBlock[] | undefined> {
    const known = this.#places.get(first)
    if (known !== undefined) return known
    return after(this.map.blocks(first, this.blockCount), blocks => {
      if (blocks !== undefined) this.#places.set(first, blocks)
      return blocks
    })
  }

  #seal(header: DaHeader): Seal {
    const { sb_blocksize } = this.volume.superblock
    return { at: 0, length: this.blockCount * sb_blocksize, crcAt: HEADERS[header].crc }
  }

  #checked(bytes: Uint8Array, blocks: readonly VolumeBlock[], expected: Expected): DaBlock {
    const { first, header, magics, check } = expected
    const known = KNOWN.get(bytes)
    const view = known?.view ?? bigEndian(bytes, STRUCTURE)
    const at = HEADERS[header]
    const magic = at.wide ? view.u32(at.magicAt) : view.u16(at.magicAt)
    if (!magics.includes(magic))
      throw this.corrupt(
        `block ${first} has the magic number 0x${magic.toString(16)}, expected ${hexes(magics)}`,
      )
    const { isV5 } = this.volume.superblock
    if (isV5 && known?.owner !== this.ino && view.big(at.owner) !== BigInt(this.ino))
      throw this.corrupt(`block ${first} says that it belongs to inode ${view.big(at.owner)}`)
    this.volume.verifyOnce(bytes, () => {
      if (isV5) this.#checkHeader(view, blocks, expected)
      check(view, magic)
    })
    if (known?.owner !== this.ino) KNOWN.set(bytes, { view, owner: this.ino })
    return { view, magic }
  }

  /** What version 5 has of each block besides its owner. */
  #checkHeader(view: ByteView, blocks: readonly VolumeBlock[], { first, header }: Expected): void {
    const { superblock, geometry } = this.volume
    const at = HEADERS[header]
    if (!checksumIsRight(view.bytes, at.crc)) throw this.corrupt(`block ${first} has a wrong checksum`)
    const place = geometry.diskAddress(blocks[0] ?? 0)
    if (view.big(at.blkno) !== BigInt(place))
      throw this.corrupt(
        `block ${first} is at sector ${place} and says that it belongs at ${view.big(at.blkno)}`,
      )
    if (!equalBytes(view.slice(at.uuid, 16), superblock.metaUuid))
      throw this.corrupt(`block ${first} belongs to another filesystem`)
  }
}

function hexes(numbers: readonly number[]): string {
  return numbers.map(number => `0x${number.toString(16)}`).join(' or ')
}
