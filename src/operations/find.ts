import { compareBytes } from '../bytes/names.ts'
import { isDrydiskError } from '../errors.ts'
import type { FileType } from '../filesystem/filesystem.ts'
import type { GuestDirent, GuestFs, GuestPath, GuestStats } from '../guest/guest-fs.ts'
import { childPath } from '../guest/guest-path.ts'
import { matchesGlob } from './glob.ts'
import { pathBytes } from './guest-files.ts'

/** What has to hold for a file; what is left out does not matter. As find(1)'s tests of the same names. */
export interface FindTests {
  /** Globs for the last name, of which one has to match; a leading dot is matched by wildcards too. */
  readonly names?: readonly Uint8Array[]
  /** Globs for the whole path; `*` matches slashes. */
  readonly paths?: readonly Uint8Array[]
  readonly types?: readonly FileType[]
  /** Bytes. */
  readonly minSize?: number
  readonly maxSize?: number
  readonly uid?: number
  readonly gid?: number
  /** Permission bits: exactly these, all of these, any of these. */
  readonly mode?: { readonly bits: number; readonly match: 'exact' | 'all' | 'any' }
  readonly minLinks?: number
  /** Changed after that. */
  readonly newerThanNs?: bigint
  readonly olderThanNs?: bigint
  /** A file of 0 bytes, or a directory with nothing in it. */
  readonly empty?: boolean
}

/** What `findFiles` takes: what a file has to be, and where to look. */
export interface FindOptions extends FindTests {
  /** How far below the start; 0 is the start alone. */
  readonly maxDepth?: number
  readonly minDepth?: number
  /** Stay on the filesystem of the start. */
  readonly oneFileSystem?: boolean
  /** Told of what cannot be looked at; the search goes on. Without it, it ends with the error. */
  readonly onError?: (path: Uint8Array, error: unknown) => void
}

/** A file that `findFiles` found. */
export interface Found {
  readonly path: Uint8Array
  readonly stats: GuestStats
}

/**
 * The files below a path for which every test holds, the path itself too, each directory before what is in it, by name.
 * Symlinks are not followed, but for the start.
 */
export async function* findFiles(
  guest: GuestFs,
  start: GuestPath,
  options: FindOptions = {},
): AsyncGenerator<Found> {
  const path = pathBytes(start)
  const stats = await guest.stat(path)
  yield* search(guest, { path, stats }, 0, options, { dev: stats.dev, above: new Set() })
}

interface Search {
  readonly dev: number
  /** A damaged filesystem may have a directory inside itself. */
  readonly above: Set<string>
}

async function* search(
  guest: GuestFs,
  found: Found,
  depth: number,
  options: FindOptions,
  state: Search,
): AsyncGenerator<Found> {
  const { path, stats } = found
  const { maxDepth = Number.POSITIVE_INFINITY, minDepth = 0, onError } = options
  const key = `${stats.dev}:${stats.ino}`
  const attempt = async <T>(at: Uint8Array, step: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await step()
    } catch (error) {
      if (onError === undefined || !isDrydiskError(error)) throw error
      onError(at, error)
      return undefined
    }
  }
  let entries: GuestDirent[] | undefined
  const looksInside =
    stats.isDirectory() &&
    !state.above.has(key) &&
    (depth < maxDepth || options.empty === true) &&
    !(options.oneFileSystem && stats.dev !== state.dev)
  if (looksInside) entries = await attempt(path, () => guest.readdir(path))
  if (depth >= minDepth && holds(found, entries, options)) yield found
  if (entries === undefined || depth >= maxDepth) return
  state.above.add(key)
  for (const { name } of entries.sort((a, b) => compareBytes(a.name, b.name))) {
    const child = childPath(path, name)
    const inner = await attempt(child, () => guest.lstat(child))
    if (inner !== undefined) yield* search(guest, { path: child, stats: inner }, depth + 1, options, state)
  }
  state.above.delete(key)
}

function holds(
  { path, stats }: Found,
  entries: readonly GuestDirent[] | undefined,
  tests: FindTests,
): boolean {
  const { names, paths, types, mode } = tests
  if (types !== undefined && !types.includes(stats.type)) return false
  if (names !== undefined && !names.some(glob => matchesGlob(glob, lastName(path), { dots: true })))
    return false
  if (paths !== undefined && !paths.some(glob => matchesGlob(glob, path, { dots: true }))) return false
  if (tests.minSize !== undefined && stats.size < tests.minSize) return false
  if (tests.maxSize !== undefined && stats.size > tests.maxSize) return false
  if (tests.uid !== undefined && stats.uid !== tests.uid) return false
  if (tests.gid !== undefined && stats.gid !== tests.gid) return false
  if (tests.minLinks !== undefined && stats.nlink < tests.minLinks) return false
  if (tests.newerThanNs !== undefined && stats.mtimeNs <= tests.newerThanNs) return false
  if (tests.olderThanNs !== undefined && stats.mtimeNs >= tests.olderThanNs) return false
  if (mode !== undefined) {
    const bits = stats.mode & 0o7777
    if (mode.match === 'exact' && bits !== mode.bits) return false
    if (mode.match === 'all' && (bits & mode.bits) !== mode.bits) return false
    if (mode.match === 'any' && mode.bits !== 0 && (bits & mode.bits) === 0) return false
  }
  if (tests.empty)
    return stats.isDirectory()
      ? entries !== undefined && entries.length === 0
      : stats.isFile() && stats.size === 0
  return true
}

function lastName(path: Uint8Array): Uint8Array {
  const slash = path.lastIndexOf(0x2f)
  return path.length > 1 ? path.subarray(slash + 1) : path
}
