import { decodeUtf8, printable, toBytes } from '../bytes/names.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { GuestPath } from './guest-fs.ts'

const SLASH = 0x2f
const DOT = 0x2e

export interface SplitPath {
  /** Without empty ones; `.` and `..` are left for the walk. */
  readonly names: readonly Uint8Array[]
  /** A trailing slash demands a directory and follows a final symlink. */
  readonly mustBeDirectory: boolean
}

export function isDot(name: Uint8Array): boolean {
  return name.length === 1 && name[0] === DOT
}

export function isDotDot(name: Uint8Array): boolean {
  return name.length === 2 && name[0] === DOT && name[1] === DOT
}

/** Splits at slashes. The empty path is `ENOENT`, as for every system call; a NUL byte is `EINVAL`. */
export function splitPath(path: GuestPath): SplitPath {
  const bytes = toBytes(path)
  if (bytes.length === 0) throw new DrydiskError('ENOENT', 'an empty path names nothing', { path: '' })
  if (bytes.includes(0))
    throw new DrydiskError('EINVAL', `${printable(bytes)}: a path cannot hold a NUL byte`, {
      path: printable(bytes),
    })
  const names: Uint8Array[] = []
  let start = 0
  for (;;) {
    const slash = bytes.indexOf(SLASH, start)
    const end = slash < 0 ? bytes.length : slash
    if (end > start) names.push(bytes.subarray(start, end))
    if (slash < 0) break
    start = slash + 1
  }
  return { names, mustBeDirectory: bytes[bytes.length - 1] === SLASH }
}

/** An absolute path of the names; `/` for none. */
export function joinNames(names: readonly Uint8Array[]): Uint8Array {
  if (names.length === 0) return new Uint8Array([SLASH])
  const out = new Uint8Array(names.reduce((sum, name) => sum + name.length + 1, 0))
  let at = 0
  for (const name of names) {
    out[at] = SLASH
    out.set(name, at + 1)
    at += name.length + 1
  }
  return out
}

/** `directory` and one more name. */
export function childPath(directory: GuestPath, name: GuestPath): Uint8Array {
  return joinNames([...splitPath(directory).names, toBytes(name)])
}

/** The path as `context.path` carries it: the text itself, or escaped where the bytes are not UTF-8. */
export function pathText(path: GuestPath): string {
  const bytes = toBytes(path)
  return decodeUtf8(bytes) ?? printable(bytes)
}

const WORDS: Partial<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  ENOTDIR: 'a part of the path is not a directory',
  EISDIR: 'is a directory',
  EEXIST: 'exists already',
  ENOTEMPTY: 'the directory is not empty',
  ELOOP: 'more than 40 symlinks on the way',
  EROFS: 'opened for reading only',
  EXDEV: 'source and target are on different filesystems',
  EBUSY: 'a filesystem is mounted there',
}

/** Runs a step on a path; an error of the filesystem below comes back with the path in message and context. */
export async function atPath<T>(path: GuestPath, step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (error) {
    throw pathError(path, error)
  }
}

export function pathError(path: GuestPath, error: unknown): unknown {
  if (!isDrydiskError(error) || error.context.path !== undefined) return error
  const words = WORDS[error.code] ?? error.message
  return new DrydiskError(
    error.code,
    `${printable(path)}: ${words}`,
    { ...error.context, path: pathText(path) },
    error,
  )
}
