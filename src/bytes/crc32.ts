import { slicingTables, updateCrc } from './crc-tables.ts'

/** The polynomial 0x04C11DB7 of IEEE 802.3, bits reversed. */
const tables = slicingTables(0xedb8_8320)

/**
 * CRC-32 of IEEE 802.3 as GPT (UEFI 5.3.2) and gzip use it: complemented before and after; `123456789` gives 0xCBF43926.
 * To go on from the checksum of the bytes before, pass it as `before`.
 * @returns the unsigned checksum.
 */
export function crc32(bytes: Uint8Array, before = 0): number {
  return ~updateCrc(tables, ~before, bytes) >>> 0
}
