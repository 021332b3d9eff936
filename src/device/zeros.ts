const ZEROS = new Uint8Array(1 << 20)

/** Zeros for writing, at most `length` and at most 1 MiB of them. Shared: never write into them. */
export function zeros(length: number): Uint8Array {
  return ZEROS.subarray(0, Math.min(length, ZEROS.length))
}
