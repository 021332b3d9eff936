/** A run of a device that reads alike. Runs of one `extents()` call are gapless and merged. */
export interface Extent {
  /** Byte offset in the device. */
  readonly offset: number
  /** Bytes; never 0. */
  readonly length: number
  /** `zero`: reads as zeros without any input or output. `data`: has to be read to know. */
  readonly kind: 'data' | 'zero'
  /** Which layer answers: 0 is the device itself, 1 its backing file, and so on. */
  readonly depth: number
}

/**
 * A fixed-size array of bytes with an allocation map. A file, a qcow2 disk, a partition and a logical
 * volume are all one, so layers stack in any order.
 *
 * Every call takes byte offsets with no alignment demand. A range outside `size` is
 * `ERR_INVALID_ARGUMENT`; a write to a read-only device is `EROFS`.
 * Calls may overlap in time; a read that overlaps an unfinished write may see either content.
 */
export interface BlockDevice {
  /** Bytes; below 2^53. */
  readonly size: number
  readonly writable: boolean
  /** Fills all of `into`, or throws. */
  read(offset: number, into: Uint8Array): Promise<void>
  /** Writes all of `from`, or throws. The caller may reuse `from` after the promise settles. */
  write(offset: number, from: Uint8Array): Promise<void>
  /** The range reads as zeros afterwards; space is given back where the layer below can. */
  erase(offset: number, length: number): Promise<void>
  extents(offset: number, length: number): AsyncIterable<Extent>
  /** What was written before reaches stable storage (for a staged device: nothing to do until commit). */
  flush(): Promise<void>
  /** Releases what the device holds. On a staged device that was not committed: a rollback. */
  close(): Promise<void>
}

/**
 * A disk image opened as a device. Writes are staged: nothing that the image's own tables reach changes
 * before `commit()`, and then everything does, atomically. `close()` without it is a rollback.
 */
export interface DiskImage extends BlockDevice {
  /** `raw`, `qcow2`, … */
  readonly format: string
  /** True when there is something to commit. */
  readonly dirty: boolean
  /**
   * Publishes what was staged, and makes it durable. Afterwards the image is open as before, with nothing staged.
   * On an error nothing is published, unless the error's context says `published: true`.
   */
  commit(): Promise<void>
  /** Drops what was staged. */
  rollback(): Promise<void>
}
