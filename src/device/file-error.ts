import { DrydiskError, type PosixCode } from '../errors.ts'
import { shownPlace } from './shown-place.ts'

const MEANINGS: Readonly<Record<string, readonly [PosixCode, string]>> = {
  EACCES: ['EACCES', 'permission denied'],
  EPERM: ['EPERM', 'operation not permitted'],
  ENOENT: ['ENOENT', 'no such file'],
  ENOTDIR: ['ENOTDIR', 'a part of the path is not a folder'],
  EISDIR: ['EISDIR', 'is a folder, not a file'],
  EEXIST: ['EEXIST', 'exists already'],
  EROFS: ['EROFS', 'lies on a read-only filesystem'],
  ENOSPC: ['ENOSPC', 'no space left where it lies'],
  EDQUOT: ['ENOSPC', 'the disk quota where it lies is used up'],
  EFBIG: ['EFBIG', 'would grow beyond what its filesystem or the process limit allows'],
  EIO: ['EIO', 'input/output error'],
  EBUSY: ['EBUSY', 'device or resource busy'],
  ETXTBSY: ['EBUSY', 'is being executed'],
  ELOOP: ['ELOOP', 'too many symbolic links'],
  ENAMETOOLONG: ['ENAMETOOLONG', 'name too long'],
  EINVAL: ['EINVAL', 'invalid argument'],
}

/** What other jobs take for an image on a server, and node:fs for a path. */
const ON_A_SERVER = /^(https?|nbds?(\+\w+)?):/i

/** What node:fs threw, in a few words without the path; what comes from elsewhere as it is. */
export function fileProblem(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return MEANINGS[code]?.[1] ?? (error instanceof Error ? error.message : String(error))
}

/** What node:fs threw, as a DrydiskError with the POSIX code; anything else becomes `EIO`. */
export function fileError(error: unknown, path: string, action: string): DrydiskError {
  if (error instanceof DrydiskError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const [posix, meaning] = MEANINGS[code] ?? (['EIO', String(error)] as const)
  const why =
    posix === 'ENOENT' && ON_A_SERVER.test(path)
      ? 'only a file of this machine can be worked on here. Bring it here first: drydisk convert'
      : meaning
  const shown = shownPlace(path)
  // The cause repeats the path.
  const cause = shown === path ? error : undefined
  // A filesystem in an image can be full too, and has paths as well.
  const context = posix === 'ENOSPC' ? { path: shown, full: 'host' } : { path: shown }
  return new DrydiskError(posix, `cannot ${action} ${shown}: ${why}`, context, cause)
}
