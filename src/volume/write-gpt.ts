import { crc32 } from '../bytes/crc32.ts'
import { parseGuid, randomUuid } from '../bytes/guid.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError } from '../errors.ts'
import { GPT_ENTRY_SIZE, MAX_NAME_LENGTH, serialiseGptEntry } from './gpt-entry.ts'
import { type GptHeader, serialiseGptHeader } from './gpt-header.ts'
import { serialiseProtectiveMbr } from './mbr.ts'

/** A partition to make. */
export interface NewPartition {
  /** Bytes; rounded up to whole sectors. All that is left, when left out (last partition only). */
  readonly length?: number
  /** A GUID, as in `GPT_TYPE`. */
  readonly type: string
  /** At most 36 UTF-16 code units. */
  readonly label?: string
  /** Random when left out. */
  readonly uuid?: string
  /** Bit 2 is "legacy BIOS bootable" (UEFI table 5.8). */
  readonly attributes?: bigint
}

/** Where a partition was put, in bytes. */
export interface PlacedPartition {
  readonly number: number
  readonly offset: number
  readonly length: number
}

const ENTRIES = 128
/** What every partitioning tool aligns to since 2009: a multiple of every medium's block. */
const ALIGNMENT = 1 << 20

/**
 * Writes a new GPT with its protective MBR; the partitions follow one another, each aligned to 1 MiB. What the disk held
 * elsewhere stays.
 * Errors: `ERR_INVALID_ARGUMENT`; `ENOSPC` when the partitions do not fit.
 */
export async function writeGpt(
  disk: BlockDevice,
  partitions: readonly NewPartition[],
  options: { readonly sectorSize?: 512 | 4096; readonly diskGuid?: string } = {},
): Promise<PlacedPartition[]> {
  const sectorSize = options.sectorSize ?? 512
  const sectors = Math.floor(disk.size / sectorSize)
  const arraySectors = (ENTRIES * GPT_ENTRY_SIZE) / sectorSize
  const first = 2 + arraySectors
  const last = sectors - 2 - arraySectors
  if (partitions.length > ENTRIES)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${partitions.length} partitions: a GPT has ${ENTRIES} entries`,
    )
  if (last < first)
    throw new DrydiskError('ENOSPC', `a disk of ${disk.size} bytes is too small for a GPT`, {
      size: disk.size,
    })

  const placed = place(partitions, sectorSize, last)
  const entries = new Uint8Array(ENTRIES * GPT_ENTRY_SIZE)
  for (const [index, partition] of partitions.entries()) {
    const { offset, length } = placed[index] ?? { offset: 0, length: 0 }
    const label = partition.label ?? ''
    if (label.length > MAX_NAME_LENGTH)
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `partition ${index + 1}: a label has at most ${MAX_NAME_LENGTH} UTF-16 units`,
      )
    const entry = serialiseGptEntry(guid(partition.type), guid(partition.uuid ?? randomUuid()), {
      StartingLBA: offset / sectorSize,
      EndingLBA: (offset + length) / sectorSize - 1,
      Attributes: partition.attributes ?? 0n,
      PartitionName: label,
    })
    entries.set(entry, index * GPT_ENTRY_SIZE)
  }

  const diskGuid = options.diskGuid ?? randomUuid()
  const header: GptHeader = {
    MyLBA: 1,
    AlternateLBA: sectors - 1,
    FirstUsableLBA: first,
    LastUsableLBA: last,
    DiskGUID: diskGuid,
    PartitionEntryLBA: 2,
    NumberOfPartitionEntries: ENTRIES,
    SizeOfPartitionEntry: GPT_ENTRY_SIZE,
    PartitionEntryArrayCRC32: crc32(entries),
  }
  const backup: GptHeader = {
    ...header,
    MyLBA: sectors - 1,
    AlternateLBA: 1,
    PartitionEntryLBA: sectors - 1 - arraySectors,
  }
  await disk.write(backup.PartitionEntryLBA * sectorSize, entries)
  await disk.write(backup.MyLBA * sectorSize, serialiseGptHeader(backup, guid(diskGuid), sectorSize))
  await disk.write(2 * sectorSize, entries)
  await disk.write(sectorSize, serialiseGptHeader(header, guid(diskGuid), sectorSize))
  await disk.write(0, serialiseProtectiveMbr(sectors))
  return placed
}

function place(
  partitions: readonly NewPartition[],
  sectorSize: number,
  lastSector: number,
): PlacedPartition[] {
  const limit = (lastSector + 1) * sectorSize
  const placed: PlacedPartition[] = []
  let offset = ALIGNMENT
  for (const [index, partition] of partitions.entries()) {
    if (partition.length === undefined && index !== partitions.length - 1)
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `partition ${index + 1} is without a length: only the last may be`,
      )
    const length =
      partition.length === undefined
        ? Math.floor((limit - offset) / ALIGNMENT) * ALIGNMENT
        : Math.ceil(partition.length / sectorSize) * sectorSize
    if (!(length > 0 && offset + length <= limit))
      throw new DrydiskError(
        'ENOSPC',
        `partition ${index + 1} of ${length} bytes does not fit: ${Math.max(0, limit - offset)} bytes are left`,
        { partition: index + 1 },
      )
    placed.push({ number: index + 1, offset, length })
    offset = Math.ceil((offset + length) / ALIGNMENT) * ALIGNMENT
  }
  return placed
}

function guid(text: string): Uint8Array {
  const bytes = parseGuid(text)
  if (bytes === undefined)
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `${JSON.stringify(text)} is no GUID`)
  return bytes
}
