import { FileFolder } from '../device/file-folder.ts'
import { FileStorage } from '../device/file-storage.ts'
import type { Fetched } from '../device/http-storage.ts'
import { findRedoLog, redoLogName } from '../device/redo-log.ts'
import type { Storage } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'
import { placeOf } from './beside-file.ts'
import { detectFormat, type ImageFormat } from './detect.ts'
import { checkNotInUse } from './in-use.ts'
import { maintainFile } from './maintain-file.ts'
import { openImage } from './open.ts'
import { openRemote } from './open-remote.ts'
import type { CheckResult } from './qcow2/check.ts'
import type { RepairMode, RepairResult } from './qcow2/repair.ts'

export type { RepairMode } from './qcow2/repair.ts'

/** What `checkFile` takes. */
export interface CheckOptions {
  /** Left out: nothing is written. */
  readonly repair?: RepairMode
  /** Found from the content when left out. */
  readonly format?: ImageFormat
  /** Goes on although something else holds the image. */
  readonly force?: boolean
  /** Stops a repair: `ERR_ABORTED` with the image as it was, unless it is done already. */
  readonly signal?: AbortSignal
}

/** What `checkFile` found, and what it put right. */
export interface FileCheck extends RepairResult {
  readonly format: 'qcow2'
  /** Of an image on a web server. */
  readonly fetched?: Fetched
}

const NOTHING_FIXED = { corruptionsFixed: 0, leaksFixed: 0 }

/**
 * Checks the tables of an image, and repairs them in one atomic change of the file where that is asked for. Opens no backing
 * file, and a data file only where an interrupted commit has to be looked through. One on a server (`http:`, `https:`, `nbd:`,
 * `nbd+unix:`) is checked, and not repaired.
 *
 * Errors: POSIX codes; `ERR_IN_USE`; `ENOTSUP` for a raw image, which has no tables; `ERR_CORRUPT` where a structure cannot be
 * read, or an entry to be repaired has lost what it pointed at; `ERR_UNSUPPORTED`.
 */
export async function checkFile(path: string, options: CheckOptions = {}): Promise<FileCheck> {
  const { repair, force = false } = options
  if (repair !== undefined) {
    const { repairImage } = await import('./qcow2/repair.ts')
    return maintainFile(path, { force }, async storage => {
      await refuseRaw(storage, options.format)
      return { format: 'qcow2', ...(await repairImage(storage, repair, options.signal)) }
    })
  }
  const remote = await openRemote(path)
  if (remote !== undefined) {
    const { storage, fetched } = remote
    try {
      await refuseRaw(storage, options.format)
      const found = await checkTables(storage)
      return { format: 'qcow2', ...found, ...NOTHING_FIXED, ...(fetched && { fetched: fetched() }) }
    } finally {
      await storage.close()
    }
  }
  const place = await placeOf(path)
  const storage = await FileStorage.open(place.path, 'read')
  try {
    await refuseRaw(storage, options.format)
    if (!force) await checkNotInUse({ path, device: storage.device, inode: storage.inode }, 'read tables')
    const log = await findRedoLog(new FileFolder(place.folder), redoLogName(place.name))
    if (log === undefined) return { format: 'qcow2', ...(await checkTables(storage)), ...NOTHING_FIXED }
    await log.storage.close()
    const { Qcow2Image } = await import('./qcow2/qcow2-image.ts')
    const image = await openImage(path, { force, format: 'qcow2' })
    try {
      if (!(image instanceof Qcow2Image)) throw new TypeError('a qcow2 image was asked for')
      return { format: 'qcow2', ...(await image.check()), ...NOTHING_FIXED }
    } finally {
      await image.close()
    }
  } finally {
    await storage.close()
  }
}

async function checkTables(storage: Storage): Promise<CheckResult> {
  const { readHeader } = await import('./qcow2/qcow2-image.ts')
  const { checkImage } = await import('./qcow2/check.ts')
  return checkImage(storage, (await readHeader(storage)).header)
}

async function refuseRaw(storage: Storage, format: ImageFormat | undefined): Promise<void> {
  if ((format ?? (await detectFormat(storage))) === 'raw')
    throw new DrydiskError('ENOTSUP', `${storage.name} is raw: such an image has no tables to check`, {
      path: storage.name,
    })
}
