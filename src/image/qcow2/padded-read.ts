import type { Storage } from '../../device/storage.ts'

/**
 * Reads what the file holds of the range and zeros for the rest: qemu leaves the last cluster of a file short, and
 * reads beyond the end as zeros.
 */
export async function readPadded(storage: Storage, offset: number, into: Uint8Array): Promise<void> {
  const present = Math.max(0, Math.min(into.length, storage.size - offset))
  if (present > 0) await storage.read(offset, into.subarray(0, present))
  if (present < into.length) into.fill(0, present)
}

/** A run of bytes to read, and which of the caller's items lie in it. */
const MAX_GAP = 32 << 10
const MAX_RUN = 1 << 20

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
