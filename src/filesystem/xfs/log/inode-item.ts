import { type ByteView, bigEndian, littleEndian } from '../../../bytes/byte-view.ts'
import { corruptLog } from './errors.ts'
import type { LogItem } from './transactions.ts'

export const ILOG = {
  CORE: 0x001,
  DDATA: 0x002,
  DEXT: 0x004,
  DBROOT: 0x008,
  DEV: 0x010,
  ADATA: 0x040,
  AEXT: 0x080,
  ABROOT: 0x100,
  DOWNER: 0x200,
  AOWNER: 0x400,
} as const
const DFORK = ILOG.DDATA | ILOG.DEXT | ILOG.DBROOT
const AFORK = ILOG.ADATA | ILOG.AEXT | ILOG.ABROOT

export const DINODE_MAGIC = 0x494e
/** Bytes of struct xfs_log_dinode: whole, and up to di_next_unlinked for inodes before version 3. */
const CORE_SIZE = 176
const OLD_CORE_SIZE = 96
const FLAG2 = { BIGTIME: 8n, NREXT64: 16n } as const

/** What follows the core in the log for one fork. */
export interface LoggedFork {
  /** `root`: the root of a tree as it stands in memory, with the header of a whole block. */
  readonly form: 'bytes' | 'root'
  readonly bytes: Uint8Array
}

/** An inode log item, struct xfs_inode_log_format. */
export interface InodeItem {
  readonly ino: bigint
  /** XFS_ILOG_* */
  readonly fields: number
  readonly rdev: number
  /** The buffer that holds the inode, in basic blocks. */
  readonly blkno: number
  readonly len: number
  /** Bytes into the buffer. */
  readonly boffset: number
  /** struct xfs_log_dinode, in the byte order of the machine. */
  readonly core: ByteView
  readonly data: LoggedFork | undefined
  readonly attributes: LoggedFork | undefined
}

export function parseInodeItem(item: LogItem): InodeItem {
  const [format, core] = item.regions
  if (format === undefined || core === undefined || item.regions.length > 4)
    throw corruptLog(`a logged inode has ${item.regions.length} regions, expected 2 to 4`)
  const view = littleEndian(format, 'XFS log inode item')
  // Machines of 32 bits leave out the padding before the inode number.
  const shift = format.length === 52 ? -4 : 0
  const fields = view.u32(4)
  let next = 2
  const fork = (mask: number, root: number): LoggedFork | undefined => {
    if ((fields & mask) === 0) return undefined
    const bytes = item.regions[next++]
    return bytes === undefined ? undefined : { form: (fields & root) === 0 ? 'bytes' : 'root', bytes }
  }
  const parsed = {
    ino: view.big(16 + shift),
    fields,
    rdev: view.u32(24 + shift),
    blkno: view.u64(40 + shift),
    len: view.i32(48 + shift),
    boffset: view.i32(52 + shift),
    core: littleEndian(core, 'XFS log inode'),
    data: fork(DFORK, ILOG.DBROOT),
    attributes: fork(AFORK, ILOG.ABROOT),
  }
  const magic = parsed.core.u16(0)
  if (magic !== DINODE_MAGIC || core.length < (parsed.core.u8(4) === 3 ? CORE_SIZE : OLD_CORE_SIZE))
    throw corruptLog(`logged inode ${parsed.ino} has no core that is one`, { inode: parsed.ino })
  return parsed
}

/** Flush counter of inodes before version 3; the log's own value counts where it is not older. */
export function flushCount(core: ByteView): number {
  return core.u16(30)
}

/**
 * Writes a logged core over an inode on disk: the same fields at the same offsets, big-endian
 * (Linux, xfs_log_dinode_to_disk). di_next_unlinked and the checksum stay as they are.
 */
export function writeCore(core: ByteView, inode: Uint8Array, lsn: bigint): void {
  const to = bigEndian(inode, 'XFS inode')
  const isV3 = core.u8(4) === 3
  const flags2 = isV3 ? core.big(120) : 0n
  const time = (at: number) => {
    if ((flags2 & FLAG2.BIGTIME) !== 0n) to.setBig(at, core.big(at))
    else for (const half of [at, at + 4]) to.setU32(half, core.u32(half))
  }
  for (const at of [0, 2, 20, 22, 88, 90]) to.setU16(at, core.u16(at))
  for (const at of [4, 5, 82, 83]) to.setU8(at, core.u8(at))
  to.setU16(6, 0)
  for (const at of [8, 12, 16, 72, 84, 92]) to.setU32(at, core.u32(at))
  for (const at of [32, 40, 48]) time(at)
  for (const at of [56, 64]) to.setBig(at, core.big(at))
  to.setBig(24, 0n)
  if (isV3) {
    to.setBig(104, core.big(104))
    to.setBig(112, lsn)
    to.setBig(120, flags2)
    to.setU32(128, core.u32(128))
    inode.fill(0, 132, 144)
    time(144)
    to.setBig(152, core.big(152))
    inode.set(core.slice(160, 16), 160)
  }
  // With 64-bit counts of extents the data fork's moves to where the flush counter was.
  if ((flags2 & FLAG2.NREXT64) !== 0n) {
    to.setBig(24, core.big(24))
    to.setU32(76, core.u32(76))
    to.setU16(80, core.u16(80))
  } else {
    to.setU32(76, core.u32(76))
    to.setU16(80, core.u16(80))
  }
}

/** Where an inode's forks lie, once its core is in place. */
function forks(inode: Uint8Array): { data: Uint8Array; attributes: Uint8Array } {
  const start = inode[4] === 3 ? CORE_SIZE : 100
  const offset = (inode[82] ?? 0) * 8
  const split = offset === 0 ? inode.length : start + offset
  if (split > inode.length) throw corruptLog(`a logged inode has its attributes behind its end`)
  return { data: inode.subarray(start, split), attributes: inode.subarray(split) }
}

/** Writes what was logged of the forks, and the device number, into an inode whose core is in place. */
export function writeForks(item: InodeItem, inode: Uint8Array): void {
  const { data, attributes } = forks(inode)
  if ((item.fields & ILOG.DEV) !== 0) bigEndian(data, 'XFS inode').setU32(0, item.rdev)
  for (const [logged, target] of [
    [item.data, data],
    [item.attributes, attributes],
  ] as const) {
    if (logged === undefined) continue
    if (logged.form === 'root') writeRoot(logged.bytes, inode, target)
    else if (logged.bytes.length <= target.length) target.set(logged.bytes)
    else
      throw corruptLog(
        `logged inode ${item.ino} has ${logged.bytes.length} bytes for a fork of ${target.length} bytes`,
        { inode: item.ino },
      )
  }
}

/** The root of an extent tree as an inode holds it: level, count, then keys and pointers each in room for as many as fit (xfs_bmbt_to_bmdr). */
function writeRoot(logged: Uint8Array, inode: Uint8Array, target: Uint8Array): void {
  const from = bigEndian(logged, 'XFS log extent tree root')
  const header = inode[4] === 3 ? 72 : 24
  const [level, count] = [from.u16(4), from.u16(6)]
  const room = Math.floor((logged.length - header) / 16)
  const most = Math.max(0, Math.floor((target.length - 4) / 16))
  if (count > room || count > most)
    throw corruptLog(`the root of a logged extent tree has ${count} records, and room for ${most}`)
  const to = bigEndian(target, 'XFS extent tree root')
  to.setU16(0, level)
  to.setU16(2, count)
  target.set(from.slice(header, count * 8), 4)
  target.set(from.slice(header + room * 8, count * 8), 4 + most * 8)
}
