import type { Dinode } from '../dinode.ts'
import type { XfsWriter } from '../writer.ts'

/**
 * Writes all of `from` at byte `offset`, growing the file; a gap becomes a hole. mtime and ctime become now. The inode is open
 * for change. `EFBIG`, `EPERM` before anything is changed; `ENOSPC` may leave the transaction to be rolled back.
 */
export async function writeData(
  _writer: XfsWriter,
  _inode: Dinode,
  _offset: number,
  _from: Uint8Array,
): Promise<void> {
  throw new Error('not yet')
}

/** Cuts the file, or grows it by a hole. What lay behind never comes back. mtime and ctime become now. */
export async function truncateData(_writer: XfsWriter, _inode: Dinode, _size: number): Promise<void> {
  throw new Error('not yet')
}
