import type { ByteView } from '../../../bytes/byte-view.ts'
import { NULL_AGINO } from '../agi.ts'
import { DINODE_MAGIC, type Dinode, FORMAT } from '../dinode.ts'
import type { Superblock } from '../superblock.ts'
import { commonFlags2 } from './inode-geometry.ts'

/** Fields of struct xfs_dinode that nothing else sets. */
const AT = {
  magic: 0,
  mode: 2,
  version: 4,
  format: 5,
  gen: 92,
  changecount: 104,
  ino: 152,
  uuid: 160,
} as const
/** Behind magic number, mode and version; up to di_gen, what version 3 adds from di_crc on apart. */
const CORE = {
  from: 5,
  generation: 92,
  nextUnlinked: 96,
  v3: 100,
  lsn: 112,
  flags2: 120,
  ino: 152,
  v3End: 176,
}

/** An inode of a new chunk, free (xfs_ialloc_inode_init), in a block of zeros. The checksum is stored when that is written. */
export function initFreeInode(
  block: ByteView,
  at: number,
  { ino, generation }: { readonly ino: number; readonly generation: number },
  sb: Superblock,
): void {
  block.setU16(at + AT.magic, DINODE_MAGIC)
  block.setU8(at + AT.version, sb.isV5 ? 3 : 2)
  block.setU32(at + AT.gen, generation)
  block.setU32(at + CORE.nextUnlinked, NULL_AGINO)
  if (!sb.isV5) return
  block.setU64(at + AT.ino, ino)
  block.bytes.set(sb.metaUuid, at + AT.uuid)
}

/**
 * Clears all but what stays of an inode through the lives of its files: which it is, its generation and its LSN. It is then
 * as xfs_inode_init of Linux begins: no flags but those that all inodes have, both forks empty.
 */
function clearInode(inode: Dinode, sb: Superblock): void {
  const { bytes, view } = inode
  view.setU16(AT.mode, 0)
  // An inode of version 1 that is used again is one of version 2.
  view.setU8(AT.version, sb.isV5 ? 3 : 2)
  bytes.fill(0, CORE.from, CORE.generation)
  view.setU32(CORE.nextUnlinked, NULL_AGINO)
  if (!sb.isV5) bytes.fill(0, CORE.v3)
  else {
    const changes = view.big(AT.changecount)
    bytes.fill(0, CORE.v3, CORE.lsn)
    view.setBig(AT.changecount, changes)
    bytes.fill(0, CORE.flags2, CORE.ino)
    bytes.fill(0, CORE.v3End)
  }
  inode.di_flags2 = commonFlags2(sb)
  inode.di_format = FORMAT.EXTENTS
  inode.di_aformat = FORMAT.EXTENTS
}

/** A free inode becomes one in use. @param mode type and permissions. */
export function initUsedInode(inode: Dinode, mode: number, now: bigint, sb: Superblock): void {
  clearInode(inode, sb)
  const { view } = inode
  view.setU16(AT.mode, mode)
  // Devices, fifos and sockets have their number, or nothing, where others have extents.
  if (isSpecial(mode)) inode.di_format = FORMAT.DEV
  if (sb.isV5) view.setBig(AT.changecount, 1n)
  inode.stamp(now)
}

/** An inode in use becomes a free one (xfs_ifree): the next file here has another generation, by which NFS tells them apart. */
export function releaseInode(inode: Dinode, sb: Superblock): void {
  clearInode(inode, sb)
  inode.di_gen = (inode.di_gen + 1) >>> 0
  inode.bumpChangeCount()
}

function isSpecial(mode: number): boolean {
  const type = mode >>> 12
  return type !== 0o10 && type !== 0o4 && type !== 0o12
}
