import { equalBytes } from '../bytes/compare.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { type MappedRun, runsOf } from '../device/mapped-runs.ts'
import type { Storage } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'

/** Guest bytes of one piece of work, and how many of them are under way at once: two buffers each. */
const PIECE = 1 << 20
const AT_ONCE = 4

/** What `compareDevices` takes. `strict` wants the same size and the same allocation too; progress is in bytes. */
export interface CompareOptions {
  /** Sizes, and what is allocated, have to be the same too. */
  readonly strict?: boolean
  readonly signal?: AbortSignal
  /** In bytes of the larger disk. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
}

/** What `compareDevices` found: nothing that differs, or the first byte that does. */
export type Comparison =
  /** What the larger of both has beyond the smaller is zeros. */
  | { readonly identical: true; readonly sameSize: boolean }
  /** The first byte that differs. `beyond`: the smaller disk ends before it. */
  | {
      readonly identical: false
      readonly differs: 'content'
      readonly offset: number
      readonly beyond: boolean
    }
  /** Strict: where one is allocated, stored as it is, or made of zeros, and the other is not. */
  | { readonly identical: false; readonly differs: 'allocation'; readonly offset: number }
  | { readonly identical: false; readonly differs: 'size' }

/**
 * Compares what two disks hold. What both say is zeros, and what both have from the same place of the same file, is not read.
 * Errors: `ERR_ABORTED`, and what reading throws.
 */
export async function compareDevices(
  a: BlockDevice,
  b: BlockDevice,
  options: CompareOptions = {},
): Promise<Comparison> {
  if (options.strict && a.size !== b.size) return { identical: false, differs: 'size' }
  const total = Math.max(a.size, b.size)
  const work = new Work(a, b, options, total)
  const common = Math.min(a.size, b.size)
  for await (const { offset, length, one, other } of pairs(a, b, common)) {
    if (options.strict && statusOf(one) !== statusOf(other))
      return (await work.finish()) ?? { identical: false, differs: 'allocation', offset }
    if (same(one, other, offset)) continue
    if (await work.add(offset, length)) break
  }
  if (a.size !== b.size) {
    const longer = a.size > b.size ? a : b
    for await (const { kind, offset, length } of singleRuns(longer, common))
      if (kind !== 'zero' && (await work.add(offset, length))) break
  }
  return (await work.finish()) ?? { identical: true, sameSize: a.size === b.size }
}

/** Runs of both disks, cut where either ends. */
async function* pairs(a: BlockDevice, b: BlockDevice, size: number) {
  const ones = new RunReader(a, size)
  const others = new RunReader(b, size)
  for (let offset = 0; offset < size; ) {
    const one = await ones.at(offset)
    const other = await others.at(offset)
    const end = Math.min(one.offset + one.length, other.offset + other.length)
    yield { offset, length: end - offset, one, other }
    offset = end
  }
}

async function* singleRuns(device: BlockDevice, from: number): AsyncIterable<MappedRun> {
  for await (const runs of runsOf(device, from, device.size - from)) yield* runs
}

class RunReader {
  readonly #batches: AsyncIterator<readonly MappedRun[]>
  #runs: readonly MappedRun[] = []
  #next = 0

  constructor(device: BlockDevice, size: number) {
    this.#batches = runsOf(device, 0, size)[Symbol.asyncIterator]()
  }

  /** The run that holds the offset; offsets ascend. */
  async at(offset: number): Promise<MappedRun> {
    for (;;) {
      for (; this.#next < this.#runs.length; this.#next++) {
        const run = this.#runs[this.#next]
        if (run !== undefined && offset < run.offset + run.length) return run
      }
      const { value, done } = await this.#batches.next()
      if (done === true) throw new TypeError(`the runs of a device end before byte ${offset}`)
      this.#runs = value
      this.#next = 0
    }
  }
}

/** What qemu-img compares in strict mode: not where something is, but of what kind. */
function statusOf(run: MappedRun): string {
  if (run.kind === 'zero') return `zero ${run.allocated} ${run.host !== undefined}`
  return run.kind === 'data' ? 'data true' : 'data false'
}

/** Whether both are the same without being read. */
function same(one: MappedRun, other: MappedRun, offset: number): boolean {
  if (one.kind === 'zero' || other.kind === 'zero') return one.kind === other.kind
  if (one.kind === 'data' && other.kind === 'data')
    return (
      one.host + offset - one.offset === other.host + offset - other.offset &&
      sameFile(one.storage, other.storage)
    )
  return (
    one.kind === 'compressed' &&
    other.kind === 'compressed' &&
    one.host === other.host &&
    one.stored === other.stored &&
    one.clusterSize === other.clusterSize &&
    one.within + offset - one.offset === other.within + offset - other.offset &&
    one.compression === other.compression &&
    sameFile(one.storage, other.storage)
  )
}

function sameFile(one: Storage, other: Storage): boolean {
  if (one === other) return true
  const identity = one.identity
  return identity !== undefined && identity === other.identity
}

/** Ranges to be read from both and held against each other, several at a time. */
class Work {
  readonly #a: BlockDevice
  readonly #b: BlockDevice
  readonly #options: CompareOptions
  readonly #total: number
  readonly #running = new Set<Promise<void>>()
  readonly #spare: Uint8Array[] = []
  /** What was added and is not yet worth a piece. */
  #start = 0
  #end = 0
  #difference = Number.POSITIVE_INFINITY
  #failure: { readonly offset: number; readonly error: unknown } | undefined

