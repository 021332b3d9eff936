import { littleEndian } from '../bytes/byte-view.ts'
import { crc32 } from '../bytes/crc32.ts'
import { formatGuid } from '../bytes/guid.ts'

/** The GPT header, UEFI 5.3.2, table 5.5. Addresses are in sectors. */
export interface GptHeader {
  readonly MyLBA: number
  readonly AlternateLBA: number
  readonly FirstUsableLBA: number
  readonly LastUsableLBA: number
  readonly DiskGUID: string
  readonly PartitionEntryLBA: number
  readonly NumberOfPartitionEntries: number
  readonly SizeOfPartitionEntry: number
  readonly PartitionEntryArrayCRC32: number
}

/** `EFI PART` */
export const GPT_SIGNATURE = Uint8Array.from('EFI PART', letter => letter.charCodeAt(0))
export const GPT_HEADER_SIZE = 92
/** Linux and gdisk make 128 entries; a table may have more, but nobody has needed this many (gdisk refuses above 1024 kB). */
const MAX_ENTRIES = 65536
const MAX_ARRAY = 4 << 20

export function hasGptSignature(sector: Uint8Array): boolean {
  return GPT_SIGNATURE.every((byte, at) => sector[at] === byte)
}

/**
 * Parses the header that is meant to lie at `lba`.
 * @returns what is wrong with it, as a string, where something is.
 */
export function parseGptHeader(sector: Uint8Array, lba: number, diskSectors: number): GptHeader | string {
  const view = littleEndian(sector, 'GPT header')
  if (!hasGptSignature(sector)) return 'it has no signature'
  const headerSize = view.u32(12)
  if (headerSize < GPT_HEADER_SIZE || headerSize > sector.length)
    return `it says that it is ${headerSize} bytes long, expected ${GPT_HEADER_SIZE} to ${sector.length}`
  const summed = sector.slice(0, headerSize)
  summed.fill(0, 16, 20)
  const checksum = crc32(summed)
  if (view.u32(16) !== checksum)
    return `its checksum is 0x${view.u32(16).toString(16)}, expected 0x${checksum.toString(16)}`
  for (const at of [24, 32, 40, 48, 72])
    if (view.u32(at + 4) >= 0x20_0000) return `the sector number at byte ${at} is beyond 2^53`
  const header: GptHeader = {
    MyLBA: view.u64(24),
    AlternateLBA: view.u64(32),
    FirstUsableLBA: view.u64(40),
    LastUsableLBA: view.u64(48),
    DiskGUID: formatGuid(view.slice(56, 16)),
    PartitionEntryLBA: view.u64(72),
    NumberOfPartitionEntries: view.u32(80),
    SizeOfPartitionEntry: view.u32(84),
    PartitionEntryArrayCRC32: view.u32(88),
  }
  if (header.MyLBA !== lba) return `it says that it lies in sector ${header.MyLBA}, but it lies in ${lba}`
  if (
    header.SizeOfPartitionEntry < 128 ||
    header.SizeOfPartitionEntry > 4096 ||
    (header.SizeOfPartitionEntry & (header.SizeOfPartitionEntry - 1)) !== 0
  )
    return `its entries are ${header.SizeOfPartitionEntry} bytes, expected 128 times a power of two`
  if (
    header.NumberOfPartitionEntries > MAX_ENTRIES ||
    header.NumberOfPartitionEntries * header.SizeOfPartitionEntry > MAX_ARRAY
  )
    return `it says that there are ${header.NumberOfPartitionEntries} entries, more than fit in ${MAX_ARRAY} bytes`
  if (header.FirstUsableLBA > header.LastUsableLBA + 1 || header.LastUsableLBA >= diskSectors)
    return `its usable sectors ${header.FirstUsableLBA} to ${header.LastUsableLBA} do not lie on the disk of ${diskSectors}`
  const arraySectors = Math.ceil(
    (header.NumberOfPartitionEntries * header.SizeOfPartitionEntry) / sector.length,
  )
  if (header.PartitionEntryLBA < 2 && lba === 1) return 'its entry array lies over the header'
  if (header.PartitionEntryLBA + arraySectors > diskSectors) return 'its entry array does not lie on the disk'
  return header
}

/** @returns one sector. */
export function serialiseGptHeader(header: GptHeader, diskGuid: Uint8Array, sectorSize: number): Uint8Array {
  const bytes = new Uint8Array(sectorSize)
  const view = littleEndian(bytes, 'GPT header')
  bytes.set(GPT_SIGNATURE)
  view.setU32(8, 0x0001_0000)
  view.setU32(12, GPT_HEADER_SIZE)
  view.setU64(24, header.MyLBA)
  view.setU64(32, header.AlternateLBA)
  view.setU64(40, header.FirstUsableLBA)
  view.setU64(48, header.LastUsableLBA)
  bytes.set(diskGuid, 56)
  view.setU64(72, header.PartitionEntryLBA)
  view.setU32(80, header.NumberOfPartitionEntries)
  view.setU32(84, header.SizeOfPartitionEntry)
  view.setU32(88, header.PartitionEntryArrayCRC32)
  view.setU32(16, crc32(bytes.subarray(0, GPT_HEADER_SIZE)))
  return bytes
}
