import { FileStorage } from '../device/file-storage.ts'
import type { Storage } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'
import { placeOf } from './beside-file.ts'
import { detectFormat } from './detect.ts'
import { checkNotInUse } from './in-use.ts'
import { lookAgain, maintainFile } from './maintain-file.ts'
import type { SnapshotChoice } from './qcow2/snapshot-device.ts'
import type { Snapshot } from './qcow2/snapshot-table.ts'
import type { NewSnapshot } from './qcow2/snapshots.ts'
import type { Switching } from './qcow2/table-references.ts'

/** What the functions for snapshots take: `force` goes on with an image that is in use. */
export interface SnapshotOptions {
  /** Goes on although something else holds the image. */
  readonly force?: boolean
  /** Aborted: `ERR_ABORTED` with the image as it was, unless the change counts already. Listing is not stopped. */
  readonly signal?: AbortSignal
}

/** Opens a qcow2 image's own file for work on its snapshots. */
function withQcow2<T>(
  path: string,
  options: SnapshotOptions,
  step: (storage: Storage, switching: Switching) => Promise<T>,
): Promise<T> {
  return maintainFile(path, options, async storage => {
    if ((await detectFormat(storage)) !== 'qcow2')
      throw new DrydiskError('ERR_UNSUPPORTED', `${path} is raw, and a raw image has no snapshots`, { path })
    const { signal } = options
    return step(storage, { beforeSwitch: lookAgain(storage, options), ...(signal && { signal }) })
  })
}

/**
 * The internal snapshots of an image in the order of its table; none for a raw one. Opens no other file.
 * Errors: POSIX codes; `ERR_IN_USE`; `ERR_CORRUPT`; `ERR_UNSUPPORTED`.
 */
export async function listSnapshots(
  path: string,
  options: SnapshotOptions = {},
): Promise<readonly Snapshot[]> {
  const storage = await FileStorage.open((await placeOf(path)).path, 'read')
  try {
    const { device, inode } = storage
    if (!options.force) await checkNotInUse({ path, device, inode }, 'read tables')
    if ((await detectFormat(storage)) !== 'qcow2') return []
    const { readHeader } = await import('./qcow2/qcow2-image.ts')
    const { readSnapshotTable } = await import('./qcow2/snapshot-table.ts')
    return (await readSnapshotTable(storage, (await readHeader(storage)).header)).snapshots
  } finally {
    await storage.close()
  }
}

/**
 * Takes an internal snapshot of the disk in one atomic change of the file.
 * Errors: as opening for writing; `ERR_UNSUPPORTED` for a raw image or one with an external data file.
 * @returns the new snapshot's identifier.
 */
export async function createSnapshot(
  path: string,
  snapshot: NewSnapshot,
  options: SnapshotOptions = {},
): Promise<string> {
  const module = await import('./qcow2/snapshots.ts')
  return withQcow2(path, options, (storage, switching) => module.createSnapshot(storage, snapshot, switching))
}

/**
 * Makes the disk what it was when the snapshot was taken, in one atomic change of the file.
 * Errors: as `createSnapshot`; `ENOENT`; `ERR_UNSUPPORTED` for an image with persistent bitmaps.
 */
export async function applySnapshot(
  path: string,
  choice: SnapshotChoice,
  options: SnapshotOptions = {},
): Promise<Snapshot> {
  const module = await import('./qcow2/snapshots.ts')
  return withQcow2(path, options, (storage, switching) => module.applySnapshot(storage, choice, switching))
}

/** Deletes an internal snapshot in one atomic change of the file. Errors: as `createSnapshot`; `ENOENT`. */
export async function deleteSnapshot(
  path: string,
  choice: SnapshotChoice,
  options: SnapshotOptions = {},
): Promise<Snapshot> {
  const module = await import('./qcow2/snapshots.ts')
  return withQcow2(path, options, (storage, switching) => module.deleteSnapshot(storage, choice, switching))
}
