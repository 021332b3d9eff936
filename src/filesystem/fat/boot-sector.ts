import { littleEndian } from '../../bytes/byte-view.ts'

/** Of the boot sector, whatever the sector size is. */
export const BOOT_SECTOR_SIZE = 512

/** Linux's state byte (struct fat_boot_sector, msdos_fs.h): set while mounted for writing. */
export const STATE_DIRTY = 0x01

/**
 * The BIOS parameter block, by the names of Microsoft's "FAT32 File System Specification" (fatgen103). Numbers are as they stand on
 * disk; `FatGeometry` checks them.
 */
export interface BootSector {
  readonly BPB_BytsPerSec: number
  readonly BPB_SecPerClus: number
  readonly BPB_RsvdSecCnt: number
  readonly BPB_NumFATs: number
  readonly BPB_RootEntCnt: number
  readonly BPB_Media: number
  /** BPB_TotSec16, or BPB_TotSec32 where that is 0. */
  readonly totalSectors: number
  /** BPB_FATSz16, or BPB_FATSz32 where that is 0. */
  readonly fatSectors: number
  /** The fields that only FAT32 has: BPB_FATSz16 is 0 exactly then. */
  readonly fat32: Fat32Fields | undefined
  readonly state: number
  readonly BS_VolID: number
}

export interface Fat32Fields {
  /** Bit 7: only one FAT is active, by the number in bits 0 to 3; otherwise all are kept alike. */
  readonly BPB_ExtFlags: number
  readonly BPB_FSVer: number
  readonly BPB_RootClus: number
  readonly BPB_FSInfo: number
}

/** @param bytes the first 512 of the volume. */
export function parseBootSector(bytes: Uint8Array): BootSector {
  const view = littleEndian(bytes, 'FAT boot sector')
  const small = view.u16(22)
  const fat32 = small === 0
  // The fields from the drive number on follow the BPB, which is 28 bytes longer with FAT32.
  const extended = fat32 ? 64 : 36
  return {
    BPB_BytsPerSec: view.u16(11),
    BPB_SecPerClus: view.u8(13),
    BPB_RsvdSecCnt: view.u16(14),
    BPB_NumFATs: view.u8(16),
    BPB_RootEntCnt: view.u16(17),
    BPB_Media: view.u8(21),
    totalSectors: view.u16(19) || view.u32(32),
    fatSectors: fat32 ? view.u32(36) : small,
    fat32: fat32
      ? {
          BPB_ExtFlags: view.u16(40),
          BPB_FSVer: view.u16(42),
          BPB_RootClus: view.u32(44),
          BPB_FSInfo: view.u16(48),
        }
      : undefined,
    state: view.u8(extended + 1),
    BS_VolID: view.u32(extended + 3),
  }
}
