import { statfsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import { humanSize } from './output.ts'

/**
 * Runs a step that makes a file; where there is no room for it, the error says how much there is and how much it takes.
 * @param path of the file.
 * @param needed bytes that the file takes at most, or a way to find out when the step has failed; `undefined` when nobody knows.
 */
export async function withDiskFull<T>(
  path: string,
  needed: number | undefined | (() => Promise<number>),
  step: () => Promise<T>,
): Promise<T> {
  const before = await stat(path).catch(() => undefined)
  try {
    return await step()
  } catch (error) {
    // What counts already is not as it was.
    if (!isDrydiskError(error, 'ENOSPC', 'EFBIG') || error.context.published === true) throw error
    const bytes = typeof needed === 'function' ? await needed() : needed
    const wants = bytes === undefined ? '' : `; up to ${humanSize(bytes)} are needed`
    const left = before === undefined ? 'Nothing is left of it' : `${path} is as it was`
    if (error.code === 'EFBIG')
      throw new DrydiskError(
        'EFBIG',
        `cannot write ${path}: it would grow beyond what its filesystem or the limit of this process (ulimit -f) allows${wants}. ${left}`,
        { ...error.context, path, needed: bytes },
        error,
      )
    // Looked at when what was written is gone again: this is what there is to write to.
    const free = freeSpace(path)
    const has = free === undefined ? '' : `: ${humanSize(free)} are free there`
    throw new DrydiskError(
      'ENOSPC',
      `cannot write ${path}: no space left where it lies${has}${wants}. ${left}`,
      { ...error.context, path, free, needed: bytes },
      error,
    )
  }
}

/** Bytes that may be written where a file of the host lies; `undefined` where that cannot be found out. */
export function freeSpace(path: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(dirname(resolve(path)))
    return bavail * bsize
  } catch {
    return undefined
  }
}
