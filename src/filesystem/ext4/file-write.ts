import { ensureBlocks, initMapping, mapBlocks, unmapFrom, unmapRange } from './block-mapping.ts'
import type { Ext4Context } from './context.ts'
import {
  isFastSymlink,
  maxFileBlocks,
  requireFile,
  requireOffset,
  requireSize,
  requireWritable,
} from './data-access.ts'
import { extendInline, inlineContent, isInline, leaveInline, storeInline } from './inline-data.ts'
import { INODE_FLAG, type Inode } from './inode.ts'

/** A run that was just allocated is filled up to this size in one write, and in three (edges, middle) above it. */
const PADDED_BYTES = 128 << 10
/** i_size_high means something from here on: the filesystem has to say so (large_file). */
const LARGE_FILE = 0x8000_0000

/**
 * Writes all of `from` at byte `offset`, growing the file; a gap becomes a hole. mtime and ctime become now.
 * `ENOSPC` may come after a part was written, as write(2) would have told by a short count; `EFBIG` before anything.
 */
export async function writeData(
  ctx: Ext4Context,
  inode: Inode,
  offset: number,
  from: Uint8Array,
): Promise<void> {
  requireWritable(ctx, inode, offset === inode.size)
  requireFile(inode)
  requireOffset(inode, offset)
  if (from.length === 0) return
  requireSize(ctx, inode, offset + from.length)
  try {
    await writeContent(ctx, inode, offset, from)
  } finally {
    touch(ctx, inode)
  }
}

/** `writeData` without the question whether it may be, and without new times: for what the filesystem stores itself. */
export async function writeContent(
  ctx: Ext4Context,
  inode: Inode,
  offset: number,
  from: Uint8Array,
): Promise<void> {
  if (isInline(ctx, inode)) {
    if (storeInline(ctx, inode, offset, from)) return
    await convertInline(ctx, inode)
  }
  const oldSize = inode.size
  if (offset > oldSize) await zeroTail(ctx, inode, oldSize, offset)
  let done = 0
  try {
    while (done < from.length) {
      const at = offset + done
      const within = at % ctx.blockSize
      const blocks = Math.ceil((within + from.length - done) / ctx.blockSize)
      const { run, fresh } = await ensureBlocks(ctx, inode, (at - within) / ctx.blockSize, blocks)
      const length = Math.min(from.length - done, run.count * ctx.blockSize - within)
      const piece = from.subarray(done, done + length)
      const start = run.block * ctx.blockSize
      if (fresh) await fillRun(ctx, start, run.count * ctx.blockSize, within, piece)
      else await ctx.device.write(start + within, piece)
      done += length
    }
  } finally {
    if (done > 0 && offset + done > oldSize) setSize(ctx, inode, offset + done)
    ctx.inodes.markDirty(inode)
  }
}

/** Cuts the file, or grows it by a hole. What lay behind never comes back. mtime and ctime become now. */
export async function truncateData(ctx: Ext4Context, inode: Inode, size: number): Promise<void> {
  requireWritable(ctx, inode, false)
  requireFile(inode)
  requireOffset(inode, size)
  requireSize(ctx, inode, size)
  if (isInline(ctx, inode)) {
    if (extendInline(ctx, inode, size)) return touch(ctx, inode)
    await convertInline(ctx, inode)
  }
  const oldSize = inode.size
  if (size > oldSize) await zeroTail(ctx, inode, oldSize, size)
  // Also blocks that were allocated behind the end go, as ftruncate(2) to the same size lets them go.
  else await dropBehind(ctx, inode, size)
  setSize(ctx, inode, size)
  touch(ctx, inode)
}

/** Frees the blocks behind byte `size` and zeros the rest of its block. Not for inline content. */
export async function dropBehind(ctx: Ext4Context, inode: Inode, size: number): Promise<void> {
  await unmapFrom(ctx, inode, Math.ceil(size / ctx.blockSize))
  await zeroTail(ctx, inode, size, Number.MAX_SAFE_INTEGER)
}

