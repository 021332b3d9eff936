import type { BlockDevice } from '../../device/block-device.ts'
import { corrupt } from './errors.ts'
import { parseSuperblock, SUPERBLOCK_SIZE, type Superblock, superblockSectorSize } from './superblock.ts'

/** The first sector of the volume: copies in the other allocation groups are not kept up to date. `ERR_CORRUPT`, `ERR_UNSUPPORTED`. */
export async function readSuperblock(device: BlockDevice): Promise<Superblock> {
  const read = async (length: number): Promise<Uint8Array> => {
    if (device.size < length) throw corrupt('superblock', `the volume has ${device.size} bytes`)
    const bytes = new Uint8Array(length)
    await device.read(0, bytes)
    return bytes
  }
  const superblock = parseSuperblock(await read(superblockSectorSize(await read(SUPERBLOCK_SIZE))))
  const { sb_dblocks, sb_blocksize } = superblock
  // Linux does not mount it either, not even for reading.
  if (sb_dblocks * sb_blocksize > device.size)
    throw corrupt(
      'superblock',
      `the filesystem takes ${sb_dblocks * sb_blocksize} bytes and its volume has ${device.size}: it was cut off`,
    )
  return superblock
}
