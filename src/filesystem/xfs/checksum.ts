import { CRC32C_START, crc32c } from '../../bytes/crc32c.ts'

const ZEROS = new Uint8Array(4)

/** CRC-32C of a whole structure with its own checksum field taken as zeros (xfs_start_cksum_safe in xfs_cksum.h). */
export function structureChecksum(bytes: Uint8Array, crcOffset: number): number {
  const before = crc32c(CRC32C_START, bytes.subarray(0, crcOffset))
  const field = crc32c(before, ZEROS)
  return ~crc32c(field, bytes.subarray(crcOffset + 4)) >>> 0
}

/** The field is little-endian, as the only one of the filesystem. */
export function checksumIsRight(bytes: Uint8Array, crcOffset: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getUint32(crcOffset, true) === structureChecksum(bytes, crcOffset)
}

export function storeChecksum(bytes: Uint8Array, crcOffset: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  view.setUint32(crcOffset, structureChecksum(bytes, crcOffset), true)
}
