import { crc32c } from '../../bytes/crc32c.ts'

/**
 * crc32 with the most significant bit first and no complement at the end, as checksums v1 use it over the blocks of a
 * transaction (the kernel's crc32_be; polynomial 0x04C11DB7, started with ~0).
 */
export function crc32Be(seed: number, bytes: Uint8Array): number {
  let crc = seed | 0
  for (const byte of bytes) crc = (crc << 8) ^ (BE_TABLE[(crc >>> 24) ^ byte] ?? 0)
  return crc >>> 0
}

const BE_TABLE = new Int32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let crc = byte << 24
  for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c1_1db7 : crc << 1
  BE_TABLE[byte] = crc
}

const FOUR_ZEROS = new Uint8Array(4)

/** crc32c over `bytes` as if the four at `offset`, where the checksum itself lies, were zero. */
export function crc32cWithout(seed: number, bytes: Uint8Array, offset: number): number {
  const before = crc32c(seed, bytes.subarray(0, offset))
  return crc32c(crc32c(before, FOUR_ZEROS), bytes.subarray(offset + 4))
}

/** Checksum of a data block in the log: crc32c(seed, be32 sequence, block) (jbd2_block_tag_csum_set). */
export function tagChecksum(seed: number, sequence: number, bytes: Uint8Array): number {
  const number = new Uint8Array([sequence >>> 24, sequence >>> 16, sequence >>> 8, sequence])
  return crc32c(crc32c(seed, number), bytes)
}
