import { equalBytes } from '../bytes/compare.ts'
import { RangeSet } from '../bytes/range-set.ts'
import type { BlockDevice } from './block-device.ts'
import { type MappedRun, runsOf } from './mapped-runs.ts'

/** What may differ is read and compared up to this many bytes, so that a large change costs no more than it has to. */
const MOST_READ = 64 << 20
const CHUNK = 1 << 20
/** Bytes that are compared as one; of a page that differs, smaller ones: inodes have 128 bytes or more. */
const PAGE = 4096
const UNIT = 128

/**
 * In which bytes two states of one disk may differ: an image and its committed state, a snapshot of it, or its backing file. By where
 * their bytes lie, so little is read. Everything outside of the answer is the same; of what is in it, something may be too.
 */
export async function changedRanges(before: BlockDevice, after: BlockDevice): Promise<RangeSet> {
  const size = Math.min(before.size, after.size)
  const changed = new RangeSet()
  const [one, other] = [new RunCursor(before, size), new RunCursor(after, size)]
  for (let at = 0; at < size; ) {
    const [a, b] = [await one.at(at), await other.at(at)]
    const end = Math.min(a.offset + a.length, b.offset + b.length)
    if (!sameBytes(a, b)) changed.add(at, end)
    at = end
  }
  const exact = await refined(before, after, changed)
  exact.add(size, Math.max(before.size, after.size))
  return exact
}

/** Whether what two runs have in common lies in the same place. */
function sameBytes(a: MappedRun, b: MappedRun): boolean {
  if (a.kind === 'zero' || b.kind === 'zero') return a.kind === b.kind
  if (a.kind === 'staged' || b.kind === 'staged') return false
  // The same file, opened twice, has two objects: its layer and its name tell it from the image's other files.
  if (a.storage !== b.storage && (a.depth !== b.depth || a.storage.name !== b.storage.name)) return false
  if (a.kind === 'compressed')
    return b.kind === 'compressed' && a.host === b.host && a.offset - a.within === b.offset - b.within
  return b.kind === 'data' && a.host - a.offset === b.host - b.offset
}

/** Of the ranges, as far as they are read, what really differs. */
async function refined(before: BlockDevice, after: BlockDevice, changed: RangeSet): Promise<RangeSet> {
  const exact = new RangeSet()
  const buffers = [new Uint8Array(CHUNK), new Uint8Array(CHUNK)] as const
  let left = MOST_READ
  for (const { start, end } of changed.ranges()) {
    const stop = Math.min(end, start + left)
    left -= stop - start
    for (let at = start; at < stop; at += CHUNK) {
      const length = Math.min(CHUNK, stop - at)
      const [a, b] = [buffers[0].subarray(0, length), buffers[1].subarray(0, length)]
      await before.read(at, a)
      await after.read(at, b)
      for (const page of differing(a, b, 0, length, PAGE))
        for (const unit of differing(a, b, page, Math.min(page + PAGE, length), UNIT))
          exact.add(at + unit, Math.min(at + unit + UNIT, stop))
    }
    exact.add(stop, end)
  }
  return exact
}

/** Where the pieces of a window begin in which two buffers differ. */
function* differing(a: Uint8Array, b: Uint8Array, from: number, to: number, piece: number): Iterable<number> {
  for (let at = from; at < to; at += piece) {
    const end = Math.min(at + piece, to)
    if (!equalBytes(a.subarray(at, end), b.subarray(at, end))) yield at
  }
}

/** Walks once through the runs of a device. */
class RunCursor {
  readonly #batches: AsyncIterator<readonly MappedRun[]>
  #runs: readonly MappedRun[] = []
  #index = 0

  constructor(device: BlockDevice, size: number) {
    this.#batches = runsOf(device, 0, size)[Symbol.asyncIterator]()
  }

  /** The run with this byte. Offsets may only grow. */
  async at(offset: number): Promise<MappedRun> {
    for (;;) {
      const run = this.#runs[this.#index]
      if (run !== undefined && offset < run.offset + run.length) return run
      if (run !== undefined) this.#index++
      else {
        const next = await this.#batches.next()
        if (next.done === true) throw new Error('runs end before the device does')
        this.#runs = next.value
        this.#index = 0
      }
    }
  }
}
