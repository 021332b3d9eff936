import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { DrydiskError } from '../../errors.ts'
import type { ChecksumContext, Ext4Context } from './context.ts'
import { markVerified, verifyOnce } from './directory-block.ts'
import { ENTRY_HEADER, entrySize } from './directory-entry.ts'
import type { Inode } from './inode.ts'
import { inodeSeed } from './inode-seed.ts'

/** struct dx_entry: hash, block (fs/ext4/namei.c). */
const DX_ENTRY_SIZE = 8
/** struct dx_tail: reserved, checksum. Its 8 bytes come after the last entry that the limit allows. */
const DX_TAIL_SIZE = 8
/** The upper four bits of a block number once held other things (fs/ext4/namei.c, dx_get_block). */
const DX_BLOCK_MASK = 0x0fff_ffff

/** dx_root_info lies after `.` and `..`; its info_length is 8, and the entries follow. */
const ROOT_INFO = entrySize(1) + entrySize(2)
const ROOT_INFO_SIZE = 8
const ROOT_ENTRIES = ROOT_INFO + ROOT_INFO_SIZE
/** The entries of a dx_node follow one unused directory entry. */
const NODE_ENTRIES = ENTRY_HEADER

export interface IndexPosition {
  readonly directory: Inode
  /** Which block of the directory. */
  readonly logical: number
}

function corrupt({ directory, logical }: IndexPosition, fault: string): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `htree of directory ${directory.ino}, block ${logical}: ${fault}; run e2fsck -D`,
    { inode: directory.ino, block: logical, structure: logical === 0 ? 'dx_root' : 'dx_node' },
  )
}

/** What dx_root says of the whole tree. */
export interface RootInfo {
  readonly hashVersion: number
  /** Levels of dx_nodes between the root and the leaves. */
  readonly indirectLevels: number
}

/** Most levels of dx_nodes below the root: one, and two with large_dir (fs/ext4/ext4.h, ext4_dir_htree_level). */
export function maxIndirectLevels(ctx: Ext4Context): number {
  return ctx.superblock.has('large_dir') ? 2 : 1
}

/**
 * The index entries of one dx_root or dx_node block: sorted by hash, each naming the block for names from its hash on. The
 * first has no stored hash: its place holds `limit` and `count`.
 */
export class IndexNode {
  readonly bytes: Uint8Array
  readonly limit: number
  readonly #view: ByteView
  readonly #start: number

  private constructor(bytes: Uint8Array, start: number) {
    this.bytes = bytes
    this.#start = start
    this.#view = littleEndian(bytes, start === ROOT_ENTRIES ? 'dx_root' : 'dx_node')
    this.limit = this.#view.u16(start)
  }

  /** Reads block 0, with all checks of fs/ext4/namei.c, dx_probe. `ERR_CORRUPT` where the index cannot be trusted. */
  static root(ctx: Ext4Context, directory: Inode, bytes: Uint8Array): { node: IndexNode; info: RootInfo } {
    const position = { directory, logical: 0 }
    const view = littleEndian(bytes, 'dx_root')
    const info = { hashVersion: view.u8(ROOT_INFO + 4), indirectLevels: view.u8(ROOT_INFO + 6) }
    if (view.u16(4) !== entrySize(1)) throw corrupt(position, `'.' has rec_len ${view.u16(4)}, expected 12`)
    if (view.u32(ROOT_INFO) !== 0 || view.u8(ROOT_INFO + 5) !== ROOT_INFO_SIZE)
      throw corrupt(position, 'dx_root_info has an unknown shape')
    if ((view.u8(ROOT_INFO + 7) & 1) !== 0) throw corrupt(position, 'unknown flags are set')
    if (info.indirectLevels > maxIndirectLevels(ctx))
      throw corrupt(position, `${info.indirectLevels} levels, expected at most ${maxIndirectLevels(ctx)}`)
    return { node: IndexNode.#checked(ctx, position, bytes, ROOT_ENTRIES), info }
  }

  /** Reads a block below the root. */
  static inner(ctx: Ext4Context, position: IndexPosition, bytes: Uint8Array): IndexNode {
    return IndexNode.#checked(ctx, position, bytes, NODE_ENTRIES)
  }

  static #checked(ctx: Ext4Context, position: IndexPosition, bytes: Uint8Array, start: number): IndexNode {
    const node = new IndexNode(bytes, start)
    const expected = capacity(ctx, start)
    if (node.limit !== expected) throw corrupt(position, `limit is ${node.limit}, expected ${expected}`)
    if (node.count === 0 || node.count > node.limit)
      throw corrupt(position, `count is ${node.count}, expected 1 to ${node.limit}`)
    if (ctx.metadataChecksums)
      verifyOnce(bytes, () => {
        if (node.#view.u32(node.#tail + 4) !== node.#checksum(ctx, position.directory))
          throw corrupt(position, 'wrong checksum')
      })
    return node
  }

  /** Turns block 0, with `.` and `..` in it, into a root with one entry: all names are in `leaf`. */
  static createRoot(ctx: Ext4Context, bytes: Uint8Array, hashVersion: number, leaf: number): IndexNode {
    const view = littleEndian(bytes, 'dx_root')
    bytes.fill(0, ROOT_INFO)
    view.setU8(ROOT_INFO + 4, hashVersion)
    view.setU8(ROOT_INFO + 5, ROOT_INFO_SIZE)
    return IndexNode.#create(ctx, bytes, ROOT_ENTRIES, leaf)
  }

  /** Makes a dx_node, without entries yet, of a zeroed block. */
  static createInner(ctx: Ext4Context, bytes: Uint8Array): IndexNode {
    // To a reader without htrees this is a block with one unused entry.
    littleEndian(bytes, 'dx_node').setU16(4, ctx.blockSize === 0x1_0000 ? 0xffff : ctx.blockSize)
    return IndexNode.#create(ctx, bytes, NODE_ENTRIES, 0)
  }

  static #create(ctx: Ext4Context, bytes: Uint8Array, start: number, block: number): IndexNode {
    const view = littleEndian(bytes, 'dx_node')
    view.setU16(start, capacity(ctx, start))
    view.setU16(start + 2, 1)
    view.setU32(start + 4, block)
    return new IndexNode(bytes, start)
  }

