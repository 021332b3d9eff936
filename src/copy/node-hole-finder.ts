import { constants, readSync } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { fileError } from '../device/file-error.ts'
import { FileStorage } from '../device/file-storage.ts'
import type { Storage } from '../device/storage.ts'
import { type AskOptions, cutAtHoles, dataRanges } from './node-data-ranges.ts'
import { pageAligned } from './page-aligned.ts'
import type { HoleFinder } from './plan.ts'
import { partOf, type SourcePiece } from './source-pieces.ts'
import { readsAsZero } from './zero-blocks.ts'

/** What is looked at in one piece: it stays in a core's second-level cache, where clearing and comparing are fastest. */
const STEP = 256 << 10
export const LEAST_HOLE = STEP
/** Shorter holes that the kernel tells of are read as what is around them. */
const LEAST_TOLD = 64 << 10
/** Where a hole is looked for within data: so far apart that it costs little even where each look is a wait for the disk. */
const GRID = 1 << 20
/** What is looked at through the page cache, at three places of a step, before the step is read directly. */
const PROBE = 512
/** After so many looks they have to have taken less than so many milliseconds each: a disk that moves its head loses more by them. */
const LOOKS = 16
const LONGEST_LOOK = 1
/** Data without a hole is handed on in pieces of this length: a conversion begins before all of a file was looked at. */
const MOST_DATA = 2 << 20
/** Others get their turn after so many bytes: a millisecond. */
const TURN = 16 << 20
/** After so long, in milliseconds, reading directly has to have been */
const TRIAL = 50
/** so fast, in bytes a millisecond: else it reads zeros from a disk or a network, which others do better, several at once. */
const LEAST_PACE = 1_000_000

/**
 * What keeps a file from being opened for direct input and from nothing else: the filesystem has none (open(2): EINVAL; EOPNOTSUPP of some), there
 * is no /proc (ENOENT), or the file is open but may not be opened again (EACCES, EPERM).
 */
const WITHOUT_DIRECT_INPUT: readonly unknown[] = [
  'EINVAL',
  'EOPNOTSUPP',
  'ENOTSUP',
  'ENOENT',
  'EACCES',
  'EPERM',
]

function isWithoutDirectInput(error: unknown): boolean {
  return error instanceof Error && 'code' in error && WITHOUT_DIRECT_INPUT.includes(error.code)
}

interface SparseFile {
  readonly fd: number
  readonly direct: FileHandle
}

export interface HoleFinderOptions extends AskOptions {
  /** Bytes of zeros in a row that are left out: shorter holes are no holes. */
  readonly sparseSize?: number
  /** Milliseconds, for tests: whether reading holes pays is measured. */
  readonly now?: () => number
}

/**
 * Finds holes in sparse files of the host: where nobody can ask the kernel for them, by reading. Through the page
 * cache that fills the cache with zeros: 0.6 GB/s the first time and 5 GB/s again. Direct input of a hole only clears memory:
 * 35 GB/s into 256 KiB, 15 GB/s with the comparison. So what begins, ends and has zeros in its middle is read directly, until there
 * is data; data is left to those that read through the cache, where it may be already.
 */
export class NodeHoleFinder implements HoleFinder {
  readonly #told: ReadonlyMap<Storage, Float64Array>
  readonly #files: ReadonlyMap<Storage, SparseFile>
  readonly #leastTold: number
  #bytes: Uint8Array | undefined
  /** Bytes of holes found by direct input, and the milliseconds of all direct input. */
  #found = 0
  #spent = 0
  /** Looks at the page cache, and the milliseconds that they took. */
  #looks = 0
  #looking = 0
  readonly #now: () => number

  private constructor(
    told: ReadonlyMap<Storage, Float64Array>,
    files: ReadonlyMap<Storage, SparseFile>,
    { sparseSize = 0, now = () => performance.now() }: HoleFinderOptions,
  ) {
    this.#told = told
    this.#files = files
    this.#leastTold = Math.max(LEAST_TOLD, sparseSize)
    this.#now = now
  }

