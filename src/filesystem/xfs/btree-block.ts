import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import { BTREE_FIELDS, btreeHeaderSize } from './btree-header.ts'
import type { BtreeKey, BtreeKind } from './btree-kinds.ts'
import { checksumIsRight } from './checksum.ts'
import { corrupt } from './errors.ts'
import type { Superblock } from './superblock.ts'

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

/** Where things are in a block. */
interface BlockShape {
  /** bb_level, and bb_numrecs behind it. */
  readonly levelAt: number
  /** bb_leftsib, and bb_rightsib behind it; the root in an inode has none. */
  readonly siblingsAt?: number
  readonly entriesAt: number
}

/** In the root in an inode (struct xfs_bmdr_block), and in a block. */
const ROOT_SHAPE: BlockShape = { levelAt: 0, entriesAt: 4 }
const LEVEL_AT = 4
const SIBLINGS_AT = 8
/** No sibling, in the form of either pointer. */
const NO_BLOCK = 0xffff_ffff

/** Where a key is made to be compared; all are whole words, at most two of a reverse mapping. */
const KEY = bigEndian(new Uint8Array(40), 'xfs btree key')

/**
 * A block of a tree, or the root in an inode, read and changed in place. Entries are records in a leaf; above, keys and
 * pointers.
 */
export class BtreeBlock<Record> {
  readonly level: number
  /** Entries that fit. */
  readonly most: number
  readonly #kind: BtreeKind<Record>
  readonly #view: ByteView
  readonly #shape: BlockShape
  readonly #pointersAt: number

  /** @param view from the header to the end of the block. */
  constructor(kind: BtreeKind<Record>, view: ByteView, shape: BlockShape) {
    this.level = view.u16(shape.levelAt)
    this.#kind = kind
    this.#view = view
    this.#shape = shape
    this.most = mostEntries(kind, this.level, view.length - shape.entriesAt)
    this.#pointersAt = shape.entriesAt + this.most * kind.keySize
    if (this.count > this.most)
      throw corrupt(
        kind.name,
        `a block of a ${kind.name} says that it has ${this.count} entries, and ${this.most} fit`,
      )
  }

  /** Of the whole block, or of the literal area. */
  get bytes(): Uint8Array {
    return this.#view.bytes
  }

