/** How the main thread and the one that writes beside it talk: through memory that both see, since a message costs as much as a copy of 100 KB. */
export interface SharedWrites {
  /** File descriptor of the target. */
  readonly fd: number
  /** Numbers at `GIVEN` and `DONE`. */
  readonly counts: Int32Array<SharedArrayBuffer>
  /** Of each write under way: offset in the target, start in `memory`, length; all in bytes. */
  readonly writes: Float64Array<SharedArrayBuffer>
  readonly memory: Uint8Array<SharedArrayBuffer>
}

/** Writes that were given to the thread so far; `CLOSED` when there are no more. */
export const GIVEN = 0
/** Writes that it has done. */
export const DONE = 1
export const CLOSED = -1

/** Writes that wait or are under way. */
export const DEPTH = 4
/** Numbers that describe a write. */
export const WRITE_FIELDS = 3

/** What the thread says after each write: nothing, or what node:fs threw. Class and code of an error do not cross threads by themselves. */
export type WriteAnswer = undefined | { readonly code: string; readonly message: string }
