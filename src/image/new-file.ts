import { unlinkSync } from 'node:fs'
import { chmod, link, lstat, realpath, rename, stat, unlink } from 'node:fs/promises'
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

/** Names of files that are not complete. */
const unfinished = new Set<string>()

/**
 * Removes every file that is not complete, at once, even while it is written to: for a process that is about to end and cannot
 * wait.
 * @returns whether there was any.
 */
export function removeUnfinished(): boolean {
  const names = [...unfinished]
  unfinished.clear()
  for (const name of names)
    try {
      unlinkSync(name)
    } catch {
      // It has its name by now, or it is gone.
    }
  return names.length > 0
}

/** Where a new file goes, and what it replaces there. */
interface Target {
  /** With no symbolic link in it. */
  readonly path: string
  /** Permissions of the file that is there; `undefined` when there is none. */
  readonly mode: number | undefined
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
    if (target.mode !== undefined && !replace) throw existsAlready(path)
    if (target.mode !== undefined && !force) await checkTargetFree(target.path)
    const name = basename(target.path)
    // A name may have 255 bytes, and a character up to four of them.
    const suffix = `.drydisk-new-${process.pid}-${globalThis.crypto.randomUUID().slice(0, 8)}`
    const beside = join(dirname(target.path), `${name.slice(0, 48)}${suffix}`)
    // Another drydisk that edits the target would commit into a file that no longer has the name.
    const lock = target.mode === undefined ? undefined : await lockOf(target.path, force)
    try {
      return new NewFile(await FileStorage.open(beside, 'create'), target, replace, lock)
    } catch (error) {
      await lock?.release()
      throw error
    }
  }

  /**
   * Makes the content durable and gives the file the target's name. Errors: as `create`; nothing is left then either.
   * @param durable false: a new file's content reaches the disk when the host likes, as that of every other program; one that
   * replaces another is made durable first in any case, or a power failure could leave neither.
   */
  async publish(durable = true): Promise<void> {
    const { path, mode } = this.#target
    const { storage } = this
    const flush = durable || mode !== undefined
    try {
      if (flush) await storage.flush()
      await storage.close()
      this.#open = false
      await chmod(storage.name, mode ?? NEW_FILE_MODE & ~process.umask())
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
      const folder = await realpath(dirname(resolve(path)))
      return { path: join(folder, basename(resolve(path))), mode: undefined }
    }
    const stats = await stat(path)
    if (!stats.isFile())
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `${path} is ${stats.isDirectory() ? 'a folder' : 'not a regular file'}; an image is made as a regular file`,
        { path },
      )
    return { path: await realpath(path), mode: stats.mode & 0o7777 }
  } catch (error) {
    throw fileError(error, path, 'create')
  }
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
