import type { Timestamp } from '../filesystem.ts'
import { createInodeAllocator } from './inode-space/inode-allocator.ts'
import { Inodes } from './inodes.ts'
import { createSpace, type XfsSpace } from './space/space.ts'
import type { XfsVolume } from './volume.ts'
import type { XfsWriter } from './writer.ts'

/** The parts that write a filesystem, with what finishing a log needs of its space besides. */
export interface VolumeWriter extends XfsWriter {
  readonly space: XfsSpace
}

/**
 * Puts together what writes a volume. There is to be one at a time.
 * @param now the clock for times in inodes; the system's when left out.
 */
export function createWriter(
  volume: XfsVolume,
  inodes = new Inodes(volume),
  now: () => Timestamp = systemTime,
): VolumeWriter {
  const space = createSpace(volume)
  return { volume, inodes, space, inodeAllocator: createInodeAllocator(volume, inodes, space, now), now }
}

function systemTime(): Timestamp {
  return BigInt(Date.now()) * 1_000_000n
}
