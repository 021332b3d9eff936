import { isZero } from '../../bytes/compare.ts'
import { DrydiskError } from '../../errors.ts'
import { pastTheEnd } from '../memory-storage.ts'
import type { Storage, StoredRun } from '../storage.ts'
import type { NbdClient } from './client.ts'
import { EXPORT } from './protocol.ts'

/** Requests under way at once for one read or write. */
const AT_ONCE = 4
/** Bytes of one request without data: below 2^32, a multiple of every block size. */
const MOST_RANGE = 1 << 30

/** An export of an NBD server as a storage of fixed length. */
export class NbdStorage implements Storage {
  readonly name: string
  readonly writable: boolean
  readonly size: number
  readonly #clients: readonly NbdClient[]
  readonly #block: number
  readonly #most: number
  #next = 0
  /** The last write of a part of a block. */
  #partial: Promise<void> = Promise.resolve()

  /**
   * @param clients connections to the same export: more than one only where the server allows it (NBD_FLAG_CAN_MULTI_CONN).
   * @param writable `EROFS` when the export is read-only.
   */
  constructor(clients: readonly [NbdClient, ...NbdClient[]], writable: boolean) {
    const { export: exported, name } = clients[0]
    if (writable && (exported.flags & EXPORT.READ_ONLY) !== 0)
      throw new DrydiskError('EROFS', `${name}: the server exports it for reading only`, { peer: name })
    this.name = name
    this.writable = writable
    this.size = exported.size
    this.#clients = clients
    this.#block = exported.leastBlock
    this.#most = exported.mostPayload
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.#checkEnd(offset, into.length)
    await this.#pieces(offset, into.length, async (at, length) => {
      const piece = into.subarray(at - offset, at - offset + length)
      await this.#read(at, piece)
    })
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    if (offset + from.length > this.size)
      throw new DrydiskError(
        'ENOSPC',
        `${this.name}: ${from.length} bytes at ${offset} do not fit into its ${this.size} bytes, and an export does not grow`,
        { peer: this.name },
      )
    await this.#pieces(offset, from.length, async (at, length) => {
      const piece = from.subarray(at - offset, at - offset + length)
      await this.#write(at, piece)
    })
  }

  async truncate(size: number): Promise<void> {
    if (size === this.size) return
    throw new DrydiskError(
      'ENOTSUP',
      `${this.name} has ${this.size} bytes, and an export does not change its length`,
      {
        peer: this.name,
      },
    )
  }

  /** Whether the server takes requests to give up space (NBD_FLAG_SEND_TRIM). */
  get discards(): boolean {
    const [client] = this.#clients
    return this.writable && client !== undefined && (client.export.flags & EXPORT.SEND_TRIM) !== 0
  }

  /**
   * Tells the server that nobody wants a range any more, at once: what it reads as afterwards is the server's to say.
   * @returns bytes, in whole blocks of the server, that it was told of.
   */
  async discard(offset: number, length: number): Promise<number> {
    this.#checkEnd(offset, length)
    const block = this.#block
    const start = Math.ceil(offset / block) * block
    const end = Math.floor((offset + length) / block) * block
    for (let at = start; at < end; at += MOST_RANGE)
      await this.#client().trim(at, Math.min(MOST_RANGE, end - at))
    return Math.max(0, end - start)
  }

  async flush(): Promise<void> {
    const [client] = this.#clients
    if (this.writable && client !== undefined && (client.export.flags & EXPORT.SEND_FLUSH) !== 0)
      await client.flush()
  }

  async close(): Promise<void> {
    for (const client of this.#clients) await client.close()
  }

  async *stored(offset: number, length: number): AsyncIterable<StoredRun> {
    this.#checkEnd(offset, length)
    const end = offset + length
    const [client] = this.#clients
    if (client?.export.contextId === undefined) {
      yield { offset, length, zero: false }
      return
    }
    for (let at = offset; at < end; ) {
      const { start, stop } = this.#aligned(at, Math.min(MOST_RANGE, end - at))
      let reached = at
      for (const run of await client.status(start, stop - start)) {
        const from = Math.max(reached, run.offset)
        const to = Math.min(end, run.offset + run.length)
        if (from < to) yield { offset: from, length: to - from, zero: run.zero }
        reached = Math.max(reached, to)
      }
      if (reached === at)
        throw new DrydiskError('EIO', `${this.name}: the server does not tell what is at ${at}`, {
          peer: this.name,
        })
      at = reached
    }
  }

  /** A few requests at once, each as large as the server takes them. */
  async #pieces(
    offset: number,
    length: number,
    step: (at: number, length: number) => Promise<void>,
  ): Promise<void> {
    const end = offset + length
    let at = offset
    const one = async () => {
      while (at < end) {
        const start = at
        at = Math.min(end, start - (start % this.#block) + this.#most)
        await step(start, at - start)
      }
    }
    await Promise.all(Array.from({ length: length > this.#most ? AT_ONCE : 1 }, one))
  }

  async #read(offset: number, into: Uint8Array): Promise<void> {
    const { start, stop } = this.#aligned(offset, into.length)
    if (stop - start === into.length) return this.#client().read(offset, into)
    const whole = new Uint8Array(stop - start)
    await this.#client().read(start, whole)
    into.set(whole.subarray(offset - start, offset - start + into.length))
  }

  async #write(offset: number, from: Uint8Array): Promise<void> {
    const { start, stop } = this.#aligned(offset, from.length)
    const client = this.#client()
    if (stop - start === from.length) {
      const zeroes = (client.export.flags & EXPORT.SEND_WRITE_ZEROES) !== 0 && isZero(from)
      return zeroes ? client.writeZeroes(offset, from.length) : client.write(offset, from)
    }
    // A server with larger blocks gets whole ones, one after another: each takes what is beside it in its blocks as it is then.
    const before = this.#partial
    const turn = before.then(async () => {
      const whole = new Uint8Array(stop - start)
      await client.read(start, whole)
      whole.set(from, offset - start)
      await client.write(start, whole)
    })
    this.#partial = turn.catch(() => undefined)
    await turn
  }

  #aligned(offset: number, length: number): { start: number; stop: number } {
    const block = this.#block
    const stop = Math.ceil((offset + length) / block) * block
    return { start: offset - (offset % block), stop: Math.min(stop, this.size) }
  }

  #client(): NbdClient {
    const client = this.#clients[this.#next++ % this.#clients.length]
    if (client === undefined) throw new Error('a storage without connections')
    return client
  }

  #checkEnd(offset: number, length: number): void {
    if (offset + length > this.size) throw pastTheEnd(this.name, offset, length, this.size)
  }
}
