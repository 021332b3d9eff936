import { crc32 } from '../bytes/crc32.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError } from '../errors.ts'
import { parseGptEntry } from './gpt-entry.ts'
import { type GptHeader, hasGptSignature, parseGptHeader } from './gpt-header.ts'
import type { Mbr } from './mbr.ts'
import { TYPE_PROTECTIVE } from './mbr.ts'
import { gptTypeName } from './partition-types.ts'
import type { TableEntry } from './place-partition.ts'
import { DISK_NAME } from './volume.ts'

export interface Gpt {
  readonly sectorSize: number
  readonly diskGuid: string
  readonly partitions: readonly TableEntry[]
}

/** Nothing on an image says which it is. */
export const GPT_SECTOR_SIZES = [512, 4096] as const

/** One of a GPT's two copies, whole. */
export interface GptCopy {
  readonly header: GptHeader
  readonly entries: Uint8Array
}

/**
 * Reads a GPT, from its backup where the first copy is damaged.
 *
 * As the kernel does, a GPT counts only under an MBR that announces it (an entry of type 0xEE): a disk that was given
 * another table or a filesystem since may keep an old GPT at its end. A whole first copy under an empty first sector is
 * believed too: nothing else can be there.
 * @returns `undefined` when there is none.
 * Errors: `ERR_CORRUPT` when one is announced and neither copy is usable.
 */
export async function readGpt(
  disk: BlockDevice,
  mbr: Mbr | undefined,
  warnings: string[],
): Promise<Gpt | undefined> {
  const announced = mbr?.entries.find(entry => entry.os_type === TYPE_PROTECTIVE)
  if (announced === undefined && mbr !== undefined) {
    // A GPT that another table or a filesystem replaced.
    if (await hasSignature(disk, 512, 1))
      warnings.push(
        `${DISK_NAME} has a GPT that its MBR does not announce; the GPT is ignored, as the kernel does.`,
      )
    return undefined
  }
  const problems: string[] = []
  for (const sectorSize of GPT_SECTOR_SIZES) {
    const sectors = Math.floor(disk.size / sectorSize)
    if (sectors < 3) continue
    const primary = await readGptCopy(disk, sectorSize, 1, sectors)
    if (typeof primary === 'string') {
      if (await hasSignature(disk, sectorSize, 1))
        problems.push(`The first GPT header is damaged: ${primary}.`)
      continue
    }
    if (announced === undefined)
      warnings.push(`${DISK_NAME} has a GPT but no protective MBR; the kernel would not find it.`)
    const backup = await readGptCopy(disk, sectorSize, primary.header.AlternateLBA, sectors)
    if (typeof backup === 'string') warnings.push(`The backup GPT of ${DISK_NAME} is damaged: ${backup}.`)
    else if (primary.header.AlternateLBA !== sectors - 1)
      warnings.push(
        `The backup GPT of ${DISK_NAME} is not at the end of the disk (was the image made larger?).`,
      )
    return describe(sectorSize, primary, warnings)
  }
  if (announced === undefined) return undefined
  for (const sectorSize of GPT_SECTOR_SIZES) {
    const sectors = Math.floor(disk.size / sectorSize)
    // On a disk that was made larger the protective entry still tells where the end was.
    for (const lba of new Set([sectors - 1, announced.size_in_lba])) {
      if (lba < 2 || lba >= sectors || !(await hasSignature(disk, sectorSize, lba))) continue
      const backup = await readGptCopy(disk, sectorSize, lba, sectors)
      if (typeof backup === 'string') {
        problems.push(`The backup in sector ${lba} is damaged: ${backup}.`)
        continue
      }
      warnings.push(
        ...(problems.length > 0 ? problems : [`${DISK_NAME} has no first GPT header.`]),
        `The backup GPT of ${DISK_NAME} is used.`,
      )
      return describe(sectorSize, backup, warnings)
    }
  }
  throw new DrydiskError(
    'ERR_CORRUPT',
    `The MBR announces a GPT, but neither copy of it is usable. ${problems.length > 0 ? problems.join(' ') : 'There is no header.'} ` +
      'gdisk(8) may be able to rebuild it from a copy',
    { structure: 'GPT' },
  )
}

async function hasSignature(disk: BlockDevice, sectorSize: number, lba: number): Promise<boolean> {
  if ((lba + 1) * sectorSize > disk.size) return false
  const bytes = new Uint8Array(8)
  await disk.read(lba * sectorSize, bytes)
  return hasGptSignature(bytes)
}

/** @returns what is wrong with the copy, as a string, where something is. */
export async function readGptCopy(
  disk: BlockDevice,
  sectorSize: number,
  lba: number,
  sectors: number,
): Promise<GptCopy | string> {
  if (!(lba >= 1 && lba < sectors)) return `it would lie in sector ${lba}, and the disk has ${sectors}`
  const sector = new Uint8Array(sectorSize)
  await disk.read(lba * sectorSize, sector)
  const header = parseGptHeader(sector, lba, sectors)
  if (typeof header === 'string') return header
  const entries = new Uint8Array(header.NumberOfPartitionEntries * header.SizeOfPartitionEntry)
  await disk.read(header.PartitionEntryLBA * sectorSize, entries)
  const checksum = crc32(entries)
  if (checksum !== header.PartitionEntryArrayCRC32)
    return `the checksum of its entries is 0x${checksum.toString(16)}, expected 0x${header.PartitionEntryArrayCRC32.toString(16)}`
  return { header, entries }
}

function describe(sectorSize: number, { header, entries }: GptCopy, warnings: string[]): Gpt {
  const partitions: TableEntry[] = []
  const { SizeOfPartitionEntry, NumberOfPartitionEntries } = header
  for (let index = 0; index < NumberOfPartitionEntries; index++) {
    const at = index * SizeOfPartitionEntry
    const entry = parseGptEntry(entries.subarray(at, at + SizeOfPartitionEntry))
    if (entry === undefined) continue
    if (
      entry.StartingLBA <= entry.EndingLBA &&
      (entry.StartingLBA < header.FirstUsableLBA || entry.EndingLBA > header.LastUsableLBA)
    )
      warnings.push(
        `${DISK_NAME}${index + 1} lies outside the sectors that the GPT says are usable, ${header.FirstUsableLBA} to ${header.LastUsableLBA}.`,
      )
    partitions.push({
      number: index + 1,
      type: entry.PartitionTypeGUID,
      typeName: gptTypeName(entry.PartitionTypeGUID),
      label: entry.PartitionName,
      uuid: entry.UniquePartitionGUID,
      offset: entry.StartingLBA * sectorSize,
      length: (entry.EndingLBA - entry.StartingLBA + 1) * sectorSize,
    })
  }
  return { sectorSize, diskGuid: header.DiskGUID, partitions }
}
