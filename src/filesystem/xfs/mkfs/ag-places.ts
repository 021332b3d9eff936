import type { Superblock } from '../superblock.ts'

/** Where an allocation group has what every one begins with (XFS_BNO_BLOCK and those behind it in xfs_format.h). Blocks in the group. */
export interface AgPlaces {
  /** Blocks of the headers. */
  readonly headers: number
  readonly bno: number
  readonly cnt: number
  readonly inobt: number
  readonly finobt: number | undefined
  readonly rmap: number | undefined
  readonly refcount: number | undefined
  /** The first block behind all of them (xfs_prealloc_blocks). */
  readonly end: number
}

export function agPlaces(
  sb: Pick<Superblock, 'sb_sectsize' | 'sb_blocksize' | 'hasFinobt' | 'hasRmapbt' | 'hasReflink'>,
): AgPlaces {
  const headers = Math.ceil((4 * sb.sb_sectsize) / sb.sb_blocksize)
  let next = headers
  const place = () => next++
  const optional = (has: boolean) => (has ? place() : undefined)
  const [bno, cnt, inobt] = [place(), place(), place()]
  const finobt = optional(sb.hasFinobt)
  const rmap = optional(sb.hasRmapbt)
  const refcount = optional(sb.hasReflink)
  return { headers, bno, cnt, inobt, finobt, rmap, refcount, end: next }
}
