import type { Inodes } from './inodes.ts'
import type { XfsVolume } from './volume.ts'

/** Runs one change of the filesystem. Where it fails, the metadata is as before it: the change did not happen. */
export async function inTransaction<T>(
  { volume, inodes }: { readonly volume: XfsVolume; readonly inodes: Inodes },
  work: () => Promise<T>,
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
