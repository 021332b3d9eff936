import { slicingTables, updateCrc } from './crc-tables.ts'

/** Castagnoli's polynomial 0x1EDC6F41, bits reversed. */
const tables = slicingTables(0x82f6_3b78)

/** The start value of a checksum that is complemented before and after (iSCSI, RFC 3720 B.4; btrfs; the redo log). */
export const CRC32C_START = 0xffff_ffff

/**
 * Advances a CRC-32C register over `bytes`, with no complement before or after: what Linux calls `crc32c_le(seed, …)` and
 * ext4, jbd2 and XFS chain from a seed (ext4 starts at 0xFFFFFFFF and stores the register as it is).
 * @returns the unsigned register.
 */
export function crc32c(seed: number, bytes: Uint8Array): number {
  return updateCrc(tables, seed, bytes)
}

/** The standard CRC-32C of a whole byte string: complemented before and after; `123456789` gives 0xE3069283. */
export function crc32cOf(bytes: Uint8Array): number {
  return ~updateCrc(tables, CRC32C_START, bytes) >>> 0
}
