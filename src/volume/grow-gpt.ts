import { littleEndian } from '../bytes/byte-view.ts'
import { crc32 } from '../bytes/crc32.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError } from '../errors.ts'
import { parseGptEntry } from './gpt-entry.ts'
import { hasGptSignature } from './gpt-header.ts'
import { MBR_SIZE, parseMbr, protectWhole } from './mbr.ts'
import { grownLength, type PartitionGrowth } from './partition-room.ts'
import { GPT_SECTOR_SIZES, type GptCopy, readGptCopy } from './read-gpt.ts'
import { DISK_NAME } from './volume.ts'

/** Fields of header and entry that change (UEFI, tables 5.5 and 5.6). */
const HEADER = { size: 12, crc: 16, myLba: 24, alternate: 32, lastUsable: 48, entries: 72, entriesCrc: 88 }
const ENDING_LBA = 40

interface Found {
  readonly copy: GptCopy
  readonly sectorSize: number
  readonly sectors: number
}

export async function growGptPartition(disk: BlockDevice, number: number): Promise<PartitionGrowth> {
  const found = await readPrimary(disk)
  const { copy, sectorSize, sectors } = found
  const { header, entries } = copy
  const arraySectors = Math.ceil(entries.length / sectorSize)
  // On a disk that did not change, the table may keep its end free on purpose.
  const moved = header.AlternateLBA !== sectors - 1
  const lastUsable = moved ? sectors - 2 - arraySectors : header.LastUsableLBA

  const at = (number - 1) * header.SizeOfPartitionEntry
  const entry = parseGptEntry(entries.subarray(at, at + header.SizeOfPartitionEntry))
  if (entry === undefined)
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `the GPT has no partition ${number}`)
  const { StartingLBA: start, EndingLBA } = entry
  let end = lastUsable + 1
  let limit = 'the disk ends'
  for (let index = 0; index < header.NumberOfPartitionEntries; index++) {
    const place = index * header.SizeOfPartitionEntry
    const other = parseGptEntry(entries.subarray(place, place + header.SizeOfPartitionEntry))
    if (other === undefined || index === number - 1) continue
    if (other.EndingLBA >= start && other.StartingLBA < end) {
      end = other.StartingLBA
      limit = `${DISK_NAME}${index + 1} begins`
    }
  }
  const length = EndingLBA - start + 1
  const after = grownLength({ start, length, end, limit }, sectorSize)
  if (after > length) {
    littleEndian(entries, 'GPT entries').setU64(at + ENDING_LBA, start + after - 1)
    await writeTable(disk, found, lastUsable)
  }
  return { before: length * sectorSize, after: after * sectorSize, limit }
}

async function readPrimary(disk: BlockDevice): Promise<Found> {
  const problems: string[] = []
  for (const sectorSize of GPT_SECTOR_SIZES) {
    const sectors = Math.floor(disk.size / sectorSize)
    const copy = await readGptCopy(disk, sectorSize, 1, sectors)
    if (typeof copy !== 'string') return { copy, sectorSize, sectors }
    problems.push(copy)
  }
  throw new DrydiskError(
    'ERR_CORRUPT',
    `the first copy of the GPT is damaged: ${problems[0]}. It is not changed before it is mended ("sgdisk --verify" tells how)`,
    { structure: 'GPT' },
  )
}

/** The backup first, and the primary header last: at every instant one of the two is whole. */
async function writeTable(
  disk: BlockDevice,
  { copy, sectorSize, sectors }: Found,
  lastUsable: number,
): Promise<void> {
  const { header, entries } = copy
  const backupLba = sectors - 1
  const backupArray = backupLba - Math.ceil(entries.length / sectorSize)
  const primary = new Uint8Array(sectorSize)
  await disk.read(sectorSize, primary)
  const seal = (sector: Uint8Array, myLba: number, alternate: number, array: number): Uint8Array => {
    const view = littleEndian(sector, 'GPT header')
    view.setU64(HEADER.myLba, myLba)
    view.setU64(HEADER.alternate, alternate)
    view.setU64(HEADER.lastUsable, lastUsable)
    view.setU64(HEADER.entries, array)
    view.setU32(HEADER.entriesCrc, crc32(entries))
    view.setU32(HEADER.crc, 0)
    view.setU32(HEADER.crc, crc32(view.slice(0, view.u32(HEADER.size))))
    return sector
  }
  if (backupArray <= lastUsable)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `the GPT says that sectors up to ${lastUsable} are usable, and its backup begins at ${backupArray}`,
      { structure: 'GPT' },
    )
  await disk.write(backupArray * sectorSize, entries)
  await disk.write(backupLba * sectorSize, seal(primary.slice(), backupLba, 1, backupArray))
  await disk.flush()
  await disk.write(header.PartitionEntryLBA * sectorSize, entries)
  await disk.write(sectorSize, seal(primary, 1, backupLba, header.PartitionEntryLBA))
  await protect(disk, sectors)
  await eraseOldBackup(disk, sectorSize, header.AlternateLBA, header.LastUsableLBA, sectors)
}

/** The protective MBR covers the disk as it is now. One that also lists partitions of its own is left alone. */
async function protect(disk: BlockDevice, sectors: number): Promise<void> {
  const sector = new Uint8Array(MBR_SIZE)
  await disk.read(0, sector)
  const mbr = parseMbr(sector)
  if (mbr !== undefined && protectWhole(sector, sectors)) await disk.write(0, sector)
}

/** A header in the middle of a partition could be taken for one that counts. */
async function eraseOldBackup(
  disk: BlockDevice,
  sectorSize: number,
  lba: number,
  lastUsable: number,
  sectors: number,
): Promise<void> {
  if (!(lba > lastUsable && lba < sectors - 1)) return
  const sector = new Uint8Array(sectorSize)
  await disk.read(lba * sectorSize, sector)
  if (hasGptSignature(sector)) await disk.write(lba * sectorSize, sector.fill(0))
}
