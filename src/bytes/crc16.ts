/** The polynomial 0x8005 of CRC-16/ARC, bits reversed. */
const POLYNOMIAL = 0xa001

const table = new Uint16Array(256)
for (let byte = 0; byte < 256; byte++) {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
  table[byte] = crc
}

/**
 * Advances a CRC-16/ARC register over `bytes`. ext4 group descriptors with `uninit_bg` and without `metadata_csum` start at
 * 0xFFFF; the catalogued CRC-16/ARC starts at 0, where `123456789` gives 0xBB3D.
 */
export function crc16(seed: number, bytes: Uint8Array): number {
  let crc = seed & 0xffff
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 0xff] as number)
  return crc
}
