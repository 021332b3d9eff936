import { dirDataStart, entrySize } from '../dir-data.ts'
import type { NamedInode } from '../dir-name.ts'
import { corrupt } from '../errors.ts'
import type { Geometry } from '../geometry.ts'
import type { Superblock } from '../superblock.ts'

/** Bytes that one step of an address in a hash entry stands for (XFS_DIR2_DATA_ALIGN). */
const ADDRESS_UNIT = 8
/** struct xfs_dir2_leaf_entry */
export const LEAF_ENTRY = 8
/** An entry in a table of free space: of a data block that is not there, it is NULLDATAOFF. */
export const BEST = 2
export const NO_BLOCK = 0xffff
/** XFS_DIR3_FT_WHT */
const MOST_FILETYPE = 8

/** Where what is in the blocks of one directory (xfs_da_format.h; struct xfs_da_geometry of Linux keeps the same figures). */
export class DirLayout {
  readonly ino: number
  readonly isV5: boolean
  readonly hasFtype: boolean
  /** Bytes of a block. */
  readonly blockSize: number
  /** Where entries begin in a block of them. */
  readonly dataStart: number
  /** Where the table of its longest free spaces is. */
  readonly bestFreeAt: number
  /** Where a leaf has the count of its entries; that of the stale ones follows. */
  readonly leafCountAt: number
  /** Where the entries of a leaf begin. */
  readonly leafStart: number
  /** Where a block of free space has firstdb, nvalid and nused. */
  readonly freeFieldsAt: number
  /** Where its table begins. */
  readonly freeStart: number

  constructor(superblock: Pick<Superblock, 'isV5' | 'hasFtype' | 'dirBlockSize'>, ino: number) {
    const { isV5, hasFtype, dirBlockSize } = superblock
    this.ino = ino
    this.isV5 = isV5
    this.hasFtype = hasFtype
    this.blockSize = dirBlockSize
    this.dataStart = dirDataStart(isV5)
    this.bestFreeAt = isV5 ? 48 : 4
    this.leafCountAt = isV5 ? 56 : 12
    this.leafStart = isV5 ? 64 : 16
    this.freeFieldsAt = isV5 ? 48 : 4
    this.freeStart = isV5 ? 64 : 16
  }

  /** Bytes that an entry takes. */
  entrySize(name: Uint8Array): number {
    return entrySize(name.length, this.hasFtype)
  }
  /** Where `..` is in the first block, behind `.`. */
  get dotdotAt(): number {
    return this.dataStart + entrySize(1, this.hasFtype)
  }
  /** Where the entry behind `..` is. */
  get firstEntry(): number {
    return this.dotdotAt + entrySize(2, this.hasFtype)
  }
  /** Entries that a leaf in a tree has room for. */
  get mostLeafEntries(): number {
    return Math.floor((this.blockSize - this.leafStart) / LEAF_ENTRY)
  }
  /** Data blocks that one block of free space tells of. */
  get mostBests(): number {
    return Math.floor((this.blockSize - this.freeStart) / BEST)
  }

  /** What a hash entry has for an entry at a byte of a data block. */
  address(index: number, offset: number): number {
    return (index * this.blockSize + offset) / ADDRESS_UNIT
  }
  /** The data block of an address, and the byte in it. */
  place(address: number): { index: number; offset: number } {
    const at = address * ADDRESS_UNIT
    return { index: Math.floor(at / this.blockSize), offset: at % this.blockSize }
  }

  /**
   * Linux reads no directory with an entry that leads to an inode which cannot be, or has no type that there is (xfs_dir2_sf_verify,
   * __xfs_dir3_data_check): it is not built upon.
   */
  requireEntry(
    { ino, filetype }: Pick<NamedInode, 'ino' | 'filetype'>,
    geometry: Pick<Geometry, 'inodePlace'>,
  ): void {
    if (geometry.inodePlace(ino) === undefined)
      throw this.corrupt(`it leads to inode ${ino}, which does not exist`)
    if (filetype > MOST_FILETYPE) throw this.corrupt(`it has an entry of type ${filetype}, which is none`)
  }

  corrupt(what: string): Error {
    return corrupt('directory', `inode ${this.ino}: ${what}`, { inode: this.ino })
  }
}
