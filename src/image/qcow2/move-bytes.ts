import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { readPadded } from './padded-read.ts'

/** Bytes in one worker's hands: long enough that a system call costs nothing beside them. */
const BATCH = 2 << 20
/** Batches in flight; the thread pool of Node has four threads. */
const WORKERS = 4
/** Numbers of one run. */
const WIDTH = 3

/** Runs of bytes to copy within a file, in the order of their addition; neighbours that go on are one. */
export class Moves {
  #runs = new Float64Array(WIDTH * 64)
  #count = 0
  #total = 0

  get count(): number {
    return this.#count
  }
  /** Bytes. */
  get total(): number {
    return this.#total
  }

  /** What overlaps with the run before, and goes the same way, counts once. */
  add(from: number, to: number, length: number): void {
    const last = (this.#count - 1) * WIDTH
    if (last >= 0) {
      const start = this.#runs[last] ?? 0
      const known = this.#runs[last + 2] ?? 0
      if (from >= start && from <= start + known && to - from === (this.#runs[last + 1] ?? 0) - start) {
        const longer = Math.max(known, from + length - start)
        this.#runs[last + 2] = longer
        this.#total += longer - known
        return
      }
    }
    const at = this.#count++ * WIDTH
    if (at === this.#runs.length) {
      const more = new Float64Array(at * 2)
      more.set(this.#runs)
      this.#runs = more
    }
    this.#runs[at] = from
    this.#runs[at + 1] = to
    this.#runs[at + 2] = length
    this.#total += length
  }

  /** The runs, cut so that a batch is at most so many bytes. */
  *batches(): IterableIterator<Move[]> {
    let batch: Move[] = []
    let room = BATCH
    for (let index = 0; index < this.#count; index++) {
      const [from = 0, to = 0, length = 0] = this.#runs.subarray(index * WIDTH, index * WIDTH + WIDTH)
      for (let done = 0; done < length; ) {
        const part = Math.min(length - done, room)
        batch.push({ from: from + done, to: to + done, length: part })
        done += part
        room -= part
        if (room > 0) continue
        yield batch
        batch = []
        room = BATCH
      }
    }
    if (batch.length > 0) yield batch
  }
}

interface Move {
  readonly from: number
  readonly to: number
  readonly length: number
}

/**
 * Copies the runs, several at a time. Nothing of what is read may be written by any of them.
 * Errors: what the storage throws; `ERR_ABORTED`. When it fails, nothing is under way any more.
 */
export async function moveBytes(
  storage: Storage,
  moves: Moves,
  signal: AbortSignal | undefined,
  onMoved: (bytes: number) => void,
): Promise<void> {
  const batches = moves.batches()
  let failure: { readonly error: unknown } | undefined
  const work = async (): Promise<void> => {
    const buffer = new Uint8Array(Math.min(BATCH, moves.total))
    for (const batch of batches) {
      if (failure !== undefined) return
      try {
        checkSignal(signal, storage)
        await moveBatch(storage, batch, buffer)
        onMoved(batch.reduce((sum, { length }) => sum + length, 0))
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(WORKERS, Math.ceil(moves.total / BATCH)) }, work))
  if (failure !== undefined) throw failure.error
}

export function checkSignal(signal: AbortSignal | undefined, storage: Storage): void {
  if (signal?.aborted)
    throw new DrydiskError('ERR_ABORTED', `compacting ${storage.name} was stopped`, { path: storage.name })
}

async function moveBatch(storage: Storage, batch: readonly Move[], buffer: Uint8Array): Promise<void> {
  await settled(
    joined(batch, 'from').map(({ at, offset, length }) =>
      readPadded(storage, offset, buffer.subarray(at, at + length)),
    ),
  )
  await settled(
    joined(batch, 'to').map(({ at, offset, length }) =>
      storage.write(offset, buffer.subarray(at, at + length)),
    ),
  )
}

/** Runs of the batch that go on in the file, and where in the buffer they are. */
function joined(
  batch: readonly Move[],
  side: 'from' | 'to',
): { readonly at: number; readonly offset: number; readonly length: number }[] {
  const runs: { at: number; offset: number; length: number }[] = []
  let at = 0
  for (const move of batch) {
    const last = runs.at(-1)
    if (last !== undefined && last.offset + last.length === move[side]) last.length += move.length
    else runs.push({ at, offset: move[side], length: move.length })
    at += move.length
  }
  return runs
}

/** All have ended when this ends, so that nobody writes to a file that is being cut. */
async function settled(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason
}
