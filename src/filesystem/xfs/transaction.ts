import { isDrydiskError } from '../../errors.ts'
import type { Inodes } from './inodes.ts'
import type { Soon } from './soon.ts'
import type { XfsVolume } from './volume.ts'

/** Runs one change of the filesystem. Where it fails, the metadata is as before it: the change did not happen. */
export async function inTransaction<T>(
  { volume, inodes }: { readonly volume: XfsVolume; readonly inodes: Inodes },
  work: () => Soon<T>,
): Promise<T> {
  const { buffers } = volume
  buffers.begin()
  try {
    const result = await work()
    buffers.end()
    return result
  } catch (error) {
    buffers.rollback()
    inodes.forgetAll()
    throw error
  }
}

/**
 * Runs a part of a transaction that there may be no space for: then its changes alone are taken back, and the rest goes on.
 * @returns `undefined` where it ended with `ENOSPC`; other errors go through.
 */
export async function attempt<T>(
  { volume, inodes }: { readonly volume: XfsVolume; readonly inodes: Inodes },
  work: () => Soon<T>,
): Promise<T | undefined> {
  const { buffers } = volume
  buffers.beginPart()
  try {
    const result = await work()
    buffers.end()
    return result
  } catch (error) {
    buffers.rollback()
    inodes.forgetAll()
    if (!isDrydiskError(error, 'ENOSPC')) throw error
    return undefined
  }
}
