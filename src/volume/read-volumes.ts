import type { BlockDevice } from '../device/block-device.ts'
import { readVolumeGroups } from './lvm/read-groups.ts'
import { looksPartitioned, MBR_SIZE, parseMbr } from './mbr.ts'
import { placePartitions, volumeAt } from './place-partition.ts'
import { readGpt } from './read-gpt.ts'
import { readMbrPartitions } from './read-mbr.ts'
import { DISK_NAME, type VolumeList } from './volume.ts'

/**
 * What is on a disk, as Linux would find it: the partitions of its GPT or MBR, or the disk itself, and the logical volumes of LVM2 on
 * them.
 * Errors: `ERR_CORRUPT` for a GPT of which neither copy is usable.
 */
export async function readVolumes(disk: BlockDevice): Promise<VolumeList> {
  const warnings: string[] = []
  const table = await readTable(disk, warnings)
  const { groups, volumes } = await readVolumeGroups(table.volumes, warnings)
  return { ...table, volumes: [...table.volumes, ...volumes], groups, warnings }
}

async function readTable(
  disk: BlockDevice,
  warnings: string[],
): Promise<Omit<VolumeList, 'groups' | 'warnings'>> {
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
    }
  if (mbr !== undefined && looksPartitioned(mbr))
    return {
      table: 'mbr',
      sectorSize: 512,
      diskId: mbr.unique_mbr_signature.toString(16).padStart(8, '0'),
      volumes: placePartitions(disk, await readMbrPartitions(disk, mbr, warnings), warnings),
    }
  const whole = volumeAt(disk, {
    kind: 'disk',
    name: DISK_NAME,
    number: 0,
    type: '',
    typeName: '',
    label: '',
    uuid: '',
    offset: 0,
    length: disk.size,
  })
  return { table: 'none', sectorSize: 512, diskId: '', volumes: [whole] }
}
