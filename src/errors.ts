/** Codes that POSIX has a name for, as node:fs uses them. */
export type PosixCode =
  | 'EACCES'
  | 'EBUSY'
  | 'EEXIST'
  | 'EFBIG'
  | 'EINVAL'
  | 'EIO'
  | 'EISDIR'
  | 'ELOOP'
  | 'EMLINK'
  | 'ENAMETOOLONG'
  | 'ENODATA'
  | 'ENOENT'
  | 'ENOSPC'
  | 'ENOTDIR'
  | 'ENOTEMPTY'
  | 'ENOTSUP'
  | 'EPERM'
  | 'ERANGE'
  | 'EROFS'
  | 'EXDEV'

/** Codes for what POSIX has no name for. */
export type DrydiskCode =
  /** An on-disk structure contradicts itself or what holds it. */
  | 'ERR_CORRUPT'
  /** Valid, but a feature that drydisk does not read or write; the message names it. */
  | 'ERR_UNSUPPORTED'
  /** Held by a running virtual machine or by another drydisk. */
  | 'ERR_IN_USE'
  /** The caller asked for something that has no meaning. */
  | 'ERR_INVALID_ARGUMENT'
  /** The edit was made, but something that drydisk cannot change still decides the value. */
  | 'ERR_NOT_EFFECTIVE'
  /** A file that the image refers to lies outside what the caller allows. */
  | 'ERR_NOT_ALLOWED'
  /** Stopped by an AbortSignal. */
  | 'ERR_ABORTED'

/** What `DrydiskError.code` is. */
export type ErrorCode = PosixCode | DrydiskCode

/** Where an error was met: path, structure, inode, cluster, byte offset, … */
export type ErrorContext = Readonly<Record<string, string | number | bigint | boolean | undefined>>

/**
 * The one error class. The message says what was found, what was expected and, where there is
 * something to do, what the user can do.
 */
export class DrydiskError extends Error {
  override readonly name = 'DrydiskError'
  readonly code: ErrorCode
  readonly context: ErrorContext

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.context = context
  }
}

/** Narrows an unknown thrown value to a DrydiskError with one of the given codes (any, if none given). */
export function isDrydiskError(error: unknown, ...codes: ErrorCode[]): error is DrydiskError {
  return error instanceof DrydiskError && (codes.length === 0 || codes.includes(error.code))
}
