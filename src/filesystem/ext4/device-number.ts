import { littleEndian } from '../../bytes/byte-view.ts'
import type { DeviceNumber } from '../filesystem.ts'
import type { Inode } from './inode.ts'

/** The device number in i_block: the old 16-bit form in the first word, else the new 32-bit form in the second. */
export function readDeviceNumber(inode: Inode): DeviceNumber {
  const view = littleEndian(inode.iBlock, `inode ${inode.ino}`)
  const old = view.u32(0)
  if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff }
  const wide = view.u32(4)
  return { major: (wide >>> 8) & 0xfff, minor: (wide & 0xff) | ((wide >>> 12) & 0xf_ff00) }
}

/** Stores a device number as the kernel does: in the old form where it fits (ext4_do_update_inode). */
export function storeDeviceNumber(inode: Inode, { major, minor }: DeviceNumber): void {
  const view = littleEndian(inode.iBlock, `inode ${inode.ino}`)
  const fits = major < 0x100 && minor < 0x100
  view.setU32(0, fits ? major * 0x100 + minor : 0)
  // new_encode_dev of linux/kdev_t.h: minor 0-7, major 8-19, minor 20-31.
  view.setU32(4, fits ? 0 : ((minor & 0xff) | (major << 8) | ((minor & 0xf_ff00) << 12)) >>> 0)
  view.setU32(8, 0)
}
