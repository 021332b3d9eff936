import { littleEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import type { Inode } from './inode.ts'

export function getInlineValue(inode: Inode): Uint8Array | undefined {
  const view = littleEndian(inode.extraSpace, `xattrs of inode ${inode.ino}`)
  if (view.length < 4 || view.u32(0) !== 0xea02_0000) return undefined
  let at = 4
  while (at + 16 <= view.length && view.u32(at) !== 0) {
    const length = view.u8(at)
    if (view.u8(at + 1) === 7 && length === 4 && view.u32(at + 16) === 0x6174_6164)
      return view.slice(4 + view.u16(at + 2), view.u32(at + 8))
    at += (16 + length + 3) & ~3
  }
  return undefined
}

export function setInlineValue(inode: Inode, _value: Uint8Array | undefined): void {
  throw new DrydiskError('ERR_UNSUPPORTED', `inode ${inode.ino}: inline data is not written`)
}
