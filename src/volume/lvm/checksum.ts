import { crc32 } from '../../bytes/crc32.ts'

/** INITIAL_CRC of LVM2 (lib/misc/crc.h): the register that it starts from, without the inversions before and after. */
const INITIAL_CRC = 0xf597_a6cf

/** The checksum of label, metadata area header and metadata text; unsigned. */
export function lvmChecksum(bytes: Uint8Array, before = INITIAL_CRC): number {
  return ~crc32(bytes, ~before >>> 0) >>> 0
}