  constructor(a: BlockDevice, b: BlockDevice, options: CompareOptions, total: number) {
    this.#a = a
    this.#b = b
    this.#options = options
    this.#total = total
  }

  /** Adds a range behind those before. @returns true when the rest is of no interest. */
  async add(offset: number, length: number): Promise<boolean> {
    if (offset !== this.#end) await this.#flush()
    if (this.#start === this.#end) this.#start = offset
    this.#end = offset + length
    while (this.#end - this.#start >= PIECE && !this.#decided) {
      await this.#begin(this.#start, PIECE)
      this.#start += PIECE
    }
    return this.#decided
  }

  get #decided(): boolean {
    return this.#failure !== undefined || this.#difference !== Number.POSITIVE_INFINITY
  }

  async #flush(): Promise<void> {
    if (this.#end > this.#start && !this.#decided) await this.#begin(this.#start, this.#end - this.#start)
    this.#start = this.#end
  }

  /** Starts on a piece as soon as there is room. */
  async #begin(offset: number, length: number): Promise<void> {
    while (this.#running.size >= AT_ONCE) await Promise.race(this.#running)
    if (this.#options.signal?.aborted === true)
      this.#failure = { offset, error: new DrydiskError('ERR_ABORTED', 'the comparison was stopped') }
    if (this.#decided) return
    const piece: Promise<void> = this.#compare(offset, length).then(
      () => {
        this.#running.delete(piece)
        this.#options.onProgress?.({ done: offset + length, total: this.#total })
      },
      (error: unknown) => {
        this.#running.delete(piece)
        if (this.#failure === undefined || offset < this.#failure.offset) this.#failure = { offset, error }
      },
    )
    this.#running.add(piece)
  }

  async #compare(offset: number, length: number): Promise<void> {
    const [left, right] = [this.#spare.pop(), this.#spare.pop()].map(spare => spare ?? new Uint8Array(PIECE))
    if (left === undefined || right === undefined) return
    const one = left.subarray(0, length)
    const other = right.subarray(0, length)
    await Promise.all([readPast(this.#a, offset, one), readPast(this.#b, offset, other)])
    const at = firstDifference(one, other)
    if (at >= 0) this.#difference = Math.min(this.#difference, offset + at)
    this.#spare.push(left, right)
  }

  /** Waits for what is under way. @returns the first difference, if there is one. */
  async finish(): Promise<Comparison | undefined> {
    await this.#flush()
    await Promise.all(this.#running)
    if (this.#failure !== undefined && this.#failure.offset <= this.#difference) throw this.#failure.error
    this.#options.onProgress?.({ done: this.#total, total: this.#total })
    if (this.#difference === Number.POSITIVE_INFINITY) return undefined
    const beyond = this.#difference >= Math.min(this.#a.size, this.#b.size)
    return { identical: false, differs: 'content', offset: this.#difference, beyond }
  }
}

/** What lies past the end of the disk is zeros. */
async function readPast(device: BlockDevice, offset: number, into: Uint8Array): Promise<void> {
  const present = Math.max(0, Math.min(into.length, device.size - offset))
  if (present > 0) await device.read(offset, into.subarray(0, present))
  into.fill(0, present)
}

/** Index of the first byte that differs; -1 where none does. */
function firstDifference(one: Uint8Array, other: Uint8Array): number {
  if (equalBytes(one, other)) return -1
  let start = 0
  for (let length = one.length; length > 16; ) {
    const half = length >>> 1
    if (equalBytes(one.subarray(start, start + half), other.subarray(start, start + half))) {
      start += half
      length -= half
    } else length = half
  }
  while (one[start] === other[start]) start++
  return start
}