  get count(): number {
    return this.#view.u16(this.#shape.levelAt + 2)
  }
  #setCount(count: number): void {
    this.#view.setU16(this.#shape.levelAt + 2, count)
  }

  key(index: number): BtreeKey {
    const { recordKey, nodeKey } = this.#kind
    return this.level === 0 ? recordKey(this.#view, this.#at(index)) : nodeKey(this.#view, this.#at(index))
  }

  /** Of a tree with overlapping records: where the last of what the entry has ends. */
  highKey(index: number): BtreeKey {
    const high = this.#kind.high
    if (high === undefined) return this.key(index)
    return this.level === 0
      ? high.ofRecord(this.#view, this.#at(index))
      : high.ofNode(this.#view, this.#at(index) + high.at)
  }

  record(index: number): Record {
    return this.#kind.parse(this.#view, this.#at(index))
  }

  pointer(index: number): number {
    const at = this.#pointersAt + index * pointerSize(this.#kind)
    return this.#kind.pointers === 'short' ? this.#view.u32(at) : this.#view.u64(at)
  }

  /** Index of the last entry whose key is not above the given one; -1 when all are. */
  floor(key: BtreeKey): number {
    const { lead } = this.#kind
    const first = lead?.of(key)
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      const other = lead === undefined ? undefined : this.#view.u32(this.#at(middle) + lead.at)
      const isAbove =
        first === undefined || other === undefined || other === first ? this.key(middle) > key : other > first
      if (isAbove) high = middle
      else low = middle + 1
    }
    return low - 1
  }

  /** Whether all that an entry has ends before a key: of a tree with overlapping records. */
  endsBefore(index: number, key: BtreeKey): boolean {
    const first = this.#kind.lead?.of(key) ?? 0
    const end = this.#end(index)
    return end === first ? this.highKey(index) < key : end < first
  }

  /** What high keys are ordered by first. */
  #end(index: number): number {
    const { high } = this.#kind
    if (high === undefined) return 0
    return this.level === 0
      ? high.endOfRecord(this.#view, this.#at(index))
      : high.endOfNode(this.#view, this.#at(index) + high.at)
  }

  /** Not of the root in an inode. */
  get leftSibling(): number | undefined {
    return this.#sibling(0)
  }
  set leftSibling(pointer: number | undefined) {
    this.#setSibling(0, pointer)
  }
  get rightSibling(): number | undefined {
    return this.#sibling(1)
  }
  set rightSibling(pointer: number | undefined) {
    this.#setSibling(1, pointer)
  }

  setRecord(index: number, record: Record): void {
    this.#kind.serialise(this.#view, this.#at(index), record)
  }

  insertRecord(index: number, record: Record): void {
    this.#open(index, 1)
    this.setRecord(index, record)
  }

  /** Puts a record in the place of another, and at another index among those that are left. */
  moveRecord(from: number, to: number, record: Record): void {
    const { recordSize } = this.#kind
    const { bytes } = this.#view
    if (from < to) bytes.copyWithin(this.#at(from), this.#at(from + 1), this.#at(to) + recordSize)
    else if (to < from) bytes.copyWithin(this.#at(to + 1), this.#at(to), this.#at(from))
    this.setRecord(to, record)
  }

  /** An entry for a child, with its key. */
  insertChild(index: number, pointer: number, child: BtreeBlock<Record>): void {
    this.#open(index, 1)
    const at = this.#pointersAt + index * pointerSize(this.#kind)
    if (this.#kind.pointers === 'short') this.#view.setU32(at, pointer)
    else this.#view.setU64(at, pointer)
    child.#writeKey(this.#view, this.#at(index))
  }

  remove(index: number, count = 1): void {
    this.#close(index, count)
  }

  /** Whether an entry has the key that its child gives it. */
  hasKeyOf(index: number, child: BtreeBlock<Record>): boolean {
    child.#writeKey(KEY, 0)
    const at = this.#at(index)
    for (let word = 0; word < this.#kind.keySize; word += 4)
      if (KEY.u32(word) !== this.#view.u32(at + word)) return false
    return true
  }

  setKeyOf(index: number, child: BtreeBlock<Record>): void {
    child.#writeKey(this.#view, this.#at(index))
  }

  /** Moves the last entries of this block before those of another of the same level. */
  moveEndTo(right: BtreeBlock<Record>, count: number): void {
    right.#open(0, count)
    this.#copyTo(right, this.count - count, 0, count)
    this.#close(this.count - count, count)
  }

  /** Moves the first entries of this block behind those of another of the same level. */
  moveStartTo(left: BtreeBlock<Record>, count: number): void {
    const at = left.count
    left.#open(at, count)
    this.#copyTo(left, 0, at, count)
    this.#close(0, count)
  }

  /** The key of this block's own entry: that of its first, and the highest of all where they overlap. */
  #writeKey(to: ByteView, toAt: number): void {
    const { high, keySize, setNodeKey } = this.#kind
    if (this.level === 0) setNodeKey(to, toAt, this.#view, this.#at(0))
    else to.bytes.set(this.#view.slice(this.#at(0), high === undefined ? keySize : high.at), toAt)
    if (high === undefined) return
    let highest = 0
    let last = this.#end(0)
    for (let index = 1; index < this.count; index++) {
      const other = this.#end(index)
      if (other < last || (other === last && this.highKey(index) <= this.highKey(highest))) continue
      ;[highest, last] = [index, other]
    }
    if (this.level === 0) high.set(to, toAt + high.at, this.#view, this.#at(highest))
    else to.bytes.set(this.#view.slice(this.#at(highest) + high.at, high.size), toAt + high.at)
  }

  #at(index: number): number {
    const { recordSize, keySize } = this.#kind
    return this.#shape.entriesAt + index * (this.level === 0 ? recordSize : keySize)
  }

  /** Where an entry's parts are: the record, or the key and the pointer. */
  #parts(): readonly (readonly [at: number, size: number])[] {
    const { recordSize, keySize } = this.#kind
    const { entriesAt } = this.#shape
    if (this.level === 0) return [[entriesAt, recordSize]]
    return [
      [entriesAt, keySize],
      [this.#pointersAt, pointerSize(this.#kind)],
    ]
  }

  /** Room for entries at an index. */
  #open(index: number, count: number): void {
    const entries = this.count
    if (entries + count > this.most || index > entries)
      throw new Error(`${count} entries more at ${index} of ${entries}, and ${this.most} fit`)
    for (const [at, size] of this.#parts())
      this.#view.bytes.copyWithin(at + (index + count) * size, at + index * size, at + entries * size)
    this.#setCount(entries + count)
  }

  /** What is behind the last entry is zeros, so that nothing of a file's past stays. */
  #close(index: number, count: number): void {
    const entries = this.count
    for (const [at, size] of this.#parts()) {
      const { bytes } = this.#view
      bytes.copyWithin(at + index * size, at + (index + count) * size, at + entries * size)
      bytes.fill(0, at + (entries - count) * size, at + entries * size)
    }
    this.#setCount(entries - count)
  }

  #copyTo(other: BtreeBlock<Record>, from: number, to: number, count: number): void {
    const parts = other.#parts()
    for (const [part, [at, size]] of this.#parts().entries())
      other.#view.bytes.set(
        this.#view.slice(at + from * size, count * size),
        (parts[part]?.[0] ?? 0) + to * size,
      )
  }

  #sibling(which: 0 | 1): number | undefined {
    const { siblingsAt } = this.#shape
    if (siblingsAt === undefined) return undefined
    const at = siblingsAt + which * pointerSize(this.#kind)
    if (this.#kind.pointers === 'short') {
      const pointer = this.#view.u32(at)
      return pointer === NO_BLOCK ? undefined : pointer
    }
    return this.#view.u32(at) === NO_BLOCK && this.#view.u32(at + 4) === NO_BLOCK
      ? undefined
      : this.#view.u64(at)
  }

  #setSibling(which: 0 | 1, pointer: number | undefined): void {
    const { siblingsAt } = this.#shape
    if (siblingsAt === undefined) throw new Error('the root in an inode has no siblings')
    const at = siblingsAt + which * pointerSize(this.#kind)
    if (this.#kind.pointers === 'short') this.#view.setU32(at, pointer ?? NO_BLOCK)
    else if (pointer !== undefined) this.#view.setU64(at, pointer)
    else this.#view.setBig(at, -1n)
  }
}

function pointerSize<Record>(kind: BtreeKind<Record>): number {
  return kind.pointers === 'short' ? 4 : 8
}

/** Entries that fit into so many bytes. */
function mostEntries<Record>(kind: BtreeKind<Record>, level: number, room: number): number {
  return Math.max(0, Math.floor(room / (level === 0 ? kind.recordSize : kind.keySize + pointerSize(kind))))
}

/** Entries that fit into the root in an inode, whose literal area has so many bytes. */
export function mostRootEntries<Record>(kind: BtreeKind<Record>, literalSize: number): number {
  return mostEntries(kind, 1, literalSize - ROOT_SHAPE.entriesAt)
}

/** The root in an inode. */
export function rootInInode<Record>(kind: BtreeKind<Record>, literal: ByteView): BtreeBlock<Record> {
  return new BtreeBlock(kind, literal, ROOT_SHAPE)
}

/** A root without entries in place of what the inode's literal area had. */
export function newRootInInode<Record>(
  kind: BtreeKind<Record>,
  literal: ByteView,
  level: number,
): BtreeBlock<Record> {
  literal.bytes.fill(0)
  literal.setU16(ROOT_SHAPE.levelAt, level)
  return rootInInode(kind, literal)
}

/** A block without entries in a zeroed buffer. */
export function newBtreeBlock<Record>(
  kind: BtreeKind<Record>,
  bytes: Uint8Array,
  { level, daddr, owner }: Omit<BtreeReference, 'isRoot'>,
  sb: Superblock,
): BtreeBlock<Record> {
  const view = bigEndian(bytes, `xfs ${kind.name}`)
  view.setU32(0, sb.isV5 ? kind.crcMagic : kind.magic)
  view.setU16(LEVEL_AT, level)
  if (sb.isV5) {
    const at = BTREE_FIELDS[kind.pointers]
    view.setU64(at.blkno, daddr)
    bytes.set(sb.metaUuid, at.uuid)
    if (kind.pointers === 'short') view.setU32(at.owner, owner)
    else view.setU64(at.owner, owner)
  }
  const block = blockOf(kind, view, sb)
  block.leftSibling = undefined
  block.rightSibling = undefined
  return block
}

function blockOf<Record>(kind: BtreeKind<Record>, view: ByteView, sb: Superblock): BtreeBlock<Record> {
  const entriesAt = btreeHeaderSize(kind.pointers, sb.isV5)
  return new BtreeBlock(kind, view, { levelAt: LEVEL_AT, siblingsAt: SIBLINGS_AT, entriesAt })
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
  const at = BTREE_FIELDS[kind.pointers]
  if (sb.isV5) {
    if (!verified) {
      if (!checksumIsRight(bytes, at.crc)) throw wrong('has a wrong checksum')
      if (view.big(at.blkno) !== BigInt(daddr)) throw wrong(`says that it belongs at ${view.big(at.blkno)}`)
      if (!equalBytes(view.slice(at.uuid, 16), sb.metaUuid)) throw wrong('belongs to another filesystem')
    }
    // What is not exact as a number is above all numbers that can be expected.
    const stored = view.u32(at.owner) * (kind.pointers === 'short' ? 1 : 2 ** 32)
    const whose = kind.pointers === 'short' ? stored : stored + view.u32(at.owner + 4)
    if (whose !== owner) throw wrong(`says that it belongs to ${whose}, expected ${owner}`)
  }
  const block = blockOf(kind, view, sb)
  const { count } = block
  if (block.level !== level) throw wrong(`has level ${block.level}, expected ${level}`)
  if (count === 0 && !(isRoot && level === 0)) throw wrong('is empty')
  if (!verified)
    for (let index = 1; index < count; index++)
      if (block.key(index - 1) >= block.key(index)) throw wrong(`has its keys out of order at ${index}`)
  return block
}
