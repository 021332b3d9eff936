import { printable } from '../../bytes/names.ts'
import { DrydiskError, type ErrorCode } from '../../errors.ts'
import { DIFLAG, type Dinode } from './dinode.ts'
import { dots, MOST_NAME } from './dir-name.ts'
import type { XfsWriter } from './writer.ts'

/** XFS_MAXLINK */
const MOST_LINKS = 2 ** 31 - 1

/** The directory's content changed: its times become now. */
export function touch(writer: XfsWriter, inode: Dinode): void {
  const now = writer.now()
  inode.mtime = now
  inode.ctime = now
  inode.bumpChangeCount()
}

/** The inode itself changed. */
export function touchChange(writer: XfsWriter, inode: Dinode, time = writer.now()): void {
  inode.ctime = time
  inode.bumpChangeCount()
}

/** `EPERM` where flags keep an inode, or the names in a directory, from changing: not even root may. */
export function requireUnprotected(inode: Dinode, appending: boolean): void {
  const flag =
    (inode.di_flags & DIFLAG.IMMUTABLE) !== 0
      ? 'immutable (chattr -i)'
      : (inode.di_flags & DIFLAG.APPEND) !== 0 && !appending
        ? 'append-only (chattr -a)'
        : undefined
  if (flag !== undefined)
    throw new DrydiskError('EPERM', `inode ${inode.ino} is ${flag}: it cannot be changed`, {
      inode: inode.ino,
    })
}

/** `ENAMETOOLONG`, `EINVAL` for what can be no name. */
export function requireName(name: Uint8Array): void {
  if (name.length > MOST_NAME)
    throw new DrydiskError('ENAMETOOLONG', `a name of ${name.length} bytes: ${MOST_NAME} is the longest`)
  if (name.length === 0 || name.includes(0) || name.includes(0x2f))
    throw new DrydiskError(
      'EINVAL',
      `'${printable(name)}' is not a file name: it is empty or contains '/' or NUL`,
    )
}

/** Names that a system call refuses to remove or rename, with the code that it gives for `.` and `..`. */
export function requireOrdinaryName(name: Uint8Array, code: ErrorCode): void {
  requireName(name)
  if (dots(name) !== 0) throw new DrydiskError(code, `'${printable(name)}' cannot be removed or renamed`)
}

/** `EMLINK` when an inode can have no more links. */
export function requireLinkable(inode: Dinode): void {
  if (inode.di_nlink >= MOST_LINKS)
    throw new DrydiskError(
      'EMLINK',
      `inode ${inode.ino} has ${inode.di_nlink} links, the most there can be`,
      {
        inode: inode.ino,
      },
    )
}

/** A directory that passes its project on takes nothing of another project (xfs_link, xfs_rename). */
export function requireSameProject(directory: Dinode, inode: Dinode): void {
  if ((directory.di_flags & DIFLAG.PROJINHERIT) !== 0 && directory.di_projid !== inode.di_projid)
    throw new DrydiskError(
      'EXDEV',
      `inode ${inode.ino} is of project ${inode.di_projid}, and directory ${directory.ino} takes only ${directory.di_projid}`,
      { inode: inode.ino },
    )
}

/** A link less; a count of a damaged inode does not fall below none. */
export function dropLinkCount(inode: Dinode): void {
  if (inode.di_nlink > 0) inode.di_nlink--
}
