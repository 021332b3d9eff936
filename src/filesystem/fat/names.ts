import { byteKey, printable } from '../../bytes/names.ts'
import { DrydiskError, type ErrorCode } from '../../errors.ts'
import type { FatDirectory } from './directory.ts'
import { DELETED, type ShortEntry } from './directory-entry.ts'
import type { NamedEntry } from './directory-index.ts'
import { buildLongName, longNameEntries, MOST_UNITS, shortNameChecksum } from './long-name.ts'
import { hasForbidden, makeShortName, type ShortName } from './short-name.ts'
import { bytesToName, nameToBytes, withoutTrailingDots } from './utf16-name.ts'
import type { FatVolume } from './volume.ts'

/** Bytes that the longest name may have: three for each UTF-16 unit. */
export const MOST_NAME_BYTES = MOST_UNITS * 3

/** `.` and `..`. */
export function isSpecial(name: Uint8Array): boolean {
  return (name.length === 1 || name.length === 2) && name.every(byte => byte === 0x2e)
}

function requireLength(units: number): void {
  if (units > MOST_UNITS)
    throw new DrydiskError(
      'ENAMETOOLONG',
      `a name of ${units} UTF-16 units is longer than the ${MOST_UNITS} that FAT takes`,
      { length: units },
    )
}

/** The entry of a name, `undefined` where there is none. `ENAMETOOLONG`. */
export function findName(directory: FatDirectory, name: Uint8Array): NamedEntry | undefined {
  const text = bytesToName(name)
  if (text === undefined) return undefined
  requireLength(text.length)
  return withoutTrailingDots(text) === '' ? undefined : directory.index.find(text)
}

/** As `findName`, but `ENOENT`. */
export function requireName(directory: FatDirectory, name: Uint8Array): NamedEntry {
  const entry = findName(directory, name)
  if (entry === undefined)
    throw new DrydiskError('ENOENT', `there is no '${printable(name)}' in inode ${directory.ino}`, {
      inode: directory.ino,
    })
  return entry
}

/** Refuses `.` and `..` with the code of the system call. */
export function refuseSpecial(name: Uint8Array, code: ErrorCode): void {
  if (isSpecial(name)) throw new DrydiskError(code, `'${printable(name)}' cannot be made, removed or renamed`)
}

/** The name as it will be kept. `EINVAL` for what Linux's vfat refuses too; dots at the end are dropped as it does. */
export function requireValidName(name: Uint8Array): string {
  const text = bytesToName(name)
  if (text === undefined)
    throw new DrydiskError('EINVAL', `'${printable(name)}' is not UTF-8, so FAT cannot keep it`)
  requireLength(text.length)
  if (name.length === 0) throw new DrydiskError('EINVAL', 'a file name cannot be empty')
  const kept = withoutTrailingDots(text)
  if (kept === '')
    throw new DrydiskError('ENOENT', `'${printable(name)}' is nothing but dots, which FAT drops`)
  if (hasForbidden(kept) || text.endsWith(' '))
    throw new DrydiskError(
      'EINVAL',
      `'${printable(name)}' is no name for FAT: control characters, * ? < > | " : / \\ and a space at the end are not allowed`,
    )
  return kept
}

/** A new name and the free entries that it goes to. */
export interface NamePlan {
  readonly name: string
  readonly shortName: ShortName
  readonly first: number
  readonly count: number
  /** Clusters that the directory needs for it. */
  readonly growth: number
}

/**
 * Finds room for a name that the directory does not have. Nothing changes.
 * @param besides a name that is about to go, whose entries and short name count as free.
 */
export function planName(
  volume: FatVolume,
  directory: FatDirectory,
  name: string,
  besides?: NamedEntry,
): NamePlan {
  const { index } = directory
  const shortName = makeShortName(
    name,
    volume.codePage,
    bytes => index.hasShort(bytes) && byteKey(bytes) !== besides?.shortKey,
  )
  const count = 1 + (shortName.needsLongName ? longNameEntries(name) : 0)
  const first = index.findFree(count, besides)
  return { name, shortName, first, count, growth: directory.growthFor(first + count) }
}

/** Writes a name as planned. @returns the place of its short entry. */
export async function writeName(
  volume: FatVolume,
  directory: FatDirectory,
  plan: NamePlan,
  entry: ShortEntry,
): Promise<number> {
  const { index } = directory
  const { name, shortName, first, count } = plan
  await directory.grow(plan.growth)
  entry.DIR_Name = shortName.bytes
  entry.DIR_NTRes = shortName.flags
  const pieces = shortName.needsLongName ? buildLongName(name, shortNameChecksum(entry.bytes)) : []
  pieces.push(entry.bytes)
  for (const [at, bytes] of pieces.entries())
    (await volume.editEntry(directory.placeOf(first + at))).bytes.set(bytes)
  const behind = first + count
  // Behind the end mark there may be anything: it moves along.
  if (behind > index.end && behind < directory.capacity) {
    const place = directory.placeOf(behind)
    if ((await volume.readEntry(place)).bytes[0] !== 0) (await volume.editEntry(place)).bytes[0] = 0
  }
  const short = behind - 1
  index.add({
    first,
    short,
    name: shortName.needsLongName ? name : index.textOf(entry),
    alias: index.textOf(entry),
    shortKey: byteKey(entry.DIR_Name),
    isDirectory: entry.isDirectory,
  })
  return directory.placeOf(short)
}

/** Marks all entries of a name as free. */
export async function eraseName(volume: FatVolume, directory: FatDirectory, name: NamedEntry): Promise<void> {
  for (let at = name.first; at <= name.short; at++)
    (await volume.editEntry(directory.placeOf(at))).bytes[0] = DELETED
  directory.index.remove(name)
}

/** The directory changed. The root has no entry that would say when. */
export async function touch(volume: FatVolume, directory: FatDirectory): Promise<void> {
  const node = await volume.node(directory.ino)
  if (node.entry !== undefined) (await volume.editEntry(node.place)).modified = volume.now()
}

export function nameBytes(entry: NamedEntry): Uint8Array {
  return nameToBytes(entry.name)
}
