import { DIFLAG, DIFLAG2, type Dinode } from '../dinode.ts'

/** Flags of directories that matter to what is made in them (XFS_DIFLAG_*). */
const RTINHERIT = 1 << 8
const EXTSIZE = 1 << 11
const EXTSZINHERIT = 1 << 12
const NODEFRAG = 1 << 13
const FILESTREAM = 1 << 14

/** What files get as well. The sysctls fs.xfs.inherit_* let these through unless they are changed, and NOSYMLINKS not. */
const FOR_ALL = DIFLAG.NOATIME | DIFLAG.NODUMP | DIFLAG.SYNC | NODEFRAG | FILESTREAM
const FOR_DIRECTORIES = RTINHERIT | EXTSZINHERIT | DIFLAG.PROJINHERIT

const EXTSIZE_AT = 72
const COWEXTSIZE_AT = 128

/**
 * Gives a new inode what the flags of its directory say that it gets: project, hints for extents, flags (xfs_get_initial_prid,
 * xfs_inode_inherit_flags and xfs_inode_inherit_flags2 of Linux). The group of a directory with the setgid bit is not among it.
 * Files do not come to lie on a real-time device, for there is none.
 */
export function inheritFrom(directory: Dinode, inode: Dinode): void {
  const { type } = inode
  if ((directory.di_flags & DIFLAG.PROJINHERIT) !== 0) inode.di_projid = directory.di_projid
  if (type !== 'file' && type !== 'directory') return
  let flags = directory.di_flags & FOR_ALL
  if (type === 'directory') flags |= directory.di_flags & FOR_DIRECTORIES
  const extsize = directory.di_extsize
  if ((directory.di_flags & EXTSZINHERIT) !== 0 && extsize !== 0) {
    if (type === 'file') flags |= EXTSIZE
    inode.view.setU32(EXTSIZE_AT, extsize)
  } else flags &= ~EXTSZINHERIT
  inode.di_flags |= flags
  if (inode.di_version !== 3 || directory.di_version !== 3) return
  inode.di_flags2 |= directory.di_flags2 & DIFLAG2.DAX
  const cowextsize = directory.view.u32(COWEXTSIZE_AT)
  if ((directory.di_flags2 & DIFLAG2.COWEXTSIZE) === 0n || cowextsize === 0) return
  inode.di_flags2 |= DIFLAG2.COWEXTSIZE
  inode.view.setU32(COWEXTSIZE_AT, cowextsize)
}
