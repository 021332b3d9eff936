import { bigEndian } from '../../../bytes/byte-view.ts'
import type { Timestamp } from '../../filesystem.ts'
import { storeChecksum } from '../checksum.ts'
import { DIFLAG2, DINODE_CRC_OFFSET, DINODE_MAGIC, Dinode, FORMAT } from '../dinode.ts'
import { INCOMPAT } from '../features.ts'
import type { Superblock } from '../superblock.ts'

/** The root, and bitmap and summary of the real-time device. */
export const FIRST_INODES = 3
/** XFS_DIFLAG_NEWRTBM */
const NEW_BITMAP = 1 << 2
const DIRECTORY_MODE = 0o040755
const FILE_MODE = 0o100000
const NULL_AGINO = 0xffff_ffff
/** struct xfs_dir2_sf_hdr with a parent of four bytes. */
const SHORT_FORM_HEADER = 6

/**
 * The blocks of the first chunk of inodes, of version 5: the root directory, which is empty, and the real-time device's two
 * files, which every filesystem has (xfs_sb_verify asks for them). The other inodes are free.
 * @param rootino the number of the first.
 */
export function firstInodes(sb: Superblock, rootino: number, blocks: number, now: Timestamp): Uint8Array {
  const bytes = new Uint8Array(blocks * sb.sb_blocksize)
  for (let index = 0; index < blocks * sb.sb_inopblock; index++) {
    const inode = bytes.subarray(index * sb.sb_inodesize, (index + 1) * sb.sb_inodesize)
    const view = bigEndian(inode, 'xfs inode')
    view.setU16(0, DINODE_MAGIC)
    view.setU8(4, 3)
    view.setU32(96, NULL_AGINO)
    view.setU64(152, rootino + index)
    inode.set(sb.metaUuid, 160)
    if (index === 0) {
      useInode(inode, rootino, DIRECTORY_MODE, now, sb)
      makeEmptyDirectory(inode, rootino, sb)
    } else if (index < FIRST_INODES) {
      const made = useInode(inode, rootino + index, FILE_MODE, now, sb)
      if (index === 1) {
        made.di_flags = NEW_BITMAP
        // With that flag the field is a counter (xfs_rtmount_init).
        made.atime = 0n
      }
    }
    storeChecksum(inode, DINODE_CRC_OFFSET)
  }
  return bytes
}

function useInode(bytes: Uint8Array, ino: number, mode: number, now: Timestamp, sb: Superblock): Dinode {
  bigEndian(bytes, 'xfs inode').setU16(2, mode)
  const inode = new Dinode(bytes, ino, sb)
  if (sb.hasBigtime) inode.di_flags2 |= DIFLAG2.BIGTIME
  if ((sb.sb_features_incompat & INCOMPAT.NREXT64) !== 0) inode.di_flags2 |= DIFLAG2.NREXT64
  inode.di_format = FORMAT.EXTENTS
  inode.di_aformat = FORMAT.EXTENTS
  inode.di_nlink = 1
  inode.atime = now
  inode.mtime = now
  inode.ctime = now
  inode.crtime = now
  inode.bumpChangeCount()
  return inode
}

function makeEmptyDirectory(bytes: Uint8Array, ino: number, sb: Superblock): void {
  const inode = new Dinode(bytes, ino, sb)
  inode.di_format = FORMAT.LOCAL
  inode.di_nlink = 2
  inode.di_size = SHORT_FORM_HEADER
  // No entries, none of them with eight bytes, and its own parent. It lies in the first group, so four bytes are enough.
  inode.data.literal.setU32(2, ino)
}
