import { equalBytes } from '../bytes/compare.ts'
import { compareBytes, printable } from '../bytes/names.ts'
import { DrydiskError } from '../errors.ts'
import { type Captured, type ChangedAspect, capture, differences, type GuestChange } from './guest-changes.ts'
import type { GuestFs, GuestPath, GuestStats } from './guest-fs.ts'
import { childPath, joinNames, pathText, splitPath } from './guest-path.ts'

/** What `compareGuests` takes. */
export interface CompareGuestsOptions {
  /** What is compared; `/` when left out. */
  readonly path?: GuestPath
  /** Files of which only the time of modification differs are told of too. */
  readonly times?: boolean
  /**
   * A file of the same inode, size and times (ctime among them, which nobody can set) is taken for the same without a look
   * at its content. For two states of one filesystem only.
   */
  readonly trustTimes?: boolean
  readonly signal?: AbortSignal
}

const CHUNK = 1 << 20
/** Directories inside each other. Linux's PATH_MAX has room for half as many. */
const MOST_DEPTH = 4096

/**
 * What differs between two guests, by path, each directory before what is in it: type, content, mode, owner, link target,
 * extended attributes, device numbers. What lies below a directory that only one has is told of one by one.
 * A name that is a file here and a directory there is `changed`, with what is in the directory created or removed.
 */
export async function* compareGuests(
  before: GuestFs,
  after: GuestFs,
  options: CompareGuestsOptions = {},
): AsyncGenerator<GuestChange> {
  const comparison = new PathComparison(before, after, options)
  yield* entry(comparison, joinNames(splitPath(options.path ?? '/').names), 0)
}

async function* entry(
  comparison: PathComparison,
  path: Uint8Array,
  depth: number,
): AsyncGenerator<GuestChange> {
  const folders = yield* comparison.path(path, depth)
  for (const name of await comparison.names(path, folders))
    yield* entry(comparison, childPath(path, name), depth + 1)
}

/** `ERR_ABORTED`; `ERR_CORRUPT` where directories lie inside each other without end. */
export function checkStep(depth: number, signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new DrydiskError('ERR_ABORTED', 'stopped before it was done')
  if (depth > MOST_DEPTH)
    throw new DrydiskError('ERR_CORRUPT', `more than ${MOST_DEPTH} directories inside each other`, {})
}

/** On which sides a path is a directory: before and after. */
export type Folders = readonly [before: boolean, after: boolean]

/** Compares what is at one path after the other. */
export class PathComparison {
  readonly #before: GuestFs
  readonly #after: GuestFs
  readonly #options: CompareGuestsOptions
  readonly #buffers = [new Uint8Array(CHUNK), new Uint8Array(CHUNK)] as const

  constructor(before: GuestFs, after: GuestFs, options: CompareGuestsOptions) {
    this.#before = before
    this.#after = after
    this.#options = options
  }

  /** What differs at a path itself, and on which sides it is a directory. */
  async *path(path: Uint8Array, depth: number): AsyncGenerator<GuestChange, Folders> {
    checkStep(depth, this.#options.signal)
    const [one, other] = [await capture(this.#before, path, false), await capture(this.#after, path, false)]
    if (one === undefined && other === undefined && depth === 0)
      throw new DrydiskError('ENOENT', `${printable(path)}: neither guest has it`, { path: pathText(path) })
    if (one !== undefined && other !== undefined) yield* this.#both(path, one, other)
    else if (one !== undefined)
      yield {
        path,
        kind: 'removed',
        type: one.stats.type,
        aspects: [],
        before: await withContent(this.#before, path, one),
      }
    else if (other !== undefined)
      yield {
        path,
        kind: 'created',
        type: other.stats.type,
        aspects: [],
        after: await withContent(this.#after, path, other),
      }
    return [one?.stats.isDirectory() ?? false, other?.stats.isDirectory() ?? false]
  }

  /** Of a directory on either side or both, by byte order. */
  async names(path: Uint8Array, folders: Folders): Promise<Uint8Array[]> {
    const names = [
      ...(folders[0] ? await this.#before.readdir(path) : []),
      ...(folders[1] ? await this.#after.readdir(path) : []),
    ]
      .map(({ name }) => name)
      .sort(compareBytes)
    return names.filter((name, index) => {
      const last = names[index - 1]
      return last === undefined || compareBytes(last, name) !== 0
    })
  }

  async *#both(path: Uint8Array, one: Captured, other: Captured): AsyncGenerator<GuestChange> {
    const content =
      one.stats.isFile() && other.stats.isFile() && !(await this.#sameContent(path, one.stats, other.stats))
    const aspects: ChangedAspect[] = differences(one, other, content).filter(
      aspect => aspect !== 'times' || this.#options.times,
    )
    if (!sameDevice(one.stats, other.stats)) aspects.push('device')
    if (aspects.length === 0) return
    const shows = content || aspects.includes('type')
    yield {
      path,
      kind: 'changed',
      type: other.stats.type,
      aspects,
      before: shows ? await withContent(this.#before, path, one) : one,
      after: shows ? await withContent(this.#after, path, other) : other,
    }
  }

  async #sameContent(path: Uint8Array, one: GuestStats, other: GuestStats): Promise<boolean> {
    if (one.size !== other.size) return false
    if (
      this.#options.trustTimes &&
      one.ino === other.ino &&
      one.ctimeNs === other.ctimeNs &&
      one.mtimeNs === other.mtimeNs
    )
      return true
    const [a, b] = this.#buffers
    for (let at = 0; at < one.size; ) {
      const length = Math.min(CHUNK, one.size - at)
      const got = await this.#before.readAt(path, at, a.subarray(0, length))
      const gotOther = await this.#after.readAt(path, at, b.subarray(0, length))
      if (got !== gotOther || !equalBytes(a.subarray(0, got), b.subarray(0, got))) return false
      if (got === 0) break
      at += got
    }
    return true
  }
}

/** Small files with what is in them, for a diff. */
async function withContent(guest: GuestFs, path: Uint8Array, captured: Captured): Promise<Captured> {
  return captured.stats.isFile() ? ((await capture(guest, path, true)) ?? captured) : captured
}

function sameDevice(one: GuestStats, other: GuestStats): boolean {
  if (!one.isBlockDevice() && !one.isCharacterDevice()) return true
  return one.rdev.major === other.rdev.major && one.rdev.minor === other.rdev.minor
}
