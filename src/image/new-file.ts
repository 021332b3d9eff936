import { unlinkSync } from 'node:fs'
import { chmod, chown, link, lstat, open, realpath, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileError } from '../device/file-error.ts'
import { FileFolder } from '../device/file-folder.ts'
import { FileStorage } from '../device/file-storage.ts'
import { redoLogName } from '../device/redo-log.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import { checkNotInUse } from './in-use.ts'
import { WriterLock } from './lock-file.ts'

/** Permissions of a new file, before the process's mask. */
const NEW_FILE_MODE = 0o666

/** Names of files that are not complete, with the locks of what they are to replace. */
const unfinished = new Map<string, WriterLock | undefined>()

/**
 * Removes every file that is not complete, and the lock of what it was to replace, at once, even while it is written to: for a process that is about to end and cannot
 * wait.
 * @returns whether there was one.
 */
export function removeUnfinished(): boolean {
  const files = [...unfinished]
  unfinished.clear()
  for (const [name, lock] of files) {
    try {
      unlinkSync(name)
    } catch {
      // It has its name by now, or it is gone.
    }
    lock?.releaseNow()
  }
  return files.length > 0
}

/** Where a new file goes, and what it replaces there. */
interface Target {
  /** With no symbolic link in it. */
  readonly path: string
  /** Permissions and owner of the file that is there; `undefined` when there is none. */
  readonly old: { readonly mode: number; readonly uid: number; readonly gid: number } | undefined
}

/**
 * A file that is written under a name of its own beside its target, and takes the target's name when it is complete. Until then,
 * and after every error, the target is what it was.
 */
export class NewFile {
  /** What is written to; closed by `publish` and `discard`. */
  readonly storage: FileStorage
  readonly #target: Target
  readonly #replace: boolean
  readonly #lock: WriterLock | undefined
  #open = true

  private constructor(storage: FileStorage, target: Target, replace: boolean, lock: WriterLock | undefined) {
    this.storage = storage
    this.#lock = lock
    this.#target = target
    this.#replace = replace
  }

  /**
   * @param path of the target. Of a symbolic link, the file that it leads to is the target.
   * @param options replace: takes the place of a regular file that is there. force: also of one that is in use.
   * Errors: `EEXIST`; `ERR_IN_USE`; `ERR_INVALID_ARGUMENT` for a target that is no regular file; POSIX codes.
   */
  static async create(
    path: string,
    options: { readonly replace?: boolean; readonly force?: boolean } = {},
  ): Promise<NewFile> {
    const { replace = false, force = false } = options
    const target = await targetOf(path)
    if (target.old !== undefined) {
      if (!replace) throw existsAlready(path)
      await checkTargetWritable(path, target.path)
      if (!force) await checkTargetFree(target.path)
    }
    const name = basename(target.path)
    // A name may have 255 bytes, and a character up to four of them.
    const suffix = `.drydisk-new-${process.pid}-${globalThis.crypto.randomUUID().slice(0, 8)}`
    const beside = join(dirname(target.path), `${name.slice(0, 48)}${suffix}`)
    // Another drydisk that edits the target would commit into a file that no longer has the name.
    let lock: WriterLock | undefined
    try {
      lock = target.old === undefined ? undefined : await lockOf(target.path, force)
      const storage = await FileStorage.open(beside, 'create')
      unfinished.set(storage.name, lock)
      return new NewFile(storage, target, replace, lock)
    } catch (error) {
      await lock?.release()
      throw folderError(error, path, dirname(target.path))
    }
  }

