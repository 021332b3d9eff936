import { Attributes, type InodeLike } from '@zenfs/core'
import { toBytes } from '../bytes/names.ts'
import type { DeviceNumber } from '../filesystem/filesystem.ts'
import type { GuestStats } from '../guest/guest-fs.ts'

/** What an inode said when it was read. ZenFS copies it along with the rest, and hands whole inodes back. */
const ORIGIN = Symbol('drydisk.origin')

type Kept = Pick<InodeLike, 'size' | 'mode' | 'uid' | 'gid' | 'atimeMs' | 'mtimeMs'>
const KEPT = ['size', 'mode', 'uid', 'gid', 'atimeMs', 'mtimeMs'] as const

interface TrackedInode extends InodeLike {
  [ORIGIN]: Kept
}

/** The inode of what a guest has there, as ZenFS counts: milliseconds, one number for the device. */
export function inodeOf(stats: GuestStats, attributes: Attributes | undefined): InodeLike {
  const { ino, size, mode, nlink, uid, gid, rdev } = stats
  const plain: InodeLike = {
    ...{ ino, size, mode, nlink, uid, gid },
    rdev: deviceNumber(rdev),
    atimeMs: milliseconds(stats.atimeNs),
    mtimeMs: milliseconds(stats.mtimeNs),
    ctimeMs: milliseconds(stats.ctimeNs),
    // Not every filesystem keeps it; node:fs gives the time of the last change there.
    birthtimeMs: milliseconds(stats.ctimeNs),
    flags: 0,
    ...(attributes === undefined ? {} : { attributes }),
  }
  const inode: TrackedInode = Object.assign(plain, { [ORIGIN]: keptOf(plain) })
  return inode
}

function keptOf({ size, mode, uid, gid, atimeMs, mtimeMs }: Kept): Kept {
  return { size, mode, uid, gid, atimeMs, mtimeMs }
}

/**
 * Of an inode that comes back, what was changed in it since it was read. All else stays as the guest has it now: times would lose
 * their nanoseconds, and what somebody else changed meanwhile would be undone.
 */
export function changesOf(metadata: Partial<InodeLike>): Partial<Kept> {
  const origin = (metadata as Partial<TrackedInode>)[ORIGIN]
  const changes: { -readonly [K in keyof Kept]?: Kept[K] } = {}
  for (const name of KEPT) {
    const value = metadata[name]
    if (value !== undefined && value !== origin?.[name]) changes[name] = value
  }
  return changes
}

/** From here on, what the inode says is what the guest has. */
export function markWritten(metadata: Partial<InodeLike>): void {
  const tracked = metadata as Partial<TrackedInode>
  const origin = tracked[ORIGIN]
  if (origin !== undefined) tracked[ORIGIN] = { ...origin, ...changesOf(metadata) }
}

export function milliseconds(time: bigint): number {
  return Number(time / 1_000_000n) + Number(time % 1_000_000n) / 1e6
}

/** A number of milliseconds since 1970 is exact to a quarter of a microsecond. */
export function nanoseconds(time: number): bigint {
  const whole = Math.floor(time)
  return BigInt(whole) * 1_000_000n + BigInt(Math.round((time - whole) * 1e6))
}

/** As makedev(3) of glibc puts them together. */
function deviceNumber({ major, minor }: DeviceNumber): number {
  const high = (major & 0xffff_f000) * 2 ** 32 + (minor & 0xffff_ff00) * 2 ** 12
  return high + (major & 0xfff) * 2 ** 8 + (minor & 0xff)
}

/** Bytes that one attribute takes beside its name and value, with some to spare. */
const ATTRIBUTE_OVERHEAD = 64
/** Bytes for attributes that ZenFS adds to what is there. */
const ATTRIBUTE_ROOM = 4096

/** Attributes of `user.` as ZenFS keeps them: in a buffer that does not grow. */
export function attributesOf(values: ReadonlyMap<string, Uint8Array>): Attributes {
  let length = ATTRIBUTE_ROOM
  for (const [name, value] of values) length += ATTRIBUTE_OVERHEAD + toBytes(name).length + value.length
  const attributes = new Attributes(new ArrayBuffer(length))
  for (const [name, value] of values) attributes.set(name, value)
  return attributes
}
