import type { XfsVolume } from '../volume.ts'
import { XfsSpace } from './space.ts'

/**
 * Frees what copy-on-write had allocated when Linux crashed and no file got, as a mount does (xfs_reflink_recover_cow). For a
 * writable open, when the log is home. In a transaction.
 * @returns blocks freed.
 */
export async function recoverCow({ volume }: { readonly volume: XfsVolume }): Promise<number> {
  if (!volume.superblock.hasReflink) return 0
  const space = new XfsSpace(volume)
  let blocks = 0
  for (let agno = 0; agno < volume.geometry.agCount; agno++) blocks += await space.freeStaging(agno)
  return blocks
}
