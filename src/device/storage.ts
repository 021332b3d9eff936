/** A run of a storage, as far as its medium tells: what is not known to be zeros has to be read. */
export interface StoredRun {
  readonly offset: number
  readonly length: number
  readonly zero: boolean
}

/**
 * A growable array of bytes in which an image format lives: a file, memory, or (in tests) a medium that
 * loses power. A `BlockDevice` has a fixed size and hides layout; a `Storage` is the layout's raw bytes.
 */
export interface Storage {
  /** For messages: the path of a file. Never used to open anything. */
  readonly name: string
  /** The same for one file of the host however it is opened; `undefined` for what is no file. */
  readonly identity?: string
  readonly writable: boolean
  /** Current length in bytes. */
  readonly size: number
  /** Fills all of `into`; bytes past the end are `ERR_CORRUPT` (the format asked for what is not there). */
  read(offset: number, into: Uint8Array): Promise<void>
  /**
   * Reads `length` bytes at each of `offsets` into `into`, one piece after another. Only where many small reads in one call
   * cost much less than as many calls of `read`.
   */
  readPieces?(offsets: ArrayLike<number>, length: number, into: Uint8Array): Promise<void>
  /** Where the medium knows what reads as zeros: gapless runs of the window, in order. */
  stored?(offset: number, length: number): AsyncIterable<StoredRun>
  /** Writes all of `from`, growing as needed; a gap reads as zeros. `ENOSPC` and `EIO` as the medium says. */
  write(offset: number, from: Uint8Array): Promise<void>
  /** Sets the length. */
  truncate(size: number): Promise<void>
  /** What was written before survives a power failure afterwards (fdatasync). */
  flush(): Promise<void>
  close(): Promise<void>
}

/**
 * Files beside an image, by plain name (no separator): its redo log, its backing files. One interface so
 * that the crash tests can lose unflushed creations and removals as well as unflushed bytes.
 */
export interface StorageFolder {
  /** What it holds ends with the process. */
  readonly temporary?: boolean
  /** `undefined` when there is no such file. */
  open(name: string, mode: 'read' | 'write'): Promise<Storage | undefined>
  /** A new empty file for reading and writing; `EEXIST` when there is one. */
  create(name: string): Promise<Storage>
  /** No error when there is no such file. */
  remove(name: string): Promise<void>
  /** Creations and removals before survive a power failure afterwards (fsync of the folder). */
  flush(): Promise<void>
}
