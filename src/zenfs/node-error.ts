import { DrydiskError, type ErrorCode, isDrydiskError } from '../errors.ts'

/** What node:fs has no code for, by the code that Linux gives in such a case. */
function posixCode(code: ErrorCode): string {
  switch (code) {
    case 'ERR_CORRUPT':
      return 'EIO'
    case 'ERR_UNSUPPORTED':
    case 'ERR_NOT_EFFECTIVE':
      return 'ENOTSUP'
    case 'ERR_IN_USE':
      return 'EBUSY'
    case 'ERR_INVALID_ARGUMENT':
      return 'EINVAL'
    case 'ERR_NOT_ALLOWED':
      return 'EACCES'
    case 'ERR_ABORTED':
      return 'ECANCELED'
    default:
      return code
  }
}

/** An error as code for node:fs expects it: `code` is POSIX, `path` the one that was asked for; the cause is drydisk's error. */
export function nodeError(error: unknown, path: string): unknown {
  if (!isDrydiskError(error)) return error
  const code = posixCode(error.code)
  return Object.assign(new Error(`${code}: ${error.message}`, { cause: error }), { code, path })
}

/** The bytes of an image are only had by promises, and a promise cannot be waited for in a synchronous call. */
export function noSync(name: string): never {
  const message = `ENOSYS: ${name}Sync: a disk image has no synchronous calls; use fs.promises`
  throw Object.assign(new Error(message, { cause: new DrydiskError('ENOTSUP', message) }), { code: 'ENOSYS' })
}
