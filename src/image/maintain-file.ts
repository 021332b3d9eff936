import { FileFolder } from '../device/file-folder.ts'
import { FileStorage } from '../device/file-storage.ts'
import { findRedoLog, redoLogName } from '../device/redo-log.ts'
import { type ImagePlace, placeOf } from './beside-file.ts'
import { checkNotInUse } from './in-use.ts'
import { WriterLock } from './lock-file.ts'
import { openImage } from './open.ts'

/**
 * What to call just before a change counts: a machine may have been started meanwhile, and does not see drydisk's lock.
 * Errors: `ERR_IN_USE`.
 */
export function lookAgain(storage: FileStorage, options: { readonly force?: boolean }): () => Promise<void> {
  const { name, device, inode } = storage
  return async () => {
    if (!options.force) await checkNotInUse({ path: name, device, inode }, 'write')
  }
}

/**
 * Opens an image's file itself, for work on its structure rather than on the disk in it; with the locks of an open for
 * writing, held until `step` ends. A commit that was interrupted is finished first.
 * Errors: as `openImage`; what `step` throws.
 */
export async function maintainFile<T>(
  path: string,
  options: { readonly force?: boolean },
  step: (storage: FileStorage, place: ImagePlace) => Promise<T>,
): Promise<T> {
  const place = await placeOf(path)
  const force = options.force ?? false
  const log = await findRedoLog(new FileFolder(place.folder), redoLogName(place.name))
  if (log !== undefined) {
    await log.storage.close()
    await (await openImage(path, { writable: true, force })).close()
  }
  const storage = await FileStorage.open(place.path, 'write')
  try {
    const identity = { path: storage.name, device: storage.device, inode: storage.inode }
    if (!force) await checkNotInUse(identity, 'write')
    const lock = await WriterLock.take(place.path, force)
    try {
      return await step(storage, place)
    } finally {
      await lock.release()
    }
  } finally {
    await storage.close()
  }
}
