import { AG_SECTOR } from '../ag-header.ts'
import { corrupt } from '../errors.ts'
import type { FsBlock } from '../geometry.ts'
import type { XfsVolume } from '../volume.ts'

/**
 * `ERR_CORRUPT` unless an extent's blocks exist in one allocation group, and none is where no file can be: in the headers of
 * the group, or in the log. A forged extent must not let these be overwritten or freed.
 */
export function requireFileBlocks(volume: XfsVolume, ino: number, start: FsBlock, count: number): void {
  const { geometry, superblock } = volume
  const wrong = (what: string) =>
    corrupt('extent', `inode ${ino} has an extent of ${count} blocks from ${start}, which ${what}`, {
      inode: ino,
    })
  if (!geometry.isRun(start, count)) throw wrong('do not exist')
  const headers = Math.ceil(((AG_SECTOR.AGFL + 1) * superblock.sb_sectsize) / superblock.sb_blocksize)
  if (geometry.agBlockOf(start) < headers) throw wrong('are headers of their allocation group')
  const { sb_logstart, sb_logblocks } = superblock
  if (sb_logstart !== 0 && start < sb_logstart + sb_logblocks && sb_logstart < start + count)
    throw wrong('are in the log')
}
