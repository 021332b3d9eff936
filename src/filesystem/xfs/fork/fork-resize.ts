import type { Dinode } from '../dinode.ts'
import type { XfsWriter } from '../writer.ts'

/**
 * Moves the boundary between the forks; both keep what they hold. From 0 there is an attribute fork from now on, of extents and
 * empty; to 0 there is none any more, which an empty one alone may become.
 * @param forkoff in units of 8 bytes, as di_forkoff.
 * @returns `false`, with nothing changed, where one of them does not fit.
 */
export async function resizeForks(_writer: XfsWriter, _inode: Dinode, _forkoff: number): Promise<boolean> {
  throw new Error('not yet')
}
