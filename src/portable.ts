/**
 * What of drydisk runs in a browser, with no polyfill: images from a `Blob`, from memory and from a web server, guests, their changes,
 * operations and recipes. Nothing below this module needs `node:`; `drydisk` itself gives all of it and what works on files.
 *
 * ```ts
 * import { BlobStorage, openImage, operate, PatchedStorage, patchedBlob } from 'drydisk/portable'
 *
 * const patched = new PatchedStorage(new BlobStorage(file)) // a File that was dropped onto the page
 * await using image = await openImage(patched)
 * const { fs } = await image.guest()
 * await operate.hostname(fs, { hostname: 'web1' })
 * await image.commit() // in memory
 * const saved = patchedBlob(file, patched) // refers to the file for all that did not change
 * ```
 */
export { printable, printableText } from './bytes/names.ts'
export { type Range, RangeSet } from './bytes/range-set.ts'
export { type CompareOptions, type Comparison, compareDevices } from './copy/compare.ts'
export {
  type DiskFreeSpace,
  type FreeRangesOptions,
  freeRanges,
  type VolumeFreeSpace,
} from './copy/free-ranges.ts'
export { type MapEntry, mapDevice } from './copy/map.ts'
export {
  type Measure,
  type MeasureOptions,
  type MeasureSource,
  measureDevice,
  measureSize,
} from './copy/measure.ts'
export { BlobStorage } from './device/blob-storage.ts'
export type { BlockDevice, DiskImage, Extent } from './device/block-device.ts'
export { ConcatDevice } from './device/concat-device.ts'
export { type Fetched, HttpStorage, type HttpStorageOptions } from './device/http-storage.ts'
export { MemoryDevice } from './device/memory-device.ts'
export { MemoryFolder } from './device/memory-folder.ts'
export { MemoryStorage } from './device/memory-storage.ts'
export { OverlayDevice } from './device/overlay-device.ts'
export { patchedBlob } from './device/patched-blob.ts'
export { PatchedStorage, type Piece } from './device/patched-storage.ts'
export { SliceDevice } from './device/slice-device.ts'
export type { Storage, StorageFolder, StoredRun } from './device/storage.ts'
export {
  type DrydiskCode,
  DrydiskError,
  type ErrorCode,
  type ErrorContext,
  isDrydiskError,
  type PosixCode,
} from './errors.ts'
export { type MakeExt4Options, makeExt4 } from './filesystem/ext4/mkfs.ts'
export type {
  AttributeChange,
  DeviceNumber,
  DirectoryEntry,
  FileExtent,
  FileSystem,
  FileSystemUsage,
  FileType,
  InodeNumber,
  InodeStat,
  NewInode,
  Timestamp,
} from './filesystem/filesystem.ts'
export { MemoryFileSystem, type MemoryFileSystemOptions } from './filesystem/memory/memory-filesystem.ts'
export { openFileSystem } from './filesystem/open.ts'
export { type Probe, probe } from './filesystem/probe.ts'
export { type GrownXfs, type GrowXfsOptions, growXfs } from './filesystem/xfs/grow.ts'
export { type MakeXfsOptions, makeXfs } from './filesystem/xfs/mkfs/mkfs.ts'
export { describeChange, unifiedDiff } from './guest/change-diff.ts'
export { ChangeRecorder } from './guest/change-recorder.ts'
export { type CompareGuestsOptions, compareGuests } from './guest/compare-guests.ts'
export type { Captured, ChangedAspect, GuestChange } from './guest/guest-changes.ts'
export type { GuestDirent, GuestFs, GuestPath, GuestStats, NewFileOptions } from './guest/guest-fs.ts'
export { type GuestFamily, type GuestIdentity, readIdentity } from './guest/identity.ts'
export { memoryGuest } from './guest/memory-guest.ts'
export type { Mount } from './guest/mount-table.ts'
export { type Guest, type OpenGuestOptions, openGuest } from './guest/open-guest.ts'
export { type LabelAnswer, LabelPolicy } from './guest/selinux/policy.ts'
export { type GuestPolicy, readPolicy } from './guest/selinux/read-policy.ts'
export { diskUsage, type VolumeUsage } from './guest/usage.ts'
export type { ImageFormat } from './image/detect.ts'
export { type OpenStorageOptions, openStorage } from './image/open-storage.ts'
export { type OpenUrlOptions, openUrl, type RemoteImage } from './image/open-url.ts'
export { type GuestChoice, Image, type ImageParts } from './library/image.ts'
export type { ImageInfo } from './library/image-info.ts'
export { type OpenStoredOptions, openImage } from './library/open-stored.ts'
export { type Operate, operate } from './library/operate.ts'
export { demoGuest } from './operations/demo-guest.ts'
export type { Check as DoctorCheck, DiskFacts, Profile as DoctorProfile } from './operations/doctor/check.ts'
export { readDiskFacts } from './operations/doctor/disk-facts.ts'
export {
  type Diagnosis,
  type DoctorOptions,
  type DoctorProgress,
  diagnose,
  doctorChecks,
} from './operations/doctor/doctor.ts'
export type { Finding, FindingStatus } from './operations/doctor/findings.ts'
export { type FindOptions, type FindTests, type Found, findFiles } from './operations/find.ts'
export { type Grown, type GrowOptions, grow } from './operations/grow.ts'
export * from './operations/index.ts'
export type { JournalEntry, JournalField } from './operations/log/journal-file.ts'
export { logText } from './operations/log/log-text.ts'
export {
  findLog,
  guestZone,
  type LogSource,
  type ReadJournalOptions,
  readJournal,
} from './operations/log/read-log.ts'
export { type Clock, clockOf, shortLine } from './operations/log/short-format.ts'
export { type MakeFsOptions, makeFs } from './operations/make-fs.ts'
export { type HostAccess, type Planned, type Step, steps } from './operations/steps/index.ts'
export { type WriteTarOptions, writeTar } from './operations/tar/write-tar.ts'
export {
  applyRecipe,
  type LoadOptions,
  loadRecipe,
  planRecipe,
  problemText,
  type Recipe,
  type RecipePlan,
  type RecipeProblem,
  type RecipeReader,
  type RecipeReport,
  type RecipeText,
  readVariables,
  type SkippedStep,
  type StepReport,
} from './recipe/index.ts'
export { GPT_TYPE } from './volume/partition-types.ts'
export { readVolumes } from './volume/read-volumes.ts'
export type { PhysicalVolume, Volume, VolumeGroup, VolumeList } from './volume/volume.ts'
export { type NewPartition, writeGpt } from './volume/write-gpt.ts'