  /**
   * Makes the content durable and gives the file the target's name. Errors: as `create`; nothing is left then either.
   * @param durable false: a new file's content reaches the disk when the host likes, as that of every other program; one that
   * replaces another is made durable first in any case, or a power failure could leave neither.
   */
  async publish(durable = true): Promise<void> {
    const { path, old } = this.#target
    const { storage } = this
    const flush = durable || old !== undefined
    try {
      if (flush) await storage.flush()
      await storage.close()
      this.#open = false
      // Before the mode: who may read it is said of an owner, and a new owner clears setuid bits.
      if (old !== undefined) await giveTo(storage.name, old.uid, old.gid)
      await chmod(storage.name, old?.mode ?? NEW_FILE_MODE & ~process.umask())
      if (this.#replace) await rename(storage.name, path)
      else await takeFreeName(storage.name, path)
      unfinished.delete(storage.name)
    } catch (error) {
      await this.discard()
      throw fileError(error, path, 'create')
    }
    const folder = new FileFolder(dirname(path))
    // What an interrupted commit left belongs to the image that is gone.
    await folder.remove(redoLogName(basename(path))).catch(error => {
      // No log has a name that is too long to be one.
      if (!isDrydiskError(error, 'ENAMETOOLONG')) throw error
    })
    if (flush) await folder.flush()
    await this.#lock?.release()
  }

  /** Removes what was written. */
  async discard(): Promise<void> {
    if (this.#open) await this.storage.close().catch(() => undefined)
    this.#open = false
    await unlink(this.storage.name).catch(() => undefined)
    unfinished.delete(this.storage.name)
    await this.#lock?.release()
  }
}

/** A name that leaves no room for the lock's own cannot be locked by anybody. */
async function lockOf(path: string, force: boolean): Promise<WriterLock | undefined> {
  try {
    return await WriterLock.take(path, force)
  } catch (error) {
    if (isDrydiskError(error, 'ENAMETOOLONG')) return undefined
    throw error
  }
}

async function targetOf(path: string): Promise<Target> {
  try {
    const found = await lstat(path).catch(error =>
      error.code === 'ENOENT' ? undefined : Promise.reject(error),
    )
    if (found === undefined) {
      const folder = dirname(resolve(path))
      const real = await realpath(folder).catch(error => Promise.reject(folderError(error, path, folder)))
      return { path: join(real, basename(resolve(path))), old: undefined }
    }
    const stats = await stat(path).catch(error =>
      Promise.reject(
        error.code === 'ENOENT' && found.isSymbolicLink()
          ? new DrydiskError(
              'ENOENT',
              `cannot create ${path}: it is a symbolic link, and what it leads to does not exist`,
              { path },
              error,
            )
          : error,
      ),
    )
    if (!stats.isFile())
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        stats.isDirectory()
          ? `${path} is a folder; what is made is a regular file`
          : `${path} is not a regular file, and only one is replaced. A device or a pipe takes what goes to standard output, which is called -`,
        { path },
      )
    const { uid, gid } = stats
    return { path: await realpath(path), old: { mode: stats.mode & 0o7777, uid, gid } }
  } catch (error) {
    throw fileError(error, path, 'create')
  }
}

/** Write protection is of the file, and renaming asks the folder alone. */
async function checkTargetWritable(path: string, realPath: string): Promise<void> {
  try {
    // Opening changes nothing, and asks as the process is, where access(2) asks for who began it.
    await (await open(realPath, 'r+')).close()
  } catch (error) {
    const { code, message } = fileError(error, path, 'replace')
    const advice =
      code === 'EACCES' ? '. It is write-protected: allow writing (chmod), or name another file' : ''
    throw new DrydiskError(code, message + advice, { path }, error)
  }
}

/** What keeps a file from being made in a folder, told of the file that the user named. */
function folderError(error: unknown, path: string, folder: string): DrydiskError {
  const known = fileError(error, path, 'create')
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: `the folder ${folder} does not exist`,
    ENOTDIR: `${folder} is not a folder`,
    EACCES: `no permission to write into the folder ${folder}, where it is made before it takes its name`,
    EROFS: `the folder ${folder} is on a read-only filesystem`,
  }
  const reason = reasons[known.code]
  return reason === undefined
    ? known
    : new DrydiskError(known.code, `cannot create ${path}: ${reason}`, { path }, error)
}

/** As far as this process may: root gives files away, others to their groups. */
async function giveTo(path: string, uid: number, gid: number): Promise<void> {
  await chown(path, uid, gid)
    .catch(() => chown(path, -1, gid))
    .catch(() => undefined)
}

/** A machine that runs on the file would go on with what no longer has a name. */
async function checkTargetFree(path: string): Promise<void> {
  const storage = await FileStorage.open(path, 'read')
  try {
    await checkNotInUse({ path, device: storage.device, inode: storage.inode }, 'write')
  } finally {
    await storage.close()
  }
}

/** Renames, unless something has the name by now. */
async function takeFreeName(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === 'EEXIST') throw existsAlready(to)
    // A filesystem without hard links: whoever makes the file between the two steps loses it.
    if (await lstat(to).catch(() => undefined)) throw existsAlready(to)
    await rename(from, to)
    return
  }
  await unlink(from)
}

function existsAlready(path: string): DrydiskError {
  return new DrydiskError(
    'EEXIST',
    `${path} exists already; name another file, or use --force (option force)`,
    {
      path,
    },
  )
}