  /** `undefined` where none of the files has holes, or they can neither be asked for nor read directly. */
  static async open(
    storages: readonly Storage[],
    options: HoleFinderOptions = {},
  ): Promise<NodeHoleFinder | undefined> {
    if (process.platform !== 'linux') return undefined
    const told = new Map<Storage, Float64Array>()
    const files = new Map<Storage, SparseFile>()
    for (const storage of storages) {
      if (!(storage instanceof FileStorage)) continue
      try {
        // The file that is open, whatever its name means by now.
        const path = `/proc/self/fd/${storage.fd}`
        const { size, blocks } = await stat(path)
        if (blocks * 512 >= size) continue
        const ranges = await dataRanges(storage.fd, options)
        if (ranges !== undefined) {
          told.set(storage, ranges)
          continue
        }
        if (constants.O_DIRECT === undefined) continue
        const direct = await open(path, constants.O_RDONLY | constants.O_DIRECT)
        files.set(storage, { fd: storage.fd, direct })
      } catch (error) {
        if (isWithoutDirectInput(error)) continue
        for (const { direct } of files.values()) await direct.close()
        throw fileError(error, storage.name, 'look for holes in')
      }
    }
    return told.size + files.size === 0 ? undefined : new NodeHoleFinder(told, files, options)
  }

  async *parts(piece: SourcePiece): AsyncGenerator<SourcePiece> {
    const ranges = piece.kind === 'data' ? this.#told.get(piece.storage) : undefined
    if (piece.kind === 'data' && ranges !== undefined) {
      yield* cutAtHoles(piece, ranges, this.#leastTold)
      return
    }
    const file = piece.kind === 'data' ? this.#files.get(piece.storage) : undefined
    if (piece.kind !== 'data' || file === undefined || !this.#pays()) {
      yield piece
      return
    }
    const end = piece.offset + piece.length
    let start = piece.offset
    for (let at = start; at < end; ) {
      const host = piece.host + at - piece.offset
      const last = piece.host + piece.length
      const stop = host % GRID === 0 && this.#pays() ? await this.#endOfHole(file, host, last) : host
      if (stop > host) {
        if (at > start) yield partOf(piece, start, at)
        const { offset, depth } = piece
        start = offset + stop - piece.host
        yield { kind: 'zero', offset: at, length: stop - host, depth, leave: true }
        at = start
        continue
      }
      at = Math.min(end, at + GRID - (host % GRID))
      if (at - start >= MOST_DATA) {
        yield partOf(piece, start, at)
        start = at
      }
    }
    if (start < end) yield partOf(piece, start, end)
  }

  #pays(): boolean {
    if (this.#looks > LOOKS && this.#looking > LONGEST_LOOK * this.#looks) return false
    return this.#spent < TRIAL || this.#found > LEAST_PACE * this.#spent
  }

  /** How far whole steps of zeros go. */
  async #endOfHole({ fd, direct }: SparseFile, host: number, end: number): Promise<number> {
    let at = host
    // A hole that goes on ends in data that goes on: the end of a step tells.
    for (let places = [0, STEP / 2, STEP - PROBE]; at + STEP <= end; places = [STEP - PROBE]) {
      if (!this.#mayBeHole(fd, at, places) || !this.#isHole(direct.fd, at)) break
      at += STEP
      if ((at - host) % TURN === 0) await new Promise(resolve => setImmediate(resolve))
    }
    return at
  }

  /** Whether a step looks empty at these places. Direct input of data waits for the disk, and for all that is written to it. */
  #mayBeHole(fd: number, host: number, places: readonly number[]): boolean {
    const start = this.#now()
    const empty = places.every(within => this.#isEmpty(fd, host + within, PROBE))
    this.#looks++
    this.#looking += this.#now() - start
    return empty
  }

  #isHole(fd: number, host: number): boolean {
    const start = this.#now()
    const empty = this.#isEmpty(fd, host, STEP)
    this.#spent += this.#now() - start
    if (empty) this.#found += STEP
    return empty
  }

  #isEmpty(fd: number, host: number, length: number): boolean {
    this.#bytes ??= pageAligned(STEP)
    const bytes = this.#bytes.subarray(0, length)
    try {
      return readSync(fd, bytes, 0, length, host) === length && readsAsZero(bytes)
    } catch {
      // What is wrong shows when it is read as everything else.
      return false
    }
  }

  async close(): Promise<void> {
    for (const { direct } of this.#files.values()) await direct.close()
  }
}
