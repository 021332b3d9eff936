import { constants, readSync } from 'node:fs'
import { type FileHandle, open, readFile } from 'node:fs/promises'
import { DrydiskError } from '../errors.ts'
import { fileError } from './file-error.ts'
import { pastTheEnd } from './memory-storage.ts'
import type { Storage } from './storage.ts'

/** Linux moves at most 2^31 - 4096 bytes in one call; stay below it, on a page boundary. */
const LARGEST_TRANSFER = 1 << 30

/**
 * Bytes read at once, one call after another, before a read goes through the thread pool all the same: others get their turn.
 */
const TURN = 16 << 20
/** Reads that go through the pool after one that had to wait. */
const WAITS = 16
/** What a read from the page cache takes at most, in milliseconds: so many, and one more for so many bytes. */
const CACHED_READ = 0.5
const CACHED_PACE = 500_000

/** A file of the host as a `Storage`. */
export class FileStorage implements Storage {
  readonly name: string
  readonly writable: boolean
  /** Device and inode of the open file, which name it in /proc/locks and tell two paths to one file apart. */
  readonly device: bigint
  readonly inode: bigint
  readonly #handle: FileHandle
  #size: number
  /** Reads that are left to the pool. */
  #waits = 0
  /** Bytes until one is left to it. */
  #turn = TURN

  private constructor(
    name: string,
    writable: boolean,
    handle: FileHandle,
    stat: { readonly size: number; readonly device: bigint; readonly inode: bigint },
  ) {
    this.name = name
    this.writable = writable
    this.#handle = handle
    this.#size = stat.size
    this.device = stat.device
    this.inode = stat.inode
  }

  /**
   * Opens a regular file, or a block device for reading (Linux). Errors: POSIX codes; `ERR_INVALID_ARGUMENT` for anything
   * else; `EEXIST` for `create` when there is something of that name already.
   * @param mode `create`: a new empty file for reading and writing.
   * @param followLinks false: a symbolic link in the last part of the path is refused (`ELOOP`).
   */
  static async open(
    path: string,
    mode: 'read' | 'write' | 'create',
    followLinks = true,
  ): Promise<FileStorage> {
    // Without O_NONBLOCK the open of a fifo would wait for a writer that never comes.
    let flags = constants.O_NONBLOCK | (mode === 'read' ? constants.O_RDONLY : constants.O_RDWR)
    if (mode === 'create') flags |= constants.O_CREAT | constants.O_EXCL
    if (!followLinks) flags |= constants.O_NOFOLLOW
    let handle: FileHandle
    try {
      handle = await open(path, flags, 0o600)
    } catch (error) {
      throw fileError(error, path, mode === 'create' ? 'create' : 'open')
    }
    try {
      const stat = await handle.stat({ bigint: true })
      if (stat.isBlockDevice() && mode === 'read')
        return new FileStorage(path, false, handle, {
          size: await blockDeviceSize(path, stat.rdev),
          device: stat.dev,
          inode: stat.ino,
        })
      if (stat.isBlockDevice())
        throw new DrydiskError(
          'ERR_UNSUPPORTED',
          `${path} is a block device; drydisk reads one, but writes to image files only. Copy it to a file first`,
          { path },
        )
      if (!stat.isFile())
        throw new DrydiskError(
          'ERR_INVALID_ARGUMENT',
          `${path} is ${stat.isDirectory() ? 'a folder' : 'not a regular file'}; an image is a regular file`,
          { path },
        )
      return new FileStorage(path, mode !== 'read', handle, {
        size: Number(stat.size),
        device: stat.dev,
        inode: stat.ino,
      })
    } catch (error) {
      await handle.close()
      throw fileError(error, path, 'open')
    }
  }

  get identity(): string {
    return `${this.device}:${this.inode}`
  }

  get size(): number {
    return this.#size
  }