/** Makes a range read as zeros and gives its whole blocks back; the size stays. */
export async function punchData(
  ctx: Ext4Context,
  inode: Inode,
  offset: number,
  length: number,
): Promise<void> {
  requireWritable(ctx, inode, false)
  requireFile(inode)
  const end = Math.min(offset + length, inode.size)
  if (end <= offset) return
  if (isInline(ctx, inode)) {
    storeInline(ctx, inode, offset, new Uint8Array(end - offset))
    return touch(ctx, inode)
  }
  await zeroTail(ctx, inode, offset, end)
  // The last block of the file goes whole: nothing of it lies behind the end.
  const last = end === inode.size ? Math.ceil(end / ctx.blockSize) : Math.floor(end / ctx.blockSize)
  await unmapRange(ctx, inode, Math.ceil(offset / ctx.blockSize), last)
  const tail = last * ctx.blockSize
  if (tail < end && tail > offset) await zeroWithin(ctx, inode, tail, end)
  touch(ctx, inode)
}

/** Frees all blocks of an inode that is about to be freed, or whose map is given up. Xattrs are not touched. */
export async function freeData(ctx: Ext4Context, inode: Inode): Promise<void> {
  const mapped = inode.type === 'file' || inode.type === 'directory' || inode.type === 'symlink'
  if (!mapped || inode.hasFlag(INODE_FLAG.INLINE_DATA) || isFastSymlink(ctx, inode)) return
  await unmapFrom(ctx, inode, 0)
}

/** Moves inline content to a block, so that it can grow. On `ENOSPC` it stays inline. */
export async function convertInline(ctx: Ext4Context, inode: Inode): Promise<void> {
  const content = inlineContent(inode)
  const before = inode.bytes.slice()
  try {
    leaveInline(inode)
    initMapping(ctx, inode)
    for (let at = 0; at < content.length; at += ctx.blockSize) {
      const { run } = await ensureBlocks(ctx, inode, at / ctx.blockSize, 1)
      const start = run.block * ctx.blockSize
      await fillRun(ctx, start, ctx.blockSize, 0, content.subarray(at, at + ctx.blockSize))
    }
  } catch (error) {
    inode.bytes.set(before)
    throw error
  }
}

/** Fills freshly allocated bytes of the volume: zeros, `piece` at `within`, zeros. */
async function fillRun(
  ctx: Ext4Context,
  start: number,
  length: number,
  within: number,
  piece: Uint8Array,
): Promise<void> {
  if (piece.length === length) return ctx.device.write(start, piece)
  if (length <= PADDED_BYTES) {
    const padded = new Uint8Array(length)
    padded.set(piece, within)
    return ctx.device.write(start, padded)
  }
  if (within > 0) await ctx.device.write(start, new Uint8Array(within))
  await ctx.device.write(start + within, piece)
  const rest = length - within - piece.length
  if (rest > 0) await ctx.device.write(start + within + piece.length, new Uint8Array(rest))
}

/** Zeros from `from` to the end of its block, but not past `to`: bytes behind the end of a file are anything. */
async function zeroTail(ctx: Ext4Context, inode: Inode, from: number, to: number): Promise<void> {
  const within = from % ctx.blockSize
  if (within !== 0) await zeroWithin(ctx, inode, from, Math.min(to, from - within + ctx.blockSize))
}

/** Zeros bytes of one block, where it is allocated and written. */
async function zeroWithin(ctx: Ext4Context, inode: Inode, from: number, to: number): Promise<void> {
  const within = from % ctx.blockSize
  const logical = (from - within) / ctx.blockSize
  if (to <= from || logical >= maxFileBlocks(ctx, inode)) return
  const run = await mapBlocks(ctx, inode, logical)
  if (run.kind !== 'data') return
  ctx.allocator.requireFileBlocks({ block: run.block, count: 1 })
  await ctx.device.write(run.block * ctx.blockSize + within, new Uint8Array(to - from))
}

function setSize(ctx: Ext4Context, inode: Inode, size: number): void {
  inode.size = size
  if (size >= LARGE_FILE && !ctx.superblock.has('large_file')) ctx.superblock.setFeature('large_file', true)
}

/** The content changed. The inode of an xattr value keeps its times, which hold its reference count. */
function touch(ctx: Ext4Context, inode: Inode): void {
  if (!inode.hasFlag(INODE_FLAG.EA_INODE)) {
    const now = ctx.now()
    inode.mtime = now
    inode.ctime = now
  }
  ctx.inodes.markDirty(inode)
}
