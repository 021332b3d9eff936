import type { BlockDevice } from '../../../device/block-device.ts'
import { createWriter } from '../create-writer.ts'
import { readSuperblock } from '../read-superblock.ts'
import { XfsVolume } from '../volume.ts'
import { finishIntents } from './finish-intents.ts'
import type { OpenIntent } from './intents.ts'

/** Carries out what a replayed log leaves, on the device with the replay. Where that fails, the device is as it was. */
export async function finishOver(device: BlockDevice, intents: readonly OpenIntent[]): Promise<void> {
  const volume = new XfsVolume(device, await readSuperblock(device))
  await finishIntents(createWriter(volume), intents)
  await volume.buffers.flush()
}
