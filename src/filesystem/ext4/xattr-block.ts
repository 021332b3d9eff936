import { littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { DrydiskError } from '../../errors.ts'
import type { BlockNumber, ChecksumContext, Ext4Context } from './context.ts'
import type { Inode } from './inode.ts'
import {
  compareEntries,
  entriesSize,
  entryHash,
  parseEntries,
  writeEntries,
  XATTR_MAGIC,
  type XattrEntry,
} from './xattr-entry.ts'

/** struct ext4_xattr_header: h_magic, h_refcount, h_blocks, h_hash, h_checksum, h_reserved[3] (fs/ext4/xattr.h). */
const HEADER = 32
const REFCOUNT = 4
const BLOCKS = 8
const HASH = 12
const CHECKSUM = 16

/** EXT4_XATTR_REFCOUNT_MAX: as many inodes may share a block. */
const MAX_REFCOUNT = 1024

/** The attribute block of an inode. */
export interface XattrBlock {
  readonly block: BlockNumber
  /** Inodes that share it. */
  readonly refcount: number
  readonly entries: XattrEntry[]
}

/** `undefined` where the inode has none. Verifies header and checksum. */
export async function readXattrBlock(ctx: Ext4Context, inode: Inode): Promise<XattrBlock | undefined> {
  const block = inode.fileAcl
  if (block === 0) return undefined
  const where = `xattr block ${block} of inode ${inode.ino}`
  const fail = (fault: string) =>
    new DrydiskError('ERR_CORRUPT', `${where}: ${fault}; run e2fsck`, {
      inode: inode.ino,
      block,
      structure: 'ext4_xattr_header',
    })
  const bytes = await ctx.blocks.read(block)
  const view = littleEndian(bytes, where)
  if (view.u32(0) !== XATTR_MAGIC)
    throw fail(`magic is 0x${view.u32(0).toString(16)}, expected 0x${XATTR_MAGIC.toString(16)}`)
  if (view.u32(BLOCKS) !== 1) throw fail(`h_blocks is ${view.u32(BLOCKS)}, expected 1`)
  const refcount = view.u32(REFCOUNT)
  if (refcount < 1 || refcount > MAX_REFCOUNT)
    throw fail(`h_refcount is ${refcount}, expected 1 to ${MAX_REFCOUNT}`)
  if (ctx.metadataChecksums && view.u32(CHECKSUM) !== checksum(ctx, block, bytes))
    throw fail('wrong checksum')
  return { block, refcount, entries: parseEntries(bytes, HEADER, 0, where) }
}

/** Whether one block has room for exactly these attributes. */
export function fitsBlock(ctx: Ext4Context, entries: readonly XattrEntry[]): boolean {
  return ctx.blockSize >= HEADER + entriesSize(entries)
}

/** Fills a block that belongs to one inode alone. */
export async function writeXattrBlock(
  ctx: Ext4Context,
  block: BlockNumber,
  fresh: boolean,
  entries: readonly XattrEntry[],
): Promise<void> {
  const bytes = fresh ? ctx.blocks.fresh(block) : await ctx.blocks.edit(block)
  const sorted = [...entries].sort(compareEntries)
  writeEntries(bytes, HEADER, 0, sorted, entry => entryHash(entry.name, entry.value))
  bytes.fill(0, 0, HEADER)
  const view = littleEndian(bytes, `xattr block ${block}`)
  view.setU32(0, XATTR_MAGIC)
  view.setU32(REFCOUNT, 1)
  view.setU32(BLOCKS, 1)
  view.setU32(HASH, blockHash(bytes))
  sealXattrBlock(ctx, block, bytes)
}

/** Changes how many inodes share a block; its content stays. */
export async function setRefcount(ctx: Ext4Context, block: BlockNumber, refcount: number): Promise<void> {
  const bytes = await ctx.blocks.edit(block)
  littleEndian(bytes, `xattr block ${block}`).setU32(REFCOUNT, refcount)
  sealXattrBlock(ctx, block, bytes)
}

/** h_hash, by which the kernel finds equal blocks: over e_hash of all entries, 0 if one has none (ext4_xattr_rehash). */
function blockHash(bytes: Uint8Array): number {
  const view = littleEndian(bytes, 'xattr block')
  let hash = 0
  for (let at = HEADER; view.u32(at) !== 0; at += (16 + view.u8(at) + 3) & ~3) {
    const entry = view.u32(at + 12)
    if (entry === 0) return 0
    hash = (hash << 16) ^ (hash >>> 16) ^ entry
  }
  return hash >>> 0
}

/** Writes the checksum of a changed block. */
export function sealXattrBlock(ctx: ChecksumContext, block: BlockNumber, bytes: Uint8Array): void {
  if (!ctx.metadataChecksums) return
  littleEndian(bytes, `xattr block ${block}`).setU32(CHECKSUM, checksum(ctx, block, bytes))
}

/** crc32c of the block's number in 64 bits, then of the block with a checksum of 0 (ext4_xattr_block_csum). */
function checksum(ctx: ChecksumContext, block: BlockNumber, bytes: Uint8Array): number {
  const number = new Uint8Array(8)
  littleEndian(number, 'block number').setU64(0, block)
  const head = crc32c(crc32c(ctx.checksumSeed, number), bytes.subarray(0, CHECKSUM))
  return crc32c(crc32c(head, new Uint8Array(4)), bytes.subarray(CHECKSUM + 4))
}
