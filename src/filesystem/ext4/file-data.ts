import type { FileExtent } from '../filesystem.ts'

export { freeData, punchData, truncateData, writeData } from './file-write.ts'

import { mapBlocks } from './block-mapping.ts'
import type { Ext4Context } from './context.ts'
import { maxFileBlocks, requireContent, requireOffset, requireReadable } from './data-access.ts'
import { isInline, readInline } from './inline-data.ts'
import type { Inode } from './inode.ts'

/**
 * Fills `into` from byte `offset` of the file, as far as there is content; holes and unwritten blocks read as zeros.
 * @returns the number of bytes. `ERR_UNSUPPORTED` for an encrypted or compressed file, `ERR_CORRUPT` for a damaged map.
 */
export async function readData(
  ctx: Ext4Context,
  inode: Inode,
  offset: number,
  into: Uint8Array,
): Promise<number> {
  requireReadable(inode)
  requireContent(inode)
  requireOffset(inode, offset)
  const total = Math.min(into.length, Math.max(0, inode.size - offset))
  if (total === 0) return 0
  if (isInline(ctx, inode)) {
    readInline(inode, offset, into.subarray(0, total))
    return total
  }
  const mappable = maxFileBlocks(ctx, inode) * ctx.blockSize
  let done = 0
  while (done < total) {
    const at = offset + done
    if (at >= mappable) {
      into.fill(0, done, total)
      break
    }
    const within = at % ctx.blockSize
    const run = await mapBlocks(ctx, inode, (at - within) / ctx.blockSize)
    const length = Math.min(total - done, run.count * ctx.blockSize - within)
    const piece = into.subarray(done, done + length)
    if (run.kind === 'data') await ctx.device.read(run.block * ctx.blockSize + within, piece)
    else piece.fill(0)
    done += length
  }
  return total
}

/** The file's content as gapless merged runs from 0 to its size. */
export async function* dataExtents(ctx: Ext4Context, inode: Inode): AsyncGenerator<FileExtent> {
  requireReadable(inode)
  requireContent(inode)
  const size = inode.size
  if (size === 0) return
  if (isInline(ctx, inode)) {
    yield { offset: 0, length: size, kind: 'inline' }
    return
  }
  let pending: FileExtent | undefined
  for await (const extent of mappedExtents(ctx, inode, size)) {
    if (pending !== undefined && continues(pending, extent))
      pending = { ...pending, length: pending.length + extent.length }
    else {
      if (pending !== undefined) yield pending
      pending = extent
    }
  }
  if (pending !== undefined) yield pending
}

function continues(before: FileExtent, after: FileExtent): boolean {
  return (
    before.kind === after.kind &&
    (before.deviceOffset === undefined || before.deviceOffset + before.length === after.deviceOffset)
  )
}

async function* mappedExtents(ctx: Ext4Context, inode: Inode, size: number): AsyncGenerator<FileExtent> {
  const end = Math.min(size, maxFileBlocks(ctx, inode) * ctx.blockSize)
  let offset = 0
  while (offset < end) {
    const run = await mapBlocks(ctx, inode, offset / ctx.blockSize)
    const length = Math.min(run.count * ctx.blockSize, end - offset)
    yield run.kind === 'hole'
      ? { offset, length, kind: 'hole' }
      : { offset, length, kind: run.kind, deviceOffset: run.block * ctx.blockSize }
    offset += length
  }
  // A size beyond what the map can reach (a damaged inode) still reads as zeros.
  if (end < size) yield { offset: end, length: size - end, kind: 'hole' }
}