  get count(): number {
    return this.#view.u16(this.#start + 2)
  }
  get isFull(): boolean {
    return this.count >= this.limit
  }
  /** The least hash of the names below entry `index`; its lowest bit says that names of the entry before share it. */
  hash(index: number): number {
    return index === 0 ? 0 : this.#view.u32(this.#start + index * DX_ENTRY_SIZE)
  }
  /** The block of the directory that entry `index` leads to. */
  block(index: number): number {
    return this.#view.u32(this.#start + index * DX_ENTRY_SIZE + 4) & DX_BLOCK_MASK
  }

  /** The last entry whose hash is not above this one. */
  search(hash: number): number {
    let low = 1
    let high = this.count - 1
    while (low <= high) {
      const middle = (low + high) >>> 1
      if (this.hash(middle) > hash) high = middle - 1
      else low = middle + 1
    }
    return low - 1
  }

  /** Puts an entry at `index` (1 or more); there must be room. */
  insert(index: number, hash: number, block: number): void {
    const { count } = this
    const at = this.#start + index * DX_ENTRY_SIZE
    this.bytes.copyWithin(at + DX_ENTRY_SIZE, at, this.#start + count * DX_ENTRY_SIZE)
    this.#view.setU32(at, hash)
    this.#view.setU32(at + 4, block)
    this.#view.setU16(this.#start + 2, count + 1)
  }

  /** Moves the entries from `index` on to an empty node, where the first one's hash gives way to limit and count. */
  moveTo(target: IndexNode, index: number): void {
    const { count } = this
    const end = this.#start + count * DX_ENTRY_SIZE
    target.bytes.set(this.bytes.subarray(this.#start + index * DX_ENTRY_SIZE + 4, end), target.#start + 4)
    target.#view.setU16(target.#start + 2, count - index)
    // A node has one entry at least, whose limit stays; `deepen` gives it another block.
    const left = Math.max(index, 1)
    this.bytes.fill(0, this.#start + left * DX_ENTRY_SIZE, end)
    this.#view.setU16(this.#start + 2, left)
  }

  /** Makes a root, whose entries moved to the node in block `child`, lead there alone. */
  deepen(child: number): void {
    this.#view.setU32(this.#start + 4, child)
    this.#view.setU8(ROOT_INFO + 6, this.#view.u8(ROOT_INFO + 6) + 1)
  }

  /** Writes the checksum of a changed node. */
  seal(ctx: ChecksumContext, directory: Inode): void {
    if (!ctx.metadataChecksums) return
    this.#view.setU32(this.#tail + 4, this.#checksum(ctx, directory))
    markVerified(this.bytes)
  }

  get #tail(): number {
    return this.#start + this.limit * DX_ENTRY_SIZE
  }

  /** Everything up to the last entry in use, then the tail with a checksum of 0 (fs/ext4/namei.c, ext4_dx_csum). */
  #checksum(ctx: ChecksumContext, directory: Inode): number {
    const used = crc32c(
      inodeSeed(ctx, directory),
      this.bytes.subarray(0, this.#start + this.count * DX_ENTRY_SIZE),
    )
    const reserved = crc32c(used, this.bytes.subarray(this.#tail, this.#tail + 4))
    return crc32c(reserved, new Uint8Array(4))
  }
}

/** Entries that fit a block whose entries start at `start`. */
function capacity(ctx: Ext4Context, start: number): number {
  return Math.floor((ctx.blockSize - start - (ctx.metadataChecksums ? DX_TAIL_SIZE : 0)) / DX_ENTRY_SIZE)
}
