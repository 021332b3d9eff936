import type { Storage } from '../../device/storage.ts'

/** Pieces closer than this are read with what lies between them, */
const MAX_GAP = 32 << 10
/** up to this many bytes, and this many reads, at a time. */
const MAX_RUN = 1 << 20
const MAX_READS = 16
/** Larger pieces are worth a read each. */
const MAX_PIECE = 8 << 10

/**
 * Reads what the file holds of the range and zeros for the rest: qemu leaves the last cluster of a file short, and
 * reads beyond the end as zeros.
 */
export async function readPadded(storage: Storage, offset: number, into: Uint8Array): Promise<void> {
  const present = Math.max(0, Math.min(into.length, storage.size - offset))
  if (present > 0) {
    const part = into.subarray(0, present)
    if (storage.readPieces !== undefined && present <= MAX_PIECE)
      await storage.readPieces([offset], present, part)
    else await storage.read(offset, part)
  }
  if (present < into.length) into.fill(0, present)
}

/**
 * Reads many equally long pieces at ascending offsets, joining near ones into one read, and gives each to `each`.
 * The bytes belong to `each` only until it returns.
 */
export async function readPieces(
  storage: Storage,
  offsets: ArrayLike<number>,
  length: number,
  each: (offset: number, bytes: Uint8Array) => void,
): Promise<void> {
  if (storage.readPieces !== undefined && length <= MAX_PIECE) {
    const inside = Float64Array.from(offsets).filter(offset => offset + length <= storage.size)
    // Offsets ascend, so what the file's end cuts comes last, and is left to the loop below.
    await readMany(storage, inside, length, each)
    if (inside.length === offsets.length) return
    offsets = Float64Array.from(offsets).subarray(inside.length)
  }
  // Two batches: while one is gone over, the other is read.
  const room = Math.min(Math.max(length, MAX_RUN), offsets.length * (length + MAX_GAP))
  let spare = new Uint8Array(offsets.length * length > room ? room : 0)
  let batch = begin(storage, offsets, length, 0, new Uint8Array(room))
  while (batch !== undefined) {
    if (spare.length === 0 && batch.end < offsets.length) spare = new Uint8Array(room)
    const following = begin(storage, offsets, length, batch.end, spare)
    // Where this batch fails, nobody waits for that one.
    following?.read.catch(() => undefined)
    await batch.read
    const { buffer } = batch
    for (const { first, end, at } of batch.runs) {
      const start = offsets[first] ?? 0
      for (let index = first; index < end; index++) {
        const from = at + (offsets[index] ?? 0) - start
        each(offsets[index] ?? 0, buffer.subarray(from, from + length))
      }
    }
    spare = buffer
    batch = following
  }
}

/** Runs of near pieces that are read at the same time. */
interface Batch {
  readonly buffer: Uint8Array<ArrayBuffer>
  /** Indexes of the pieces, and where in the buffer they begin. */
  readonly runs: readonly { first: number; end: number; at: number }[]
  readonly end: number
  readonly read: Promise<unknown>
}

/** Starts reading as many pieces from index `first` as the buffer holds. */
function begin(
  storage: Storage,
  offsets: ArrayLike<number>,
  length: number,
  first: number,
  buffer: Uint8Array<ArrayBuffer>,
): Batch | undefined {
  if (first >= offsets.length) return undefined
  const runs: Batch['runs'][number][] = []
  const reads: Promise<void>[] = []
  let at = 0
  let next = first
  while (next < offsets.length && runs.length < MAX_READS) {
    const start = offsets[next] ?? 0
    if (at + length > buffer.length) break
    let bytes = length
    let end = next + 1
    for (; end < offsets.length; end++) {
      const offset = offsets[end] ?? 0
      if (offset - start - bytes > MAX_GAP || at + offset - start + length > buffer.length) break
      bytes = offset - start + length
    }
    runs.push({ first: next, end, at })
    reads.push(readPadded(storage, start, buffer.subarray(at, at + bytes)))
    at += bytes
    next = end
  }
  return { buffer, runs, end: next, read: Promise.all(reads) }
}

async function readMany(
  storage: Storage,
  offsets: Float64Array,
  length: number,
  each: (offset: number, bytes: Uint8Array) => void,
): Promise<void> {
  const atOnce = Math.max(1, Math.floor(MAX_RUN / length))
  const buffer = new Uint8Array(Math.min(atOnce, offsets.length) * length)
  for (let first = 0; first < offsets.length; first += atOnce) {
    const some = offsets.subarray(first, first + atOnce)
    await storage.readPieces?.(some, length, buffer)
    for (let index = 0; index < some.length; index++)
      each(some[index] ?? 0, buffer.subarray(index * length, (index + 1) * length))
  }
}
