import { littleEndian } from '../bytes/byte-view.ts'

/** An entry of the partition table in a master or extended boot record: 16 bytes, four of them from byte 446. */
export interface MbrEntry {
  /** 0x80 when active. */
  readonly boot_indicator: number
  /** Partition type; 0 for an unused entry. */
  readonly os_type: number
  /** First sector; in an extended boot record relative to that record, or to the extended partition. */
  readonly starting_lba: number
  readonly size_in_lba: number
}

export interface Mbr {
  /** Four bytes at 440, which name the disk (`PARTUUID=` is made from it). */
  readonly unique_mbr_signature: number
  readonly entries: readonly MbrEntry[]
}

const ENTRIES_AT = 446
const ENTRY_SIZE = 16
const SIGNATURE_AT = 510
export const MBR_SIZE = 512

/** GPT's protective entry, UEFI 5.2.3. */
export const TYPE_PROTECTIVE = 0xee

/** Types of a partition that holds a chain of extended boot records: DOS, Windows 95 (LBA) and Linux. */
export function isExtended(type: number): boolean {
  return type === 0x05 || type === 0x0f || type === 0x85
}

/** @returns `undefined` when the sector has no boot record's signature. */
export function parseMbr(sector: Uint8Array): Mbr | undefined {
  const view = littleEndian(sector, 'MBR')
  if (view.u16(SIGNATURE_AT) !== 0xaa55) return undefined
  return {
    unique_mbr_signature: view.u32(440),
    entries: Array.from({ length: 4 }, (_, index) => {
      const at = ENTRIES_AT + index * ENTRY_SIZE
      return {
        boot_indicator: view.u8(at),
        os_type: view.u8(at + 4),
        starting_lba: view.u32(at + 8),
        size_in_lba: view.u32(at + 12),
      }
    }),
  }
}

/**
 * Whether the four entries can be a partition table. A filesystem's boot sector has the same signature (FAT, NTFS) with code
 * where the table would be; the kernel too goes by the active flags, which are 0 or 0x80 (block/partitions/msdos.c).
 */
export function looksPartitioned(mbr: Mbr): boolean {
  return (
    mbr.entries.every(entry => (entry.boot_indicator & 0x7f) === 0) &&
    mbr.entries.some(entry => entry.os_type !== 0 && entry.size_in_lba > 0)
  )
}

/** A protective MBR over a disk of `sectors` sectors (UEFI 5.2.3, table 5.4). */
export function serialiseProtectiveMbr(sectors: number): Uint8Array {
  const bytes = new Uint8Array(MBR_SIZE)
  const view = littleEndian(bytes, 'MBR')
  // CHS of the first sector is 0/0/2, of the last "as large as can be said".
  bytes.set([0x00, 0x00, 0x02, 0x00, TYPE_PROTECTIVE, 0xff, 0xff, 0xff], ENTRIES_AT)
  view.setU32(ENTRIES_AT + 8, 1)
  view.setU32(ENTRIES_AT + 12, Math.min(sectors - 1, 0xffff_ffff))
  view.setU16(SIGNATURE_AT, 0xaa55)
  return bytes
}

/** CHS of a sector beyond what cylinders, heads and sectors can say, as fdisk(8) and UEFI write it. */
const CHS_TOO_FAR = [0xfe, 0xff, 0xff]

/** Gives an entry, by its index, another length. */
export function setEntryLength(sector: Uint8Array, index: number, sectors: number): void {
  const at = ENTRIES_AT + index * ENTRY_SIZE
  sector.set(CHS_TOO_FAR, at + 5)
  littleEndian(sector, 'MBR').setU32(at + 12, sectors)
}

/**
 * Makes a protective MBR cover a disk of so many sectors.
 * @returns whether it changed: one with other entries besides is left as it is.
 */
export function protectWhole(sector: Uint8Array, sectors: number): boolean {
  const entries = parseMbr(sector)?.entries ?? []
  const used = entries.filter(entry => entry.os_type !== 0)
  const index = entries.findIndex(entry => entry.os_type === TYPE_PROTECTIVE)
  const entry = entries[index]
  const covered = Math.min(sectors - 1, 0xffff_ffff)
  if (entry === undefined || used.length !== 1 || entry.size_in_lba === covered) return false
  littleEndian(sector, 'MBR').setU32(ENTRIES_AT + index * ENTRY_SIZE + 12, covered)
  return true
}
