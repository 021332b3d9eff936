/**
 * ext2, ext3 and ext4 by themselves, on any `BlockDevice`: read, write and mkfs.
 *
 * ```ts
 * import { makeExt4, MemoryDevice, openExt4 } from 'drydisk/ext4'
 *
 * const device = new MemoryDevice(64 << 20)
 * await makeExt4(device, { label: 'data' })
 * const fs = await openExt4(device, { writable: true })
 * const ino = await fs.create(fs.root, new TextEncoder().encode('hello'), { mode: 0o644, uid: 0, gid: 0 })
 * await fs.write(ino, 0, new TextEncoder().encode('hello\n'))
 * await fs.close()
 * ```
 */
export type { BlockDevice, Extent } from './device/block-device.ts'
export { MemoryDevice } from './device/memory-device.ts'
export { OverlayDevice } from './device/overlay-device.ts'
export { SliceDevice } from './device/slice-device.ts'
export { DrydiskError, type ErrorCode, type ErrorContext, isDrydiskError } from './errors.ts'
export type { Ext4FileSystem } from './filesystem/ext4/filesystem.ts'
export { type MakeExt4Options, makeExt4 } from './filesystem/ext4/mkfs.ts'
export { type OpenExt4Options, openExt4 } from './filesystem/ext4/open.ts'
export type * from './filesystem/filesystem.ts'
