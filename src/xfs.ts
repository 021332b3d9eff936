/**
 * XFS by itself, on any `BlockDevice`: read, write, mkfs and growing.
 *
 * ```ts
 * import { makeXfs, MemoryDevice, openXfs } from 'drydisk/xfs'
 *
 * const device = new MemoryDevice(320 << 20)
 * await makeXfs(device, { label: 'data' })
 * const fs = await openXfs(device, { writable: true })
 * await fs.mkdir(fs.root, new TextEncoder().encode('folder'), { mode: 0o755, uid: 0, gid: 0 })
 * await fs.close()
 * ```
 */
export type { BlockDevice, Extent } from './device/block-device.ts'
export { MemoryDevice } from './device/memory-device.ts'
export { OverlayDevice } from './device/overlay-device.ts'
export { SliceDevice } from './device/slice-device.ts'
export { DrydiskError, type ErrorCode, type ErrorContext, isDrydiskError } from './errors.ts'
export type * from './filesystem/filesystem.ts'
export type { XfsFileSystem } from './filesystem/xfs/filesystem.ts'
export { type GrownXfs, type GrowXfsOptions, growXfs } from './filesystem/xfs/grow.ts'
export { type MakeXfsOptions, makeXfs } from './filesystem/xfs/mkfs/mkfs.ts'
export { type OpenXfsOptions, openXfs } from './filesystem/xfs/open.ts'
