import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import type { BtreeKey, BtreeKind } from './btree-kinds.ts'
import { checksumIsRight } from './checksum.ts'
import { corrupt } from './errors.ts'
import type { Superblock } from './superblock.ts'

/** Bytes of struct xfs_btree_block, of version 4 and of version 5. */
const HEADER = { short: [16, 56], long: [24, 72] } as const
const FIELDS = {
  short: { blkno: 16, uuid: 32, owner: 48, crc: 52 },
  long: { blkno: 24, uuid: 40, owner: 56, crc: 64 },
} as const

export function btreeHeaderSize(pointers: 'short' | 'long', isV5: boolean): number {
  return HEADER[pointers][isV5 ? 1 : 0]
}

/** What refers to a block says about it. */
export interface BtreeReference {
  /** bb_level: 0 is a leaf. */
  readonly level: number
  /** In 512-byte units. */
  readonly daddr: number
  /** The allocation group, or the inode. */
  readonly owner: number
  readonly isRoot: boolean
}

/** A block of a tree, or the root in an inode. Entries are records in a leaf; above, keys and pointers. */
export class BtreeBlock<Record> {
  readonly level: number
  readonly count: number
  readonly #kind: BtreeKind<Record>
  readonly #view: ByteView
  readonly #entriesAt: number
  readonly #pointersAt: number

  /** @param room bytes from the first entry to the end of the block. */
  constructor(
    kind: BtreeKind<Record>,
    view: ByteView,
    { level, count, entriesAt, room }: { level: number; count: number; entriesAt: number; room: number },
  ) {
    this.level = level
    this.count = count
    this.#kind = kind
    this.#view = view
    this.#entriesAt = entriesAt
    const pointerSize = kind.pointers === 'short' ? 4 : 8
    const most = Math.floor(room / (level === 0 ? kind.recordSize : kind.keySize + pointerSize))
    if (count > most)
      throw corrupt(kind.name, `a block of a ${kind.name} says that it has ${count} entries, and ${most} fit`)
    this.#pointersAt = entriesAt + most * kind.keySize
  }

  key(index: number): BtreeKey {
    const { recordKey, nodeKey, recordSize, keySize } = this.#kind
    return this.level === 0
      ? recordKey(this.#view, this.#entriesAt + index * recordSize)
      : nodeKey(this.#view, this.#entriesAt + index * keySize)
  }

  record(index: number): Record {
    return this.#kind.parse(this.#view, this.#entriesAt + index * this.#kind.recordSize)
  }

  pointer(index: number): number {
    return this.#kind.pointers === 'short'
      ? this.#view.u32(this.#pointersAt + index * 4)
      : this.#view.u64(this.#pointersAt + index * 8)
  }

  /** Index of the last entry whose key is not above the given one; -1 when all are. */
  floor(key: BtreeKey): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.key(middle) <= key) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}

/**
 * Checks and parses a block of a tree: magic number, checksum, place, filesystem, owner, level, and that keys ascend.
 * @param verified whether these bytes were checked before, and only what the reference says is to be.
 */
export function parseBtreeBlock<Record>(
  kind: BtreeKind<Record>,
  bytes: Uint8Array,
  reference: BtreeReference,
  sb: Superblock,
  verified: boolean,
): BtreeBlock<Record> {
  const { level, daddr, owner, isRoot } = reference
  const wrong = (what: string) =>
    corrupt(kind.name, `the block of a ${kind.name} at sector ${daddr} ${what}`, { sector: daddr, owner })
  const view = bigEndian(bytes, `xfs ${kind.name}`)
  const magic = sb.isV5 ? kind.crcMagic : kind.magic
  if (view.u32(0) !== magic)
    throw wrong(`has the magic number 0x${view.u32(0).toString(16)}, expected 0x${magic.toString(16)}`)
  const at = FIELDS[kind.pointers]
  if (sb.isV5) {
    if (!verified && !checksumIsRight(bytes, at.crc)) throw wrong('has a wrong checksum')
    if (view.big(at.blkno) !== BigInt(daddr)) throw wrong(`says that it belongs at ${view.big(at.blkno)}`)
    if (!equalBytes(view.slice(at.uuid, 16), sb.metaUuid)) throw wrong('belongs to another filesystem')
    const stored = kind.pointers === 'short' ? BigInt(view.u32(at.owner)) : view.big(at.owner)
    if (stored !== BigInt(owner)) throw wrong(`says that it belongs to ${stored}, expected ${owner}`)
  }
  if (view.u16(4) !== level) throw wrong(`has level ${view.u16(4)}, expected ${level}`)
  const count = view.u16(6)
  if (count === 0 && !(isRoot && level === 0)) throw wrong('is empty')
  const entriesAt = btreeHeaderSize(kind.pointers, sb.isV5)
  const block = new BtreeBlock(kind, view, { level, count, entriesAt, room: bytes.length - entriesAt })
  if (!verified)
    for (let index = 1; index < count; index++)
      if (block.key(index - 1) >= block.key(index)) throw wrong(`has its keys out of order at ${index}`)
  return block
}
