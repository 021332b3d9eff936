import type { BlockDevice } from '../device/block-device.ts'
import { isExtended, MBR_SIZE, type Mbr, type MbrEntry, parseMbr } from './mbr.ts'
import { mbrTypeName } from './partition-types.ts'
import type { TableEntry } from './place-partition.ts'
import { DISK_NAME } from './volume.ts'

/** Sectors of an MBR are 512 bytes: an image does not tell what the disk's were. */
const SECTOR = 512
/** What the kernel gives to a disk at most (DISK_MAX_PARTS). */
const MAX_PARTITIONS = 256
/** The kernel makes an extended partition this short, so that nobody takes what is in it for a filesystem. */
const EXTENDED_LENGTH = 1024

/** The partitions of an MBR: primary ones 1 to 4, then the logical ones from 5 in the order of their chain. */
export async function readMbrPartitions(
  disk: BlockDevice,
  mbr: Mbr,
  warnings: string[],
): Promise<TableEntry[]> {
  const partitions: TableEntry[] = []
  const signature = mbr.unique_mbr_signature
  const extended: MbrEntry[] = []
  for (const [index, entry] of mbr.entries.entries()) {
    if (entry.os_type === 0 || entry.size_in_lba === 0) continue
    const inner = isExtended(entry.os_type)
    if (inner) extended.push(entry)
    const length = entry.size_in_lba * SECTOR
    partitions.push(
      describe(
        signature,
        index + 1,
        entry,
        entry.starting_lba,
        inner ? Math.min(length, EXTENDED_LENGTH) : length,
      ),
    )
  }
  let number = 5
  for (const entry of extended)
    for await (const logical of logicalPartitions(disk, entry, warnings)) {
      if (number > MAX_PARTITIONS) break
      partitions.push(
        describe(signature, number++, logical.entry, logical.sector, logical.entry.size_in_lba * SECTOR),
      )
    }
  return partitions
}

function describe(
  signature: number,
  number: number,
  entry: MbrEntry,
  sector: number,
  length: number,
): TableEntry {
  return {
    number,
    type: entry.os_type.toString(16).padStart(2, '0'),
    typeName: mbrTypeName(entry.os_type),
    label: '',
    uuid: `${signature.toString(16).padStart(8, '0')}-${number.toString(16).padStart(2, '0')}`,
    offset: sector * SECTOR,
    length,
  }
}

/**
 * Follows the chain of extended boot records: in each, what is not an extended entry is a partition relative to the record,
 * and the first extended entry leads on, relative to the extended partition. Third and fourth entries are often garbage and
 * count only where they fit, as in block/partitions/msdos.c.
 */
async function* logicalPartitions(
  disk: BlockDevice,
  extended: MbrEntry,
  warnings: string[],
): AsyncIterable<{ readonly entry: MbrEntry; readonly sector: number }> {
  const first = extended.starting_lba
  const end = first + extended.size_in_lba
  const seen = new Set<number>()
  let sector = first
  let size = extended.size_in_lba
  while (seen.size < MAX_PARTITIONS) {
    if (seen.has(sector)) {
      warnings.push(
        `The chain of logical partitions of ${DISK_NAME} leads back to sector ${sector}; it is cut there.`,
      )
      return
    }
    seen.add(sector)
    if ((sector + 1) * SECTOR > disk.size) {
      warnings.push(`The chain of logical partitions of ${DISK_NAME} leads past the end of the disk.`)
      return
    }
    const bytes = new Uint8Array(MBR_SIZE)
    await disk.read(sector * SECTOR, bytes)
    const record = parseMbr(bytes)
    if (record === undefined) {
      // A new, empty extended partition has no record yet.
      if (sector !== first)
        warnings.push(
          `Sector ${sector}, in the chain of logical partitions of ${DISK_NAME}, is no boot record.`,
        )
      return
    }
    for (const [index, entry] of record.entries.entries()) {
      if (entry.size_in_lba === 0 || entry.os_type === 0 || isExtended(entry.os_type)) continue
      const at = sector + entry.starting_lba
      const fits = entry.starting_lba + entry.size_in_lba <= size && at + entry.size_in_lba <= end
      if (index < 2 || fits) yield { entry, sector: at }
    }
    const next = record.entries.find(entry => entry.size_in_lba > 0 && isExtended(entry.os_type))
    if (next === undefined) return
    sector = first + next.starting_lba
    size = next.size_in_lba
  }
}
