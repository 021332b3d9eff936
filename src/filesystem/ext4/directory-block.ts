import { littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { DrydiskError } from '../../errors.ts'
import { ensureBlocks, mapBlocks, mapOne } from './block-mapping.ts'
import type { BlockNumber, ChecksumContext, Ext4Context } from './context.ts'
import { EntryArea, entryFormat } from './directory-entry.ts'
import { INODE_FLAG, type Inode } from './inode.ts'
import { inodeSeed } from './inode-seed.ts'

/** struct ext4_dir_entry_tail (fs/ext4/ext4.h): an entry without inode and name whose type says what it is. */
const TAIL_SIZE = 12
const TAIL_FILE_TYPE = 0xde

/** A block of a directory, found in the volume. */
export interface DirectoryBlock {
  /** Which block of the directory it is. */
  readonly logical: number
  readonly block: BlockNumber
}

/** The directory has an htree and the filesystem says that such exist. */
export function isIndexed(ctx: Ext4Context, directory: Inode): boolean {
  return directory.hasFlag(INODE_FLAG.INDEX) && ctx.superblock.has('dir_index')
}

export function blockCount(ctx: Ext4Context, directory: Inode): number {
  return Math.floor(directory.size / ctx.blockSize)
}

/** Bytes of a block that entries may take: all but the checksum tail. */
export function entrySpace(ctx: Ext4Context): number {
  return ctx.blockSize - (ctx.metadataChecksums ? TAIL_SIZE : 0)
}

function corrupt(directory: Inode, logical: number, fault: string): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `block ${logical} of directory ${directory.ino} ${fault}; run e2fsck`,
    {
      inode: directory.ino,
      block: logical,
    },
  )
}

/**
 * The directory's blocks in order; what reads as zeros is left out. Bounded by the volume's size, whatever the directory's size
 * and its block map say.
 */
export async function* directoryBlocks(ctx: Ext4Context, directory: Inode): AsyncGenerator<DirectoryBlock> {
  const count = blockCount(ctx, directory)
  let seen = 0
  for (let logical = 0; logical < count; ) {
    const run = await mapBlocks(ctx, directory, logical)
    const end = Math.min(count, logical + run.count)
    if (run.kind === 'data')
      for (let at = logical; at < end; at++) {
        if (++seen > ctx.superblock.s_blocks_count)
          throw corrupt(directory, at, 'comes after more blocks than the volume has')
        yield { logical: at, block: run.block + (at - logical) }
      }
    logical = end
  }
}

/** The block that must be there. */
export async function directoryBlock(
  ctx: Ext4Context,
  directory: Inode,
  logical: number,
): Promise<DirectoryBlock> {
  if (logical < blockCount(ctx, directory)) {
    const block = await mapOne(ctx, directory, logical)
    if (block !== undefined) return { logical, block }
  }
  throw corrupt(directory, logical, 'is a hole or lies beyond the end')
}

/** Adds an empty block at the end. Its bytes are zeros, to be filled and sealed before the next await. */
export async function appendBlock(
  ctx: Ext4Context,
  directory: Inode,
): Promise<DirectoryBlock & { readonly bytes: Uint8Array }> {
  const logical = blockCount(ctx, directory)
  // Without large_dir only the lower half of the size counts (fs/ext4/ext4.h, ext4_isize).
  if ((logical + 1) * ctx.blockSize > 0xffff_ffff && !ctx.superblock.has('large_dir'))
    throw new DrydiskError(
      'ENOSPC',
      `directory ${directory.ino} has reached the largest size without large_dir`,
      {
        inode: directory.ino,
      },
    )
  const { run } = await ensureBlocks(ctx, directory, logical, 1)
  directory.size = (logical + 1) * ctx.blockSize
  ctx.inodes.markDirty(directory)
  return { logical, block: run.block, bytes: ctx.blocks.fresh(run.block) }
}

/** Buffers whose checksum was found right, or set here; a cache's buffer stays the same while it is held. */
const verified = new WeakSet<Uint8Array>()

/** Runs `check` unless this buffer passed it before; it throws where the checksum is wrong. */
export function verifyOnce(bytes: Uint8Array, check: () => void): void {
  if (verified.has(bytes)) return
  check()
  verified.add(bytes)
}

export function markVerified(bytes: Uint8Array): void {
  verified.add(bytes)
}

/** The entries of a leaf (any block without an index). The checksum is verified. */
export function leafArea(ctx: Ext4Context, directory: Inode, logical: number, bytes: Uint8Array): EntryArea {
  const where = `block ${logical} of directory ${directory.ino}`
  if (!ctx.metadataChecksums) return new EntryArea(bytes, entryFormat(ctx), where)
  verifyOnce(bytes, () => {
    const view = littleEndian(bytes, where)
    const tail = bytes.length - TAIL_SIZE
    if (
      view.u32(tail) !== 0 ||
      view.u16(tail + 4) !== TAIL_SIZE ||
      view.u8(tail + 6) !== 0 ||
      view.u8(tail + 7) !== TAIL_FILE_TYPE
    )
      throw corrupt(directory, logical, 'has no checksum at its end')
    if (view.u32(tail + 8) !== leafChecksum(ctx, directory, bytes))
      throw corrupt(directory, logical, 'has a wrong checksum')
  })
  return new EntryArea(bytes.subarray(0, bytes.length - TAIL_SIZE), entryFormat(ctx), where)
}

/** crc32c of the block up to its tail, from the inode's seed (fs/ext4/namei.c, ext4_dirblock_csum). */
function leafChecksum(ctx: ChecksumContext, directory: Inode, bytes: Uint8Array): number {
  return crc32c(inodeSeed(ctx, directory), bytes.subarray(0, bytes.length - TAIL_SIZE))
}

/** Writes the checksum tail of a changed leaf. */
export function sealLeaf(ctx: ChecksumContext, directory: Inode, bytes: Uint8Array): void {
  if (!ctx.metadataChecksums) return
  const tail = bytes.length - TAIL_SIZE
  const view = littleEndian(bytes, `directory ${directory.ino}`)
  view.setU32(tail, 0)
  view.setU16(tail + 4, TAIL_SIZE)
  view.setU8(tail + 6, 0)
  view.setU8(tail + 7, TAIL_FILE_TYPE)
  view.setU32(tail + 8, leafChecksum(ctx, directory, bytes))
  markVerified(bytes)
}

/** The area of a buffer that will become a leaf: not verified, nothing assumed about its content. */
export function newLeafArea(
  ctx: Ext4Context,
  directory: Inode,
  logical: number,
  bytes: Uint8Array,
): EntryArea {
  return new EntryArea(
    bytes.subarray(0, entrySpace(ctx)),
    entryFormat(ctx),
    `block ${logical} of directory ${directory.ino}`,
  )
}

/**
 * Whether a block of an indexed directory holds index entries: block 0 does, and others where one unused entry spans the
 * whole block (fs/ext4/namei.c, __ext4_read_dirblock). To a reader without htrees they are empty blocks.
 */
export function isIndexBlock(ctx: Ext4Context, logical: number, bytes: Uint8Array): boolean {
  if (logical === 0) return true
  const view = littleEndian(bytes, 'dx_node')
  const length = view.u16(4)
  return view.u32(0) === 0 && (length === ctx.blockSize || (ctx.blockSize === 0x1_0000 && length === 0xffff))
}
