import type { Storage } from '../../device/storage.ts'

/** Pieces closer than this are read with what lies between them, */
const MAX_GAP = 32 << 10
/** up to this many bytes at a time. */
const MAX_RUN = 1 << 20
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
  let buffer = new Uint8Array(0)
  for (let first = 0; first < offsets.length; ) {
    const start = offsets[first] ?? 0
    let end = start + length
    let next = first + 1
    for (; next < offsets.length; next++) {
      const offset = offsets[next] ?? 0
      if (offset - end > MAX_GAP || offset + length - start > MAX_RUN) break
      end = offset + length
    }
    if (buffer.length < end - start)
      buffer = new Uint8Array(Math.max(end - start, Math.min(MAX_RUN, offsets.length * length)))
    const run = buffer.subarray(0, end - start)
    await readPadded(storage, start, run)
    for (; first < next; first++) {
      const at = (offsets[first] ?? 0) - start
      each(start + at, run.subarray(at, at + length))
    }
  }
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
