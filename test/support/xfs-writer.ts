import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { createInodeAllocator } from '../../src/filesystem/xfs/inode-space/inode-allocator.ts'
import { Inodes } from '../../src/filesystem/xfs/inodes.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { createSpace } from '../../src/filesystem/xfs/space/space.ts'
import { XfsVolume } from '../../src/filesystem/xfs/volume.ts'
import type { Space, XfsWriter } from '../../src/filesystem/xfs/writer.ts'

/** What writes an image whose log is clean, without the rest of the filesystem; what changed is written at the end. */
export async function withXfsWriter<Result>(
  image: string,
  use: (writer: XfsWriter) => Promise<Result>,
  wrap: (space: Space) => Space = space => space,
): Promise<Result> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  try {
    const writer = await xfsWriter(device, wrap)
    const result = await use(writer)
    await writer.volume.buffers.flush()
    return result
  } finally {
    await device.close()
  }
}

export async function xfsWriter(
  device: BlockDevice,
  wrap: (space: Space) => Space = space => space,
): Promise<XfsWriter> {
  const volume = new XfsVolume(device, await readSuperblock(device))
  const inodes = new Inodes(volume)
  const space = wrap(createSpace(volume))
  const now = () => 1_700_000_000_000_000_000n
  return { volume, inodes, space, inodeAllocator: createInodeAllocator(volume, inodes, space, now), now }
}

/** Gives less in a row than is there, so that files come in many pieces. */
export function stingy(pieces: () => number): (space: Space) => Space {
  return space => ({
    allocate: request => {
      const most = Math.max(request.least ?? 1, pieces())
      return space.allocate({ ...request, wanted: Math.min(request.wanted, most) })
    },
    free: (extent, owner) => space.free(extent, owner),
    freeAll: owned => space.freeAll(owned),
    firstShared: extent => space.firstShared(extent),
    convert: (extent, owner) => space.convert(extent, owner),
    freeBlocks: () => space.freeBlocks(),
  })
}

/** Gives one block at a time, from all over a small image, so that no extent continues another. */
export function scattered(seed: number): (space: Space) => Space {
  let state = seed + 1
  return space => ({
    ...stingy(() => 1)(space),
    allocate: request => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31
      const goal = state % 1000
      return space.allocate({ ...request, wanted: request.least ?? 1, goal })
    },
  })
}
