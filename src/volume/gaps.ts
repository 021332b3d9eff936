import { type Range, RangeSet } from '../bytes/range-set.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { type GptHeader, parseGptHeader } from './gpt-header.ts'
import { MBR_SIZE, parseMbr, TYPE_PROTECTIVE } from './mbr.ts'
import type { VolumeList } from './volume.ts'

/**
 * Kept at both ends, whatever the table says: boot loaders lie before the first partition (GRUB's core.img from sector 1,
 * U-Boot at 8 KiB and later), and at the end what a table does not name (RAID of a BIOS, the LDM database of Windows).
 */
const KEPT_AT_EDGES = 1 << 20
const SECTOR = 512
/** Windows keeps the volumes of a dynamic disk in a database of its own, and on MBR disks in space that no entry claims. */
const TYPE_LDM = '42'
const LDM_GUIDS = ['5808c8aa-7e8f-42e0-85d2-e1e90434cfb3', 'af9b60a0-1431-4f62-bc68-3311714a69ad']

/**
 * Space between partitions, and behind the last one, that nobody owns; in order, as bytes of the disk.
 *
 * Everything up to the first partition is owned by boot loaders; an extended partition is owned whole, because its chain of
 * boot records runs through it; entries of a hybrid MBR own what they name. Without a table, and with one that anything is
 * wrong with, nobody knows: no gaps.
 */
export async function unownedGaps(disk: BlockDevice, list: VolumeList): Promise<Range[]> {
  if (list.table === 'none' || list.warnings.length > 0 || disk.size < 2 * KEPT_AT_EDGES) return []
  if (list.volumes.some(({ type }) => type === TYPE_LDM || LDM_GUIDS.includes(type))) return []
  const usable =
    list.table === 'gpt' ? await usableByGpt(disk, list.sectorSize) : { start: 0, end: disk.size }
  const owned = new RangeSet()
  for (const { offset, length } of list.volumes) if (offset !== undefined) owned.add(offset, offset + length)
  const sector = new Uint8Array(MBR_SIZE)
  await disk.read(0, sector)
  for (const { os_type, starting_lba, size_in_lba } of parseMbr(sector)?.entries ?? [])
    if (os_type !== TYPE_PROTECTIVE) owned.add(starting_lba * SECTOR, (starting_lba + size_in_lba) * SECTOR)
  const [first] = owned.ranges()
  if (first === undefined || usable === undefined) return []
  const start = Math.max(usable.start, first.start, KEPT_AT_EDGES)
  const end = Math.min(usable.end, disk.size - KEPT_AT_EDGES)
  if (end <= start) return []
  return [...owned.segments(start, end)]
    .filter(({ inside }) => !inside)
    .map(({ start, end }) => ({ start, end }))
}

/** What a GPT says is for partitions: both its copies lie outside. `undefined` where they do not. */
async function usableByGpt(disk: BlockDevice, sectorSize: number): Promise<Range | undefined> {
  const sector = new Uint8Array(sectorSize)
  await disk.read(sectorSize, sector)
  const header = parseGptHeader(sector, 1, Math.floor(disk.size / sectorSize))
  if (typeof header === 'string') return undefined
  const backup = new Uint8Array(sectorSize)
  await disk.read(header.AlternateLBA * sectorSize, backup)
  const second = parseGptHeader(backup, header.AlternateLBA, Math.floor(disk.size / sectorSize))
  if (typeof second === 'string') return undefined
  for (const copy of [header, second])
    if (
      inUsable(header, copy.MyLBA, 1) ||
      inUsable(header, copy.PartitionEntryLBA, arraySectors(copy, sectorSize))
    )
      return undefined
  return { start: header.FirstUsableLBA * sectorSize, end: (header.LastUsableLBA + 1) * sectorSize }
}

function arraySectors(header: GptHeader, sectorSize: number): number {
  return Math.ceil((header.NumberOfPartitionEntries * header.SizeOfPartitionEntry) / sectorSize)
}

function inUsable(header: GptHeader, sector: number, count: number): boolean {
  return sector <= header.LastUsableLBA && sector + count > header.FirstUsableLBA
}
