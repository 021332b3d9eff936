import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError } from '../errors.ts'
import { growGptPartition } from './grow-gpt.ts'
import { growMbrPartition } from './grow-mbr.ts'
import type { PartitionGrowth } from './partition-room.ts'
import { DISK_NAME, type VolumeList } from './volume.ts'

export type { PartitionGrowth } from './partition-room.ts'

/**
 * Makes a partition as long as the room behind it allows, up to the next one or the end of the disk, as growpart(1) does. A GPT's
 * backup is moved to the end of a disk that became larger. The partition's beginning, its number, its identity and what it holds stay.
 * `ERR_CORRUPT` for a GPT whose first copy is damaged, `ERR_UNSUPPORTED` for a logical partition of an MBR.
 * @param list what `readVolumes` found on the disk.
 */
export async function growPartition(
  disk: BlockDevice,
  list: Pick<VolumeList, 'table' | 'volumes'>,
  number: number,
): Promise<PartitionGrowth> {
  const found = list.volumes.find(volume => volume.kind === 'partition' && volume.number === number)
  if (found === undefined)
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `there is no partition ${DISK_NAME}${number}`)
  return list.table === 'gpt' ? growGptPartition(disk, number) : growMbrPartition(disk, number)
}
