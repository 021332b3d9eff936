import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { Ext4Context } from './context.ts'
import { getInlineValue, setInlineValue } from './inline-value.ts'
import { INODE_FLAG, type Inode } from './inode.ts'

/** Bytes of inline data that lie in i_block (EXT4_MIN_INLINE_DATA_SIZE); the rest is the value of system.data. */
export const INLINE_BASE = 60

/** Whether the inode holds its content itself. `ERR_CORRUPT` where the filesystem says that none does (as the kernel). */
export function isInline(ctx: Ext4Context, inode: Inode): boolean {
  if (!inode.hasFlag(INODE_FLAG.INLINE_DATA)) return false
  if (!ctx.superblock.has('inline_data'))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `inode ${inode.ino} claims inline data, but the filesystem does not have that feature; run e2fsck`,
      { inode: inode.ino },
    )
  return true
}

/** The value of system.data: there even when it is empty. */
function storedValue(inode: Inode): Uint8Array {
  const value = getInlineValue(inode)
  if (value === undefined)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `inode ${inode.ino} claims inline data, but has no system.data attribute; run e2fsck`,
      { inode: inode.ino },
    )
  return value
}

/** Fills `into` from byte `offset` of inline content. What is past the stored bytes reads as zeros, as in the kernel. */
export function readInline(inode: Inode, offset: number, into: Uint8Array): void {
  into.fill(0)
  if (offset < INLINE_BASE) into.set(inode.iBlock.subarray(offset, offset + into.length))
  const value = storedValue(inode)
  const skip = Math.max(0, offset - INLINE_BASE)
  const at = Math.max(0, INLINE_BASE - offset)
  if (at < into.length) into.set(value.subarray(skip, skip + into.length - at), at)
}

/** The stored content, no longer than the inode can hold whatever i_size says. */
export function inlineContent(inode: Inode): Uint8Array {
  const stored = INLINE_BASE + storedValue(inode).length
  const content = new Uint8Array(Math.min(inode.size, stored))
  readInline(inode, 0, content)
  return content
}

/** Writes within inline content or grows it. @returns false, with nothing changed, when it does not fit. */
export function storeInline(ctx: Ext4Context, inode: Inode, offset: number, from: Uint8Array): boolean {
  const size = Math.max(inode.size, offset + from.length)
  if (size > inode.bytes.length) return false
  const content = new Uint8Array(size)
  readInline(inode, 0, content.subarray(0, inode.size))
  content.set(from, offset)
  return replaceInline(ctx, inode, content)
}

/** Cuts inline content, or grows it by zeros. @returns false, with nothing changed, when it does not fit. */
export function extendInline(ctx: Ext4Context, inode: Inode, size: number): boolean {
  if (size > inode.bytes.length) return false
  const content = new Uint8Array(size)
  readInline(inode, 0, content.subarray(0, inode.size))
  return replaceInline(ctx, inode, content)
}

/** Gives inline content up: flag and system.data go, i_block is zeros. */
export function leaveInline(inode: Inode): void {
  setInlineValue(inode, undefined)
  inode.setFlag(INODE_FLAG.INLINE_DATA, false)
  inode.iBlock.fill(0)
}

function replaceInline(ctx: Ext4Context, inode: Inode, content: Uint8Array): boolean {
  try {
    setInlineValue(inode, content.subarray(INLINE_BASE))
  } catch (error) {
    if (isDrydiskError(error, 'ENOSPC')) return false
    throw error
  }
  const base = new Uint8Array(INLINE_BASE)
  base.set(content.subarray(0, INLINE_BASE))
  inode.iBlock.set(base)
  inode.size = content.length
  ctx.inodes.markDirty(inode)
  return true
}
