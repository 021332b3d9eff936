import { Attributes, type InodeLike } from '@zenfs/core'
import { equalBytes } from '../bytes/compare.ts'
import { toBytes } from '../bytes/names.ts'
import type { DeviceNumber } from '../filesystem/filesystem.ts'
import type { GuestStats } from '../guest/guest-fs.ts'

/** What an inode said when it was read. ZenFS copies it along with the rest, and hands whole inodes back. */
const ORIGIN = Symbol('drydisk.origin')

type Kept = Pick<InodeLike, 'size' | 'mode' | 'uid' | 'gid' | 'atimeMs' | 'mtimeMs'>
const KEPT = ['size', 'mode', 'uid', 'gid', 'atimeMs', 'mtimeMs'] as const

type Values = ReadonlyMap<string, Uint8Array>

interface Origin {
  readonly kept: Kept
  readonly attributes: Values
}

interface TrackedInode extends InodeLike {
  [ORIGIN]: Origin
}

/**
 * The inode of what a guest has there, as ZenFS counts: milliseconds, one number for the device.
 * @param values the attributes of `user.`.
 */
export function inodeOf(stats: GuestStats, values: Values = new Map()): InodeLike {
  const { ino, size, mode, nlink, uid, gid, rdev } = stats
  const attributes = attributesOf(values)
  const plain: InodeLike = {
    ...{ ino, size, mode, nlink, uid, gid },
    rdev: deviceNumber(rdev),
    atimeMs: milliseconds(stats.atimeNs),
    mtimeMs: milliseconds(stats.mtimeNs),
    ctimeMs: milliseconds(stats.ctimeNs),
    // Not every filesystem keeps it; node:fs gives the time of the last change there.
    birthtimeMs: milliseconds(stats.ctimeNs),
    flags: 0,
    attributes,
  }
  const inode: TrackedInode = Object.assign(plain, {
    [ORIGIN]: { kept: keptOf(plain), attributes: valuesOf(attributes) },
  })
  return inode
}

function keptOf({ size, mode, uid, gid, atimeMs, mtimeMs }: Kept): Kept {
  return { size, mode, uid, gid, atimeMs, mtimeMs }
}

/** What was changed in an inode. */
export interface InodeChanges extends Partial<Kept> {
  /** Attributes that are new or have another value. */
  readonly set: Values
  /** Attributes that were taken away. */
  readonly removed: readonly string[]
}

/**
 * Of an inode that comes back, what was changed in it since it was read. All else stays as the guest has it now: times would lose
 * their nanoseconds, and what somebody else changed meanwhile would be undone.
 */
export function changesOf(metadata: Partial<InodeLike>): InodeChanges {
  const origin = (metadata as Partial<TrackedInode>)[ORIGIN]
  const changes: { -readonly [K in keyof Kept]?: Kept[K] } = {}
  for (const name of KEPT) {
    const value = metadata[name]
    if (value !== undefined && value !== origin?.kept[name]) changes[name] = value
  }
  const set = new Map<string, Uint8Array>()
  const known = origin?.attributes ?? new Map<string, Uint8Array>()
  if (metadata.attributes === undefined) return { ...changes, set, removed: [] }
  const values = valuesOf(metadata.attributes)
  for (const [name, value] of values) {
    const before = known.get(name)
    if (before === undefined || !equalBytes(before, value)) set.set(name, value)
  }
  return { ...changes, set, removed: [...known.keys()].filter(name => !values.has(name)) }
}

/** From here on, what the inode says is what the guest has. */
export function markWritten(metadata: Partial<InodeLike>): void {
  const tracked = metadata as Partial<TrackedInode>
  const origin = tracked[ORIGIN]
  if (origin === undefined) return
  const kept = { ...origin.kept }
  for (const name of KEPT) kept[name] = metadata[name] ?? kept[name]
  const { attributes } = metadata
  tracked[ORIGIN] = { kept, attributes: attributes === undefined ? origin.attributes : valuesOf(attributes) }
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

/** Bytes that the lengths of an attribute's name and value take. */
const ATTRIBUTE_HEAD = 8
/** Longer ones ZenFS does not hold (`maxDynamicData` of its inodes); they are left out, and stay as they are. */
const LONGEST_ATTRIBUTE = 3968
/** Bytes for attributes that ZenFS adds to what is there. */
const ATTRIBUTE_ROOM = 4096

/** Attributes of `user.` as ZenFS keeps them: in a buffer that does not grow. */
function attributesOf(values: Values): Attributes {
  const shown = new Map<string, Uint8Array>()
  let length = ATTRIBUTE_ROOM
  for (const [name, value] of values) {
    const needed = ATTRIBUTE_HEAD + toBytes(name).length + value.length
    if (needed > LONGEST_ATTRIBUTE) continue
    shown.set(name, value)
    length += needed
  }
  const attributes = new Attributes(new ArrayBuffer(length))
  for (const [name, value] of shown) attributes.set(name, value)
  return attributes
}

/** Copies: what ZenFS gives is a view of a class of its own. */
function valuesOf(attributes: Attributes): Values {
  const values = new Map<string, Uint8Array>()
  for (const name of attributes.keys()) {
    const value = attributes.get(name)
    if (value !== undefined) values.set(name, new Uint8Array(value))
  }
  return values
}
