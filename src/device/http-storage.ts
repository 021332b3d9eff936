import { LruCache } from '../bytes/lru-cache.ts'
import { DrydiskError } from '../errors.ts'
import { type HttpOptions, RangeRequests, type RemoteFile, shownUrl } from './http-range.ts'
import { pastTheEnd } from './memory-storage.ts'
import type { Storage } from './storage.ts'

/** What is asked for at once where single places are read. */
const BLOCK = 64 << 10
/** What is asked for at once where one place after another is read: doubled from a block up to this. */
const MOST_AHEAD = 4 << 20
const CACHE_BYTES = 64 << 20

/** What `HttpStorage.open` takes. */
export interface HttpStorageOptions extends HttpOptions {
  /** Bytes of the file to keep in memory; 64 MiB when left out. */
  readonly cacheBytes?: number
}

/** How much of a file was fetched. */
export interface Fetched {
  readonly size: number
  readonly bytes: number
  readonly requests: number
}

/**
 * A file on a web server, read in parts (range requests). Blocks of 64 KiB are kept; reading on where the last request ended fetches
 * more and more at a time. Errors: `ENOENT`, `EACCES`, `ERR_UNSUPPORTED` for a server without ranges, `EIO` where the file changes
 * meanwhile or the server contradicts itself.
 */
export class HttpStorage implements Storage {
  readonly name: string
  readonly writable = false
  readonly size: number
  readonly #requests: RangeRequests
  readonly #file: RemoteFile
  readonly #cache: LruCache<number, Uint8Array>
  /** Blocks that are on their way. */
  readonly #coming = new Map<number, Promise<Uint8Array>>()
  /** The block behind the last request, and how many bytes that one had. */
  #next = -1
  #ahead = BLOCK

  private constructor(url: string, requests: RangeRequests, file: RemoteFile, cacheBytes: number) {
    this.name = shownUrl(url)
    this.size = file.size
    this.#requests = requests
    this.#file = file
    this.#cache = new LruCache(Math.max(cacheBytes, MOST_AHEAD * 2))
  }

  /** Asks for the first block, which tells how long the file is. */
  static async open(url: string, options: HttpStorageOptions = {}): Promise<HttpStorage> {
    const requests = new RangeRequests(url, options)
    const { bytes, size, version } = await requests.read(0, BLOCK, undefined)
    const storage = new HttpStorage(url, requests, { size, version }, options.cacheBytes ?? CACHE_BYTES)
    storage.#keep(0, bytes)
    storage.#next = 1
    return storage
  }

  get fetched(): Fetched {
    return { size: this.size, bytes: this.#requests.bytes, requests: this.#requests.requests }
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    if (offset + into.length > this.size) throw pastTheEnd(this.name, offset, into.length, this.size)
    if (into.length === 0) return
    const [first, last] = [Math.floor(offset / BLOCK), Math.floor((offset + into.length - 1) / BLOCK)]
    // What is missing is asked for before anything is waited for, neighbours in one request.
    const blocks: (Uint8Array | Promise<Uint8Array>)[] = []
    for (let block = first; block <= last; block++) {
      if (!this.#cache.has(block) && !this.#coming.has(block)) this.#fetchFrom(block, last)
      blocks.push(this.#cache.get(block) ?? this.#coming.get(block) ?? new Uint8Array(0))
    }
    for (const [index, pending] of blocks.entries()) {
      const bytes = await pending
      const start = (first + index) * BLOCK
      const from = Math.max(offset, start)
      const to = Math.min(offset + into.length, start + bytes.length)
      into.set(bytes.subarray(from - start, to - start), from - offset)
    }
  }

  /** Asks for a run of blocks that are not here: up to `last`, and more where reading goes on where it was. */
  #fetchFrom(block: number, last: number): void {
    this.#ahead = block === this.#next ? Math.min(MOST_AHEAD, this.#ahead * 2) : BLOCK
    const end = Math.ceil(this.size / BLOCK)
    const most = Math.min(end, Math.max(last + 1, block + this.#ahead / BLOCK), block + MOST_AHEAD / BLOCK)
    let stop = block + 1
    while (stop < most && !this.#cache.has(stop) && !this.#coming.has(stop)) stop++
    this.#next = stop
    const answer = this.#requests.read(block * BLOCK, (stop - block) * BLOCK, this.#file)
    for (let at = block; at < stop; at++) {
      const begin = (at - block) * BLOCK
      const piece = answer
        .then(({ bytes }) => this.#keep(at, bytes.slice(begin, begin + BLOCK)))
        .finally(() => this.#coming.delete(at))
      // Whoever waits for the block gets the error; blocks that nobody waits for are only ahead.
      piece.catch(() => undefined)
      this.#coming.set(at, piece)
    }
  }

  #keep(block: number, bytes: Uint8Array): Uint8Array {
    this.#cache.set(block, bytes, bytes.length)
    return bytes
  }

  async write(): Promise<void> {
    throw this.#readOnly()
  }
  async truncate(): Promise<void> {
    throw this.#readOnly()
  }
  async flush(): Promise<void> {}
  async close(): Promise<void> {
    this.#cache.clear()
  }

  #readOnly(): DrydiskError {
    return new DrydiskError('EROFS', `${this.name} is on a web server, which is only read`, {
      url: this.name,
    })
  }
}