  /** The file descriptor, for threads that read and write themselves; it is closed with the storage. */
  get fd(): number {
    return this.#handle.fd
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (!(offset >= 0 && offset + into.length <= this.#size))
      throw pastTheEnd(this.name, offset, into.length, this.#size)
    for (let done = 0; done < into.length; ) {
      const bytesRead = await this.#readSome(offset + done, into.subarray(done, done + LARGEST_TRANSFER))
      // Someone else cut the file: what the format relies on is no longer there.
      if (bytesRead === 0) throw pastTheEnd(this.name, offset, into.length, offset + done)
      done += bytesRead
    }
  }

  /**
   * A trip through the thread pool costs as much as copying some 200 KB. So what the page cache has is read at once, and what
   * waits for the medium in the pool: there several reads wait together, and nobody else waits for them.
   */
  #readSome(offset: number, into: Uint8Array): Promise<number> | number {
    if (this.#waits > 0 || this.#turn <= 0) {
      this.#waits = Math.max(0, this.#waits - 1)
      this.#turn = TURN
      return this.#handle.read(into, 0, into.length, offset).then(
        ({ bytesRead }) => bytesRead,
        error => Promise.reject(fileError(error, this.name, 'read')),
      )
    }
    const start = performance.now()
    let bytesRead: number
    try {
      bytesRead = readSync(this.#handle.fd, into, 0, into.length, offset)
    } catch (error) {
      throw fileError(error, this.name, 'read')
    }
    this.#turn -= bytesRead
    if (performance.now() - start > CACHED_READ + bytesRead / CACHED_PACE) this.#waits = WAITS
    return bytesRead
  }

  /** A trip through the thread pool costs ten times what reading half a kilobyte from the page cache does. */
  async readPieces(offsets: ArrayLike<number>, length: number, into: Uint8Array): Promise<void> {
    try {
      for (let index = 0; index < offsets.length; index++) {
        const offset = offsets[index] ?? 0
        for (let done = 0; done < length; ) {
          const bytesRead = readSync(
            this.#handle.fd,
            into,
            index * length + done,
            length - done,
            offset + done,
          )
          if (bytesRead === 0) throw pastTheEnd(this.name, offset, length, offset + done)
          done += bytesRead
        }
        // Others get their turn now and then.
        if (index % 2048 === 2047) await new Promise(resolve => setImmediate(resolve))
      }
    } catch (error) {
      throw fileError(error, this.name, 'read')
    }
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#checkWritable()
    for (let done = 0; done < from.length; ) {
      const length = Math.min(LARGEST_TRANSFER, from.length - done)
      const { bytesWritten } = await this.#handle
        .write(from, done, length, offset + done)
        .catch(error => Promise.reject(fileError(error, this.name, 'write')))
      done += bytesWritten
      this.#size = Math.max(this.#size, offset + done)
    }
  }

  async truncate(size: number): Promise<void> {
    this.#checkWritable()
    await this.#handle
      .truncate(size)
      .catch(error => Promise.reject(fileError(error, this.name, 'set the length of')))
    this.#size = size
  }

  async flush(): Promise<void> {
    await this.#handle
      .datasync()
      .catch(error => Promise.reject(fileError(error, this.name, 'flush to stable storage')))
  }

  async close(): Promise<void> {
    await this.#handle.close().catch(error => Promise.reject(fileError(error, this.name, 'close')))
  }

  #checkWritable(): void {
    if (!this.writable)
      throw new DrydiskError('EROFS', `${this.name} is open for reading only`, { path: this.name })
  }
}

/** stat(2) says 0 for a block device, and node:fs has neither ioctl nor lseek; sysfs says it in 512-byte units. */
async function blockDeviceSize(path: string, rdev: bigint): Promise<number> {
  const { major, minor } = deviceNumbers(rdev)
  try {
    const size = Number(await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512
    if (Number.isSafeInteger(size)) return size
  } catch {
    // Said below.
  }
  throw new DrydiskError(
    'ERR_UNSUPPORTED',
    `${path} is a block device, and its size is not to be found in /sys. Copy it to a file first`,
    { path },
  )
}

/** Splits a Linux dev_t, as glibc's gnu_dev_major and gnu_dev_minor do. */
export function deviceNumbers(device: bigint): { readonly major: number; readonly minor: number } {
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xffff_f000n)),
    minor: Number((device & 0xffn) | ((device >> 12n) & 0xffff_ff00n)),
  }
}
