import { bytesOfKey } from '../../bytes/names.ts'
import { isDrydiskError } from '../../errors.ts'
import type { FileType } from '../../filesystem/filesystem.ts'
import { displayPath } from '../guest-files.ts'
import { byteCount } from '../report.ts'
import { join } from './guest-tree.ts'
import { lstatAt } from './lenient.ts'
import type { SysprepContext } from './task.ts'

/**
 * Removes what is at a path itself (a symlink, not what it points to), and tells its size. What a filesystem is mounted on or below stays,
 * with a warning.
 */
export async function removePath(context: SysprepContext, path: string): Promise<void> {
  const { guest, tree, report } = context
  const bytes = bytesOfKey(path)
  const stats = await lstatAt(guest, bytes)
  if (!stats) return
  const shown = displayPath(bytes)
  const before = stats.isDirectory()
    ? await folderSize(context, path)
    : stats.isFile()
      ? byteCount(stats.size)
      : 'present'
  try {
    await guest.rm(bytes, { recursive: true })
  } catch (error) {
    if (!isDrydiskError(error, 'EBUSY')) throw error
    report.warn(`${shown} was left, as a filesystem is mounted on it or below it`)
    return
  }
  tree.removed(path)
  const note =
    stats.isFile() && stats.nlink > 1
      ? `it was one of ${stats.nlink} names (hard links); the content stays under the others`
      : undefined
  report.always(stats.type, before, null, shown, { note })
}

/** As text: how many files, and their bytes together. */
async function folderSize({ guest, tree }: SysprepContext, top: string): Promise<string> {
  let files = 0
  let bytes = 0
  for await (const { folder, entries } of tree.walk(top))
    for (const [name, type] of entries) {
      if (type === 'directory') continue
      files++
      if (type === 'file') bytes += (await lstatAt(guest, bytesOfKey(join(folder, name))))?.size ?? 0
    }
  return filesAndBytes(files, bytes)
}

export interface RemoveGlobOptions {
  /** Folders too, with all below them; without it they stay. */
  readonly folders?: boolean
  readonly except?: readonly string[]
}

/** Removes what matches. */
export async function removeGlobs(
  context: SysprepContext,
  globs: readonly string[],
  { folders = false, except = [] }: RemoveGlobOptions = {},
): Promise<void> {
  for (const pattern of globs)
    for (const path of await context.tree.glob(pattern)) {
      if (except.includes(path)) continue
      // A filesystem of its own has it at its root, and fsck needs it.
      if (path.endsWith('/lost+found')) continue
      if (!folders && (await context.tree.typeOf(path)) === 'directory') continue
      await removePath(context, path)
    }
}

/** The files below a folder but those that stay, by byte order. */
async function filesBelow(
  { tree }: SysprepContext,
  top: string,
  keep: (path: string, type: FileType) => boolean,
): Promise<string[]> {
  const found: string[] = []
  for await (const { folder, entries } of tree.walk(top))
    for (const [name, type] of entries) {
      const path = join(folder, name)
      if (type !== 'directory' && !keep(path, type)) found.push(path)
    }
  return found.sort()
}

/** Removes the files below a folder and leaves its folders; `keep` says which files stay. */
export async function removeFilesBelow(
  context: SysprepContext,
  top: string,
  keep: (path: string, type: FileType) => boolean,
): Promise<void> {
  for (const path of await filesBelow(context, top, keep)) await removePath(context, path)
}

/** The same for what can be fetched again, such as packages: told in one change. */
export async function emptyCache(
  context: SysprepContext,
  top: string,
  keep: (path: string, type: FileType) => boolean,
): Promise<void> {
  const { guest, tree, report } = context
  const found = await filesBelow(context, top, keep)
  let size = 0
  for (const path of found) {
    const bytes = bytesOfKey(path)
    const stats = await lstatAt(guest, bytes)
    if (stats?.isFile()) size += stats.size
    await guest.unlink(bytes)
    tree.removed(path)
  }
  if (found.length > 0)
    report.always('cached files', filesAndBytes(found.length, size), null, displayPath(bytesOfKey(top)))
}

function filesAndBytes(files: number, bytes: number): string {
  return `${files} ${files === 1 ? 'file' : 'files'}, ${byteCount(bytes)}`
}

/** Empties a regular file that has this one name and lies in its place. */
export async function emptyFile(context: SysprepContext, path: string): Promise<void> {
  const { guest, report, tree } = context
  if ((await tree.typeOf(path)) !== 'file') return
  const bytes = bytesOfKey(path)
  const stats = await lstatAt(guest, bytes)
  if (!stats?.isFile() || stats.size === 0) return
  if (stats.nlink > 1) {
    report.warn(
      `${displayPath(bytes)} was not emptied: the same file has ${stats.nlink - 1} more names (hard links)`,
    )
    return
  }
  await guest.truncate(bytes, 0)
  report.always('file', byteCount(stats.size), 'empty', displayPath(bytes))
}
