import type { TaskIo } from './task-runner.ts'

/** Shorter runs are put together before they are written. */
const MIN_WRITE = 128 << 10

interface Part {
  readonly bytes: Uint8Array
  readonly start: number
  end: number
}

/** Writes parts of buffers: what goes to one place in one piece, without copying where it lies in one piece too. */
export class GatheredWrites {
  readonly #io: Pick<TaskIo, 'write'>
  /** Parts of one run of the target. */
  #parts: Part[] = []
  #host = 0
  #length = 0
  #written = 0
  readonly #underWay: Promise<void>[] = []
  #failure: { readonly error: unknown } | undefined

  constructor(io: Pick<TaskIo, 'write'>) {
    this.#io = io
  }

  add(host: number, bytes: Uint8Array, start: number, length: number): void {
    if (host !== this.#host + this.#length) this.#writeRun()
    if (this.#length === 0) this.#host = host
    const last = this.#parts.at(-1)
    if (last !== undefined && last.bytes === bytes && last.end === start) last.end += length
    else this.#parts.push({ bytes, start, end: start + length })
    this.#length += length
  }

  /** Settles when nothing is under way, also after an error: until then the buffers are in use. @returns bytes. */
  async finish(): Promise<number> {
    this.#writeRun()
    for (const result of await Promise.allSettled(this.#underWay))
      if (result.status === 'rejected') this.#failure ??= { error: result.reason }
    if (this.#failure !== undefined) throw this.#failure.error
    return this.#written
  }

  #writeRun(): void {
    const parts = this.#parts
    if (parts.length === 0) return
    let host = this.#host
    this.#written += this.#length
    this.#parts = []
    this.#length = 0
    for (let first = 0; first < parts.length; ) {
      let next = first
      let length = 0
      // Small parts are copied together, large ones written from where they lie.
      for (; next < parts.length; next++) {
        const size = (parts[next]?.end ?? 0) - (parts[next]?.start ?? 0)
        if (next > first && size >= MIN_WRITE) break
        length += size
        if (size >= MIN_WRITE) {
          next++
          break
        }
      }
      this.#write(host, joined(parts.slice(first, next), length))
      host += length
      first = next
    }
  }

  #write(host: number, bytes: Uint8Array): void {
    if (this.#failure !== undefined) return
    try {
      const writing = this.#io.write(host, bytes)
      if (writing !== undefined) this.#underWay.push(writing)
    } catch (error) {
      this.#failure = { error }
    }
  }
}

function joined(parts: readonly Part[], length: number): Uint8Array {
  const [first] = parts
  if (first !== undefined && parts.length === 1) return first.bytes.subarray(first.start, first.end)
  const bytes = new Uint8Array(length)
  let at = 0
  for (const { bytes: from, start, end } of parts) {
    bytes.set(from.subarray(start, end), at)
    at += end - start
  }
  return bytes
}
