import { compareBytes } from '../bytes/names.ts'
import type { RangeSet } from '../bytes/range-set.ts'
import { isDrydiskError } from '../errors.ts'
import type { InodeMarks } from '../filesystem/inode-marks.ts'
import { type CompareGuestsOptions, checkStep, type Folders, PathComparison } from './compare-guests.ts'
import type { GuestChange } from './guest-changes.ts'
import { childPath, joinNames, splitPath } from './guest-path.ts'
import { type Mount, type MountTable, type Place, rootOf } from './mount-table.ts'
import type { Guest } from './open-guest.ts'
import { walk } from './walk.ts'

/** Where a path leads in each state; `undefined` where there is nothing. */
type Places = readonly [before: Place | undefined, after: Place | undefined]

/** What is known of a mount's inodes: which are the same in both states, or that all are. */
type Known = InodeMarks | 'all'

interface Child {
  readonly name: Uint8Array
  readonly places: Places
}

/**
 * What differs between two states of one disk's guest: what `compareGuests` tells, at the cost of what changed. Inodes that lie outside
 * of the changed bytes are the same in both and are not read; all others are compared, content and all.
 * @param before open for reading.
 * @param after what it holds in memory is written to its disk.
 * @param changed bytes of the disk in which the states may differ.
 */
export async function* compareStates(
  before: Guest,
  after: Guest,
  changed: RangeSet,
  options: CompareGuestsOptions = {},
): AsyncGenerator<GuestChange> {
  const known = new Map<number, Known>()
  for (const mount of before.mounts) {
    const marks = await knownOf(mount, before, changed)
    if (marks !== undefined) known.set(mount.dev, marks)
  }
  const { names } = splitPath(options.path ?? '/')
  yield* new StateComparison(before, after, known, options).compare(joinNames(names))
}

async function knownOf(mount: Mount, guest: Guest, changed: RangeSet): Promise<Known | undefined> {
  const volume = guest.volumes.find(
    ({ name }) => mount.source === name || mount.source.startsWith(`${name}[`),
  )
  // What is not on this disk cannot have changed with it.
  if (volume === undefined) return 'all'
  const isChanged = (offset: number, length: number): boolean => {
    const end = Math.min(offset + length, volume.length)
    if (offset >= end) return false
    for (const place of volume.places(offset, end - offset))
      if (changed.intersects(place.start, place.end)) return true
    return false
  }
  return isChanged(0, volume.length) ? mount.fs?.untouchedInodes?.(isChanged) : 'all'
}

class StateComparison {
  readonly #tables: readonly [MountTable, MountTable]
  readonly #known: ReadonlyMap<number, Known>
  readonly #options: CompareGuestsOptions
  readonly #exact: PathComparison
  readonly #trusting: PathComparison

  constructor(before: Guest, after: Guest, known: ReadonlyMap<number, Known>, options: CompareGuestsOptions) {
    this.#tables = [before.fs.table, after.fs.table]
    this.#known = known
    this.#options = options
    this.#exact = new PathComparison(before.fs, after.fs, { ...options, trustTimes: false })
    this.#trusting = new PathComparison(before.fs, after.fs, { ...options, trustTimes: true })
  }

  async *compare(path: Uint8Array): AsyncGenerator<GuestChange> {
    const [before, after] = this.#tables
    yield* this.#entry(path, 0, [await placeOf(before, path), await placeOf(after, path)])
  }

  async *#entry(path: Uint8Array, depth: number, places: Places): AsyncGenerator<GuestChange> {
    const [before, after] = places
    const known = this.#sameOf(places)
    if (before !== undefined && after !== undefined && known !== undefined) {
      checkStep(depth, this.#options.signal)
      for (const { name, places: below } of await this.#insideSame(before, after, known))
        yield* this.#entry(childPath(path, name), depth + 1, below)
      return
    }
    const comparison = this.#comparisonAt(places)
    const folders = yield* comparison.path(path, depth)
    for (const name of await comparison.names(path, folders))
      yield* this.#entry(childPath(path, name), depth + 1, await this.#childPlaces(places, folders, name))
  }

  /** What is known of the mount, where both places are one inode that is the same in both states. */
  #sameOf([before, after]: Places): Known | undefined {
    if (before?.ino !== after?.ino || before?.mount.dev !== after?.mount.dev || before === undefined)
      return undefined
    const known = this.#known.get(before.mount.dev)
    return known === 'all' || known?.has(before.ino) ? known : undefined
  }

  /** FAT's times are too coarse to tell that a file is the same; where inodes are known, what they do not vouch for is read. */
  #comparisonAt([before, after]: Places): PathComparison {
    const mount = (before ?? after)?.mount
    return mount === undefined || mount.type === 'vfat' || this.#known.has(mount.dev)
      ? this.#exact
      : this.#trusting
  }

  /** Of what is the same in both states: what lies below it and may not be, or leads there. */
  async #insideSame(before: Place, after: Place, known: Known): Promise<Child[]> {
    const { fs } = before.mount
    // Of what cannot be read, there is nothing to be told.
    if (fs === undefined) return []
    if (known === 'all' ? !this.#hasMounts(before.mount) : !known.hasDirectory(before.ino)) return []
    if (known === 'all' && (await fs.stat(before.ino)).type !== 'directory') return []
    const children: Child[] = []
    for await (const { name, ino, type } of fs.readdir(before.ino)) {
      const isSameFile = known === 'all' ? type !== 'directory' : known.has(ino) && !known.hasDirectory(ino)
      if (isSameFile) continue
      const [one, other] = this.#tables
      children.push({
        name,
        places: [
          throughMounts(one, { mount: before.mount, ino }),
          throughMounts(other, { mount: after.mount, ino }),
        ],
      })
    }
    return children.sort((a, b) => compareBytes(a.name, b.name))
  }

  #hasMounts(mount: Mount): boolean {
    return this.#tables[0].mounts.some(({ covers }) => covers?.mount === mount)
  }

  async #childPlaces(places: Places, folders: Folders, name: Uint8Array): Promise<Places> {
    const [one, other] = this.#tables
    const [before, after] = places
    return [
      folders[0] ? await childPlace(one, before, name) : undefined,
      folders[1] ? await childPlace(other, after, name) : undefined,
    ]
  }
}

function throughMounts(table: MountTable, place: Place): Place {
  const mount = table.covering(place)
  return mount === undefined ? place : rootOf(mount)
}

async function childPlace(
  table: MountTable,
  directory: Place | undefined,
  name: Uint8Array,
): Promise<Place | undefined> {
  if (directory?.mount.fs === undefined) return undefined
  try {
    const ino = await directory.mount.fs.lookup(directory.ino, name)
    return throughMounts(table, { mount: directory.mount, ino })
  } catch (error) {
    // To read it by its path says what is wrong, where it is not merely missing.
    if (isDrydiskError(error)) return undefined
    throw error
  }
}

async function placeOf(table: MountTable, path: Uint8Array): Promise<Place | undefined> {
  try {
    return (await walk(table, path, false)).place
  } catch (error) {
    if (isDrydiskError(error)) return undefined
    throw error
  }
}
