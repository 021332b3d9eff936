import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import { checksumIsRight } from './checksum.ts'
import { corrupt } from './errors.ts'
import type { ForkMap } from './fork-map.ts'
import type { XfsVolume } from './volume.ts'

/** The two headers of blocks in directories and attributes, by what version 5 adds to them (xfs_da_format.h). */
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

/** Reads blocks of one directory, or of one inode's attributes, by their place in the fork. */
export class DaFork {
  readonly volume: XfsVolume
  readonly ino: number
  readonly map: ForkMap
  /** Filesystem blocks of one block here: directories may have larger ones. */
  readonly blockCount: number

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
  async read(
    first: number,
    header: keyof typeof HEADERS,
    magics: readonly number[],
    check: (view: ByteView, magic: number) => void,
  ): Promise<DaBlock> {
    const blocks = await this.map.blocks(first, this.blockCount)
    if (blocks === undefined) throw this.corrupt(`block ${first} is referred to, and is a hole`)
    const bytes = await this.volume.buffer(blocks)
    const view = bigEndian(bytes, 'xfs directory or attribute block')
    const { superblock, geometry } = this.volume
    const at = HEADERS[header]
    const magic = at.wide ? view.u32(at.magicAt) : view.u16(at.magicAt)
    if (!magics.includes(magic))
      throw this.corrupt(
        `block ${first} has the magic number 0x${magic.toString(16)}, expected ${hexes(magics)}`,
      )
    if (superblock.isV5 && view.big(at.owner) !== BigInt(this.ino))
      throw this.corrupt(`block ${first} says that it belongs to inode ${view.big(at.owner)}`)
    this.volume.verifyOnce(bytes, () => {
      if (superblock.isV5) {
        if (!checksumIsRight(bytes, at.crc)) throw this.corrupt(`block ${first} has a wrong checksum`)
        const place = geometry.diskAddress(blocks[0] ?? 0)
        if (view.big(at.blkno) !== BigInt(place))
          throw this.corrupt(
            `block ${first} is at sector ${place} and says that it belongs at ${view.big(at.blkno)}`,
          )
        if (!equalBytes(view.slice(at.uuid, 16), superblock.metaUuid))
          throw this.corrupt(`block ${first} belongs to another filesystem`)
      }
      check(view, magic)
    })
    return { view, magic }
  }
}

function hexes(numbers: readonly number[]): string {
  return numbers.map(number => `0x${number.toString(16)}`).join(' or ')
}
