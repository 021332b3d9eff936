import type { BlockDevice } from '../../../device/block-device.ts'
import { createInodeAllocator } from '../inode-space/inode-allocator.ts'
import { Inodes } from '../inodes.ts'
import { readSuperblock } from '../read-superblock.ts'
import { createSpace } from '../space/space.ts'
import { XfsVolume } from '../volume.ts'
import { finishIntents } from './finish-intents.ts'
import type { OpenIntent } from './intents.ts'

/** Carries out what a replayed log leaves, on the device with the replay. Where that fails, the device is as it was. */
export async function finishOver(device: BlockDevice, intents: readonly OpenIntent[]): Promise<void> {
  const volume = new XfsVolume(device, await readSuperblock(device))
  const inodes = new Inodes(volume)
  const space = createSpace(volume)
  const now = () => BigInt(Date.now()) * 1_000_000n
  const inodeAllocator = createInodeAllocator(volume, inodes, space, now)
  await finishIntents({ volume, inodes, space, inodeAllocator, now }, intents)
  await volume.buffers.flush()
}
