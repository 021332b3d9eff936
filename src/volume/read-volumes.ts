import type { BlockDevice } from '../device/block-device.ts'
import { SliceDevice } from '../device/slice-device.ts'
import { looksPartitioned, MBR_SIZE, parseMbr } from './mbr.ts'
import { placePartitions } from './place-partition.ts'
import { readGpt } from './read-gpt.ts'
import { readMbrPartitions } from './read-mbr.ts'
import { DISK_NAME, type VolumeList } from './volume.ts'

/**
 * What is on a disk, as Linux would find it: the partitions of its GPT or MBR, or the disk itself.
 * Errors: `ERR_CORRUPT` for a GPT of which neither copy is usable.
 */
export async function readVolumes(disk: BlockDevice): Promise<VolumeList> {
  const warnings: string[] = []
  const sector = new Uint8Array(MBR_SIZE)
  if (disk.size >= MBR_SIZE) await disk.read(0, sector)
  const mbr = parseMbr(sector)
  const gpt = await readGpt(disk, mbr, warnings)
  if (gpt !== undefined)
    return {
      table: 'gpt',
      sectorSize: gpt.sectorSize,
      diskId: gpt.diskGuid,
      volumes: placePartitions(disk, gpt.partitions, warnings),
      warnings,
    }
  if (mbr !== undefined && looksPartitioned(mbr))
    return {
      table: 'mbr',
      sectorSize: 512,
      diskId: mbr.unique_mbr_signature.toString(16).padStart(8, '0'),
      volumes: placePartitions(disk, await readMbrPartitions(disk, mbr, warnings), warnings),
      warnings,
    }
  const whole = {
    device: new SliceDevice(disk, 0, disk.size),
    name: DISK_NAME,
    number: 0,
    type: '',
    typeName: '',
    label: '',
    uuid: '',
    offset: 0,
    length: disk.size,
  }
  return { table: 'none', sectorSize: 512, diskId: '', volumes: [whole], warnings }
}
