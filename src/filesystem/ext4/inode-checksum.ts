import { littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { GOOD_OLD_INODE_SIZE, type Inode } from './inode.ts'
import { inodeSeed } from './inode-seed.ts'

const CHECKSUM_LO = 0x7c
const CHECKSUM_HI = 0x82
const ZEROS = new Uint8Array(2)

function hasHigh(inode: Inode): boolean {
  return inode.hasExtra(CHECKSUM_HI + 2)
}

/** ext4_inode_csum: both checksum fields count as zeros; 16 bits where the inode has no i_checksum_hi. */
function inodeChecksum(filesystemSeed: number, inode: Inode): number {
  const { bytes } = inode
  let crc = crc32c(inodeSeed({ checksumSeed: filesystemSeed }, inode), bytes.subarray(0, CHECKSUM_LO))
  crc = crc32c(crc, ZEROS)
  crc = crc32c(crc, bytes.subarray(CHECKSUM_LO + 2, GOOD_OLD_INODE_SIZE))
  if (bytes.length <= GOOD_OLD_INODE_SIZE) return crc & 0xffff
  crc = crc32c(crc, bytes.subarray(GOOD_OLD_INODE_SIZE, CHECKSUM_HI))
  if (!hasHigh(inode)) return crc32c(crc, bytes.subarray(CHECKSUM_HI)) & 0xffff
  return crc32c(crc32c(crc, ZEROS), bytes.subarray(CHECKSUM_HI + 2))
}

/** Whether the stored checksum is right; to be asked with metadata_csum only. */
export function inodeChecksumIsRight(filesystemSeed: number, inode: Inode): boolean {
  const view = littleEndian(inode.bytes, `inode ${inode.ino}`)
  const stored = view.u16(CHECKSUM_LO) + (hasHigh(inode) ? view.u16(CHECKSUM_HI) * 0x1_0000 : 0)
  return stored === inodeChecksum(filesystemSeed, inode)
}

/** Sets the checksum fields; for metadata_csum only. */
export function updateInodeChecksum(filesystemSeed: number, inode: Inode): void {
  const view = littleEndian(inode.bytes, `inode ${inode.ino}`)
  const crc = inodeChecksum(filesystemSeed, inode)
  view.setU16(CHECKSUM_LO, crc & 0xffff)
  if (hasHigh(inode)) view.setU16(CHECKSUM_HI, crc >>> 16)
}
