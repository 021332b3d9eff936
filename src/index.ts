/**
 * drydisk edits disk images of virtual machines that are not running.
 *
 * ```ts
 * import { openImage, operate } from 'drydisk'
 *
 * await using image = await openImage('disk.qcow2', { writable: true })
 * const { fs } = await image.guest()
 * await fs.writeFile('/etc/motd', 'hello\n')
 * await operate.hostname(fs, { hostname: 'web1' })
 * await image.commit() // until here, nothing has changed
 * ```
 */
export { printable, printableText } from './bytes/names.ts'
export { type Range, RangeSet } from './bytes/range-set.ts'
export { type CompactImageOptions, compactImage } from './copy/compact.ts'
export { type CompareOptions, type Comparison, compareDevices } from './copy/compare.ts'
export {
  type ConvertOptions,
  type ConvertResult,
  type CopyOptions,
  type CopyProgress,
  convertImage,
  streamRaw,
} from './copy/convert.ts'
export { cutOff } from './copy/cut-off.ts'
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
export { dataPastEnd } from './copy/past-end.ts'
export {
  type SparsifyInPlaceOptions,
  type SparsifyInPlaceResult,
  sparsifyInPlace,
} from './copy/sparsify-in-place.ts'
export { BlobStorage } from './device/blob-storage.ts'
export type { BlockDevice, DiskImage, Extent } from './device/block-device.ts'
export { ConcatDevice } from './device/concat-device.ts'
export { temporaryStorage } from './device/file-temporary.ts'
export { type Fetched, HttpStorage, type HttpStorageOptions } from './device/http-storage.ts'
export { MemoryDevice } from './device/memory-device.ts'
export { MemoryFolder } from './device/memory-folder.ts'
export { type MemoryFile, MemoryStorage } from './device/memory-storage.ts'
export type { Connection as NbdConnection } from './device/nbd/connection.ts'
export { NbdListener } from './device/nbd/node-listener.ts'
export type { Address } from './device/nbd/node-socket.ts'
export { NbdServer, type ServeOptions } from './device/nbd/server.ts'
export { OverlayDevice } from './device/overlay-device.ts'
export { patchedBlob } from './device/patched-blob.ts'
export { PatchedStorage, type Piece } from './device/patched-storage.ts'
export { SliceDevice } from './device/slice-device.ts'
export type { SparseBytes } from './device/sparse-bytes.ts'
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
export { HostFolderGuest } from './guest/host-folder-guest.ts'
export { type GuestFamily, type GuestIdentity, readIdentity } from './guest/identity.ts'
export { memoryGuest } from './guest/memory-guest.ts'
export type { Mount, MountTable, Place as MountPlace, WalkedFolder } from './guest/mount-table.ts'
export type { MountedGuest } from './guest/mounted-guest.ts'
export { type Guest, type OpenGuestOptions, openGuest } from './guest/open-guest.ts'
export type { PackageDatabase } from './guest/packages/package-versions.ts'
export type { FileContext, PathAlias } from './guest/selinux/file-contexts.ts'
export { type LabelAnswer, LabelPolicy, type PolicyFiles } from './guest/selinux/policy.ts'
export { type GuestPolicy, readPolicy } from './guest/selinux/read-policy.ts'
export { diskUsage, type VolumeUsage } from './guest/usage.ts'
export type { GuestVolume } from './guest/volume-spec.ts'
export { type AmendImageOptions, amendImage } from './image/amend.ts'
export type { BackingPolicy } from './image/beside-file.ts'
export { type CheckOptions, checkFile, type FileCheck, type RepairMode } from './image/check-file.ts'
export { type CommitImageOptions, type CommittedImage, commitImage } from './image/commit-down.ts'
export { type CreateImageOptions, createImage } from './image/create-file.ts'
export type { ImageFormat } from './image/detect.ts'
export { isNbdUri, type OpenNbdOptions, openNbd } from './image/open-nbd.ts'
export { type OpenStorageOptions, openStorage } from './image/open-storage.ts'
export { type OpenUrlOptions, openUrl, type RemoteImage } from './image/open-url.ts'
export type { CompactResult } from './image/qcow2/compact.ts'
export type { CreateQcow2Options } from './image/qcow2/create.ts'
export type { BitmapInfo } from './image/qcow2/info.ts'
export { type SnapshotChoice, snapshotDevice } from './image/qcow2/snapshot-device.ts'
export type { Snapshot } from './image/qcow2/snapshot-table.ts'
export type { NewSnapshot } from './image/qcow2/snapshots.ts'
export { type RebasedImage, type RebaseOptions, rebaseImage } from './image/rebase.ts'
export { type ResizedImage, type ResizeImageOptions, resizeImage } from './image/resize.ts'
export {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
  type SnapshotOptions,
} from './image/snapshots.ts'
export {
  type AppliedImage,
  type ApplyOptions,
  type ApplyProgress,
  apply,
  type RecipeSource,
} from './library/apply.ts'
export {
  type ConvertedImage,
  type ConvertImageOptions,
  convert,
  type ImageSource,
  type SparsifyOptions,
  type SparsifyProgress,
  sparsify,
} from './library/convert.ts'
export { type DoctorImageOptions, doctor, type ImageDiagnosis } from './library/doctor.ts'
export { hostAccess } from './library/host-access.ts'
export { type GuestChoice, Image, type ImageParts } from './library/image.ts'
export type {
  FileSystemInfo,
  GuestInfo,
  ImageInfo,
  VolumeGroupInfo,
  VolumeInfo,
} from './library/image-info.ts'
export { type OpenDiskOptions, type OpenedDisk, openDisk } from './library/open-disk.ts'
export { openImage } from './library/open-image.ts'
export type { OpenStoredOptions } from './library/open-stored.ts'
export { type Operate, operate } from './library/operate.ts'
export { hostRecipes, shippedRecipeNames } from './library/recipes.ts'
export type { CopyCounts } from './operations/copy-tree.ts'
export { demoGuest } from './operations/demo-guest.ts'
export type {
  Check as DoctorCheck,
  CheckContext as DoctorContext,
  DiskFacts,
  Profile as DoctorProfile,
} from './operations/doctor/check.ts'
export { readDiskFacts } from './operations/doctor/disk-facts.ts'
export {
  type Diagnosis,
  type DoctorOptions,
  type DoctorProgress,
  diagnose,
  doctorChecks,
} from './operations/doctor/doctor.ts'
export type {
  Finding,
  FindingPlace,
  FindingStatus,
  Findings as DoctorFindings,
} from './operations/doctor/findings.ts'
export { type FindOptions, type FindTests, type Found, findFiles } from './operations/find.ts'
export { type Grown, type GrowOptions, grow } from './operations/grow.ts'
export type { BootLoaderName } from './operations/guest-facts.ts'
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
export type { Unchanged } from './operations/operation.ts'
export type { ReportBuilder } from './operations/report.ts'
export type { SelinuxMode } from './operations/selinux-mode.ts'
export type { InitSystem } from './operations/services/init-system.ts'
export { type HostAccess, type Planned, type Step, steps } from './operations/steps/index.ts'
export type { GuestTree as SysprepTree } from './operations/sysprep/guest-tree.ts'
export type { GuestDisk as SysprepDisk, SysprepContext } from './operations/sysprep/task.ts'
export { readTar, type TarEntry } from './operations/tar/read-tar.ts'
export { type WriteTarOptions, writeTar } from './operations/tar/write-tar.ts'
export {
  type ApplyRecipeOptions,
  applyRecipe,
  type Condition as RecipeCondition,
  type LoadedStep,
  type LoadOptions,
  loadRecipe,
  type Place as RecipePlace,
  type PlannedStep,
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
  type StepEntry,
  type StepReport,
  type StepValue,
  type VariableDeclaration,
  type VariableValues,
} from './recipe/index.ts'
export type { PartitionGrowth } from './volume/partition-room.ts'
export { GPT_TYPE } from './volume/partition-types.ts'
export { readVolumes } from './volume/read-volumes.ts'
export type { PhysicalVolume, Volume, VolumeGroup, VolumeList } from './volume/volume.ts'
export { type NewPartition, type PlacedPartition, writeGpt } from './volume/write-gpt.ts'
