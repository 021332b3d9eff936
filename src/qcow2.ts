/**
 * The qcow2 format by itself: an image in any `Storage` as an array of bytes, with commit and rollback; new images; snapshots.
 *
 * ```ts
 * import { BlobStorage, openStorage } from 'drydisk/qcow2'
 *
 * const image = await openStorage(new BlobStorage(file), { format: 'qcow2' })
 * const sector = new Uint8Array(512)
 * await image.read(0, sector)
 * ```
 */
export { BlobStorage } from './device/blob-storage.ts'
export type { BlockDevice, DiskImage, Extent } from './device/block-device.ts'
export { HttpStorage, type HttpStorageOptions } from './device/http-storage.ts'
export type { MappedDevice, MappedRun, RunPlace } from './device/mapped-runs.ts'
export { type MemoryFile, MemoryStorage } from './device/memory-storage.ts'
export { PatchedStorage, type Piece } from './device/patched-storage.ts'
export type { Storage, StorageFolder, StoredRun } from './device/storage.ts'
export { DrydiskError, type ErrorCode, type ErrorContext, isDrydiskError } from './errors.ts'
export { type OpenStorageOptions, openStorage } from './image/open-storage.ts'
export { type CheckResult, checkImage } from './image/qcow2/check.ts'
export { type CompactOptions, type CompactResult, compactQcow2 } from './image/qcow2/compact.ts'
export { type CreateQcow2Options, createQcow2 } from './image/qcow2/create.ts'
export type { Geometry } from './image/qcow2/geometry.ts'
export type { CompressionType, Header } from './image/qcow2/header.ts'
export type { HeaderExtension } from './image/qcow2/header-extensions.ts'
export type { BitmapInfo, Qcow2Info } from './image/qcow2/info.ts'
export { openQcow2, type Qcow2Options } from './image/qcow2/open.ts'
export { Qcow2Image, readHeader } from './image/qcow2/qcow2-image.ts'
export { type SnapshotChoice, snapshotDevice } from './image/qcow2/snapshot-device.ts'
export type { Snapshot } from './image/qcow2/snapshot-table.ts'
export type { RedoPlace } from './image/qcow2/staged-files.ts'
