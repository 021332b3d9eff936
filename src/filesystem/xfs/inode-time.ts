import type { ByteView } from '../../bytes/byte-view.ts'
import type { Timestamp } from '../filesystem.ts'

const SECOND = 1_000_000_000n
/** The earliest time of the older form, from which the newer one counts (XFS_BIGTIME_EPOCH_OFFSET). */
const BIGTIME_BIAS = (1n << 31n) * SECOND
/** The ends of what Linux keeps in either form (XFS_LEGACY_TIME_MIN and _MAX, XFS_BIGTIME_TIME_MAX of xfs_format.h). */
const FIRST = -BIGTIME_BIAS
const LAST = ((1n << 31n) - 1n) * SECOND
const LAST_BIGTIME = 16_299_260_424n * SECOND

/** A time of an inode: nanoseconds since 1901 where `isBig`, else two signed numbers of 32 bits. */
export function readTime(view: ByteView, at: number, isBig: boolean): Timestamp {
  if (isBig) return view.big(at) - BIGTIME_BIAS
  return BigInt(view.i32(at)) * SECOND + BigInt(view.i32(at + 4))
}

/** A time that the form has no room for becomes the nearest that it has; both ends are whole seconds, as in Linux (timestamp_truncate). */
export function writeTime(view: ByteView, at: number, isBig: boolean, time: Timestamp): void {
  const last = isBig ? LAST_BIGTIME : LAST
  const held = time < FIRST + SECOND ? FIRST : time > last ? last : time
  if (isBig) {
    view.setBig(at, held + BIGTIME_BIAS)
    return
  }
  const nanoseconds = ((held % SECOND) + SECOND) % SECOND
  view.setU32(at, Number(BigInt.asUintN(32, (held - nanoseconds) / SECOND)))
  view.setU32(at + 4, Number(nanoseconds))
}
