import { littleEndian } from '../../bytes/byte-view.ts'
import type { Inode } from './inode.ts'

/** Bytes of inline data that lie in i_block (EXT4_MIN_INLINE_DATA_SIZE); the rest is the value of system.data. */
export const INLINE_BASE = 60

/** Fills `into` from byte `offset` of inline content. What is past the stored bytes reads as zeros, as in the kernel. */
export function readInline(inode: Inode, offset: number, into: Uint8Array): void {
  into.fill(0)
  if (offset < INLINE_BASE) into.set(inode.iBlock.subarray(offset, offset + into.length))
  const value = getInlineValue(inode)
  const skip = Math.max(0, offset - INLINE_BASE)
  const at = Math.max(0, INLINE_BASE - offset)
  if (at < into.length) into.set(value.subarray(skip, skip + into.length - at), at)
}

function getInlineValue(inode: Inode): Uint8Array {
  const view = littleEndian(inode.extraSpace, `xattrs of inode ${inode.ino}`)
  if (view.length < 4 || view.u32(0) !== 0xea02_0000) return new Uint8Array(0)
  let at = 4
  while (at + 16 <= view.length && view.u32(at) !== 0) {
    const length = view.u8(at)
    if (view.u8(at + 1) === 7 && length === 4 && view.u32(at + 16) === 0x6174_6164)
      return view.slice(4 + view.u16(at + 2), view.u32(at + 8))
    at += (16 + length + 3) & ~3
  }
  return new Uint8Array(0)
}
