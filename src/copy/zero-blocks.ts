import { compareNatively as compare, isZero } from '../bytes/compare.ts'

const ZEROS = new Uint8Array(64 << 10)

/** Whether every byte is 0. */
export function readsAsZero(bytes: Uint8Array): boolean {
  // Most data shows in its first bytes, and a call of native code costs more than to look.
  const { length } = bytes
  if ((bytes[0] ?? 0) !== 0 || (bytes[length >>> 1] ?? 0) !== 0) return false
  if (compare === undefined || length < 256) return isZero(bytes)
  for (let at = 0; at < length; at += ZEROS.length) {
    const part = length <= ZEROS.length ? bytes : bytes.subarray(at, at + ZEROS.length)
    if (compare(part, part.length === ZEROS.length ? ZEROS : ZEROS.subarray(0, part.length)) !== 0)
      return false
  }
  return true
}

/**
 * The parts that have to be written, `start` and `end` one after another: what lies between them reads as zeros for `sparseSize`
 * bytes or more.
 * @param offset of the bytes in the target: blocks are cut there, not in the buffer.
 * @param sparseSize 0: everything has to be written.
 */
export function dataParts(bytes: Uint8Array, offset: number, sparseSize: number): number[] {
  const { length } = bytes
  if (sparseSize === 0) return [0, length]
  // Most filesystems have blocks of 4 KiB; what is smaller gives nothing back.
  const block = sparseSize < 4096 ? Math.max(512, 2 ** Math.floor(Math.log2(sparseSize))) : 4096
  const coarse = Math.max(block, 64 << 10)
  const parts: number[] = []
  const add = (start: number, end: number): void => {
    const last = parts.length - 1
    if (last > 0 && start - (parts[last] ?? 0) < sparseSize) parts[last] = end
    else parts.push(start, end)
  }
  for (let at = 0; at < length; ) {
    const stop = Math.min(length, at + coarse - ((offset + at) % coarse))
    if (!readsAsZero(bytes.subarray(at, stop)))
      for (let from = at; from < stop; ) {
        const to = Math.min(stop, from + block - ((offset + from) % block))
        // A view costs more than a look at a byte.
        if (bytes[from] !== 0 || !readsAsZero(bytes.subarray(from, to))) add(from, to)
        from = to
      }
    at = stop
  }
  // A short run of zeros before the first data or behind the last may go on outside: it is left out.
  return parts
}

/** Bit n: part n of 32 does not read as zeros. */
export function dataMask(cluster: Uint8Array): number {
  const size = cluster.length / 32
  let mask = 0
  for (let bit = 0; bit < 32; bit++)
    if (!readsAsZero(cluster.subarray(bit * size, (bit + 1) * size))) mask |= 1 << bit
  return mask >>> 0
}
