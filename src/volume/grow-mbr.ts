import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError } from '../errors.ts'
import { isExtended, MBR_SIZE, parseMbr, setEntryLength } from './mbr.ts'
import { grownLength, type PartitionGrowth } from './partition-room.ts'
import { DISK_NAME } from './volume.ts'

const SECTOR = 512
const MOST_SECTORS = 0xffff_ffff
/** growpart(1) leaves room for the backup of a GPT, which an MBR can then be made into. */
const GPT_BACKUP = 33

export async function growMbrPartition(disk: BlockDevice, number: number): Promise<PartitionGrowth> {
  const sector = new Uint8Array(MBR_SIZE)
  await disk.read(0, sector)
  const mbr = parseMbr(sector)
  const entry = mbr?.entries[number - 1]
  if (mbr === undefined || entry === undefined || isExtended(entry.os_type))
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${DISK_NAME}${number} is ${entry === undefined ? 'a logical' : 'an extended'} partition of an MBR, which drydisk does not make longer`,
      { partition: number },
    )
  const { starting_lba: start, size_in_lba: length } = entry
  let end = Math.floor(disk.size / SECTOR) - GPT_BACKUP
  let limit = 'the disk ends'
  if (end > start + MOST_SECTORS) {
    end = start + MOST_SECTORS
    limit = 'no MBR can say more, at 2 TiB'
  }
  for (const [index, other] of mbr.entries.entries()) {
    if (index === number - 1 || other.os_type === 0 || other.size_in_lba === 0) continue
    if (other.starting_lba + other.size_in_lba > start && other.starting_lba < end) {
      end = other.starting_lba
      limit = `${DISK_NAME}${index + 1} begins`
    }
  }
  const after = grownLength({ start, length, end, limit }, SECTOR)
  if (after > length) {
    setEntryLength(sector, number - 1, after)
    await disk.write(0, sector)
  }
  return { before: length * SECTOR, after: after * SECTOR, limit }
}
