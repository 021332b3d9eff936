import { DrydiskError, type ErrorCode, isDrydiskError } from '../../errors.ts'
import type { BlockDevice, DiskImage } from '../block-device.ts'
import { zeros } from '../zeros.ts'
import { type Connection, packed, Receiver } from './connection.ts'
import { Gate } from './gate.ts'
import {
  CHUNK,
  CHUNK_DONE,
  COMMAND,
  COMMAND_FLAG,
  EXPORT,
  MOST_PAYLOAD,
  NBD_ERROR,
  REQUEST,
  SIMPLE_REPLY,
  STATE,
  STRUCTURED_REPLY,
} from './protocol.ts'
import { type Agreement, ALLOCATION_ID, ServerHandshake } from './server-handshake.ts'

/** What an `NbdServer` tells its clients, and whom it tells what they did. */
export interface ServeOptions {
  /** Of the export; the empty one when left out. A client that names none gets it too. */
  readonly name?: string
  readonly description?: string
  /**
   * Publishes what was written: at a flush, a write that is to be durable, and when a client takes its leave. Left out: `commit` of the
   * device, where it is an image.
   */
  readonly commit?: () => Promise<void>
  /** Told of a client that did not keep to the protocol, or of an image that cannot be read. */
  readonly warn?: (message: string) => void
  /** @internal Milliseconds that a client has to say what it wants. */
  readonly patience?: number
}

/** Requests of one client that are worked on at once, and bytes that they move. */
const AT_ONCE = 16
const BYTES_AT_ONCE = 64 << 20
/** How long a handshake may take. */
const HANDSHAKE_MS = 30_000
/** Runs in one answer to a request for the status of blocks. */
const MOST_RUNS = 4096

const ERRORS: Partial<Readonly<Record<ErrorCode, number>>> = {
  EROFS: NBD_ERROR.EPERM,
  EPERM: NBD_ERROR.EPERM,
  ENOSPC: NBD_ERROR.ENOSPC,
  EINVAL: NBD_ERROR.EINVAL,
  ERR_INVALID_ARGUMENT: NBD_ERROR.EINVAL,
  ENOTSUP: NBD_ERROR.ENOTSUP,
}

interface Request {
  readonly command: number
  readonly flags: number
  readonly cookie: bigint
  readonly offset: number
  readonly length: number
  readonly content: Uint8Array | undefined
}

/**
 * Serves a device to NBD clients, each on its own connection. All see the same content at once, so clients may use several
 * connections. What is written is published by `commit`, whole: between two commits nobody but the clients sees it.
 */
export class NbdServer {
  readonly #device: BlockDevice
  readonly #options: ServeOptions
  readonly #publish: (() => Promise<void>) | undefined
  /** Changes side by side, commits alone. */
  readonly #gate = new Gate()
  #clients = 0

  constructor(device: BlockDevice | DiskImage, options: ServeOptions = {}) {
    this.#device = device
    this.#options = options
    this.#publish = options.commit ?? ('commit' in device ? () => device.commit() : undefined)
  }

  /** Connections that are open. */
  get clients(): number {
    return this.#clients
  }

  /** Speaks with one client until it goes. Errors of the connection end it and are told to `warn`. */
  async serve(connection: Connection): Promise<void> {
    this.#clients++
    const receiver = new Receiver(connection)
    // There is room for so many clients: one that says nothing has no place.
    const late = setTimeout(() => connection.close(), this.#options.patience ?? HANDSHAKE_MS)
    try {
      const { name = '', description = 'disk image' } = this.#options
      const offer = { name, description, size: this.#device.size, flags: this.#flags }
      const agreement = await new ServerHandshake(connection, receiver, offer).run()
      clearTimeout(late)
      if (agreement !== undefined) await this.#transmit(connection, receiver, agreement)
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      this.#options.warn?.(error.message)
    } finally {
      clearTimeout(late)
      this.#clients--
      connection.close()
    }
  }

  get #flags(): number {
    const always = EXPORT.HAS_FLAGS | EXPORT.SEND_DF | EXPORT.SEND_FLUSH | EXPORT.CAN_MULTI_CONN
    if (!this.#device.writable) return always | EXPORT.READ_ONLY
    return always | EXPORT.SEND_FUA | EXPORT.SEND_TRIM | EXPORT.SEND_WRITE_ZEROES
  }

  async #transmit(connection: Connection, receiver: Receiver, agreement: Agreement): Promise<void> {
    const under = new Set<Promise<void>>()
    let bytes = 0
    let fault: { readonly error: unknown } | undefined
    const replies = new Replies(connection, agreement)
    try {
      for (;;) {
        if (await receiver.ended()) break
        const request = await this.#request(connection, receiver)
        if (request.command === COMMAND.DISC) {
          await Promise.allSettled(under)
          await this.#commit()
          break
        }
        const moved =
          request.command === COMMAND.READ || request.command === COMMAND.WRITE ? request.length : 0
        while (under.size >= AT_ONCE || (under.size > 0 && bytes + moved > BYTES_AT_ONCE))
          await Promise.race(under)
        bytes += moved
        const work = this.#answer(request, replies, agreement).finally(() => {
          bytes -= moved
          under.delete(work)
        })
        // A connection that breaks is met by the next request's reading as well. A fault of this program has no answer.
        work.catch((error: unknown) => {
          if (isDrydiskError(error)) return
          fault ??= { error }
          connection.close()
        })
        under.add(work)
      }
    } catch (error) {
      fault ??= { error }
    }
    // What a client asked for and did not wait for ends before the device may be closed.
    await Promise.allSettled(under)
    if (fault !== undefined) throw fault.error
  }

  async #request(connection: Connection, receiver: Receiver): Promise<Request> {
    const fail = (what: string) =>
      new DrydiskError('EIO', `${connection.name}: ${what}`, { peer: connection.name })
    const head = await receiver.view(28, 'NBD request')
    if (head.u32(0) !== REQUEST) throw fail('a request has no magic number')
    const [flags, command, length] = [head.u16(4), head.u16(6), head.u32(24)]
    const offset = head.big(16)
    // What follows cannot be skipped for ever: a client that sends more than was agreed goes.
    if (command === COMMAND.WRITE && length > MOST_PAYLOAD) throw fail(`a write has ${length} bytes`)
    const content = command === COMMAND.WRITE ? await receiver.bytes(length) : undefined
    const place = offset > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(offset)
    return { command, flags, cookie: head.big(8), offset: place, length, content }
  }

  async #answer(request: Request, replies: Replies, agreement: Agreement): Promise<void> {
    try {
      this.#check(request, agreement)
      if (request.command === COMMAND.READ) return await this.#read(request, replies)
      if (request.command === COMMAND.BLOCK_STATUS) return await this.#status(request, replies)
      if (request.command === COMMAND.FLUSH) await this.#commit()
      else if (request.command !== COMMAND.CACHE) await this.#change(request)
      await replies.done(request.cookie)
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      if (error.code === 'EIO' || error.code === 'ERR_CORRUPT') this.#options.warn?.(error.message)
      await replies.error(request.cookie, ERRORS[error.code] ?? NBD_ERROR.EIO, error.message)
    }
  }

  #check({ command, flags, offset, length }: Request, { structured, allocation }: Agreement): void {
    const invalid = (what: string) => new DrydiskError('EINVAL', what)
    if (!Object.values(COMMAND).some(known => known === command))
      throw invalid(`command ${command} is not known here`)
    if (command === COMMAND.BLOCK_STATUS && (!structured || !allocation))
      throw invalid('no context was agreed on')
    if (command === COMMAND.FLUSH) return
    const changes = command === COMMAND.WRITE || command === COMMAND.TRIM || command === COMMAND.WRITE_ZEROES
    if (changes && !this.#device.writable) throw new DrydiskError('EROFS', 'the export is read-only')
    if ((flags & COMMAND_FLAG.FAST_ZERO) !== 0)
      throw new DrydiskError('ENOTSUP', 'zeros are not promised to be fast')
    if (offset + length <= this.#device.size) {
      if (command === COMMAND.READ && length > MOST_PAYLOAD) throw invalid(`a read of ${length} bytes`)
      if (command === COMMAND.BLOCK_STATUS && length === 0) throw invalid('the status of no blocks')
      return
    }
    const code = command === COMMAND.WRITE || command === COMMAND.WRITE_ZEROES ? 'ENOSPC' : 'EINVAL'
    throw new DrydiskError(code, `${length} bytes at ${offset} reach past the end at ${this.#device.size}`)
  }

  async #change({ command, flags, offset, length, content }: Request): Promise<void> {
    await this.#gate.shared(async () => {
      if (content !== undefined) await this.#device.write(offset, content)
      else if (command === COMMAND.WRITE_ZEROES && (flags & COMMAND_FLAG.NO_HOLE) !== 0)
        for (let at = offset; at < offset + length; ) {
          const piece = zeros(offset + length - at)
          await this.#device.write(at, piece)
          at += piece.length
        }
      else await this.#device.erase(offset, length)
    })
    if ((flags & COMMAND_FLAG.FUA) !== 0) await this.#commit()
  }

  async #commit(): Promise<void> {
    const commit = this.#publish
    if (commit !== undefined && this.#device.writable) await this.#gate.alone(commit)
  }

  async #read({ cookie, flags, offset, length }: Request, replies: Replies): Promise<void> {
    if (!replies.structured || (flags & COMMAND_FLAG.DF) !== 0 || length === 0) {
      const bytes = new Uint8Array(length)
      await this.#device.read(offset, bytes)
      await replies.data(cookie, offset, bytes, true)
      return
    }
    // What is not stored is told, not sent.
    for await (const run of this.#device.extents(offset, length)) {
      const last = run.offset + run.length === offset + length
      if (run.kind === 'zero') await replies.hole(cookie, run.offset, run.length, last)
      else {
        const bytes = new Uint8Array(run.length)
        await this.#device.read(run.offset, bytes)
        await replies.data(cookie, run.offset, bytes, last)
      }
    }
  }

  async #status({ cookie, flags, offset, length }: Request, replies: Replies): Promise<void> {
    const runs: [length: number, flags: number][] = []
    const most = (flags & COMMAND_FLAG.REQ_ONE) !== 0 ? 1 : MOST_RUNS
    for await (const run of this.#device.extents(offset, length)) {
      const state = run.kind === 'zero' ? STATE.HOLE | STATE.ZERO : 0
      const last = runs.at(-1)
      if (last !== undefined && last[1] === state) last[0] += run.length
      else if (runs.length < most) runs.push([run.length, state])
      else break
    }
    await replies.status(cookie, runs)
  }
}

/** The replies of one connection. Each is sent in one piece, so that those of several requests do not mix. */
class Replies {
  readonly structured: boolean
  readonly #connection: Connection

  constructor(connection: Connection, { structured }: Agreement) {
    this.#connection = connection
    this.structured = structured
  }

  async done(cookie: bigint): Promise<void> {
    if (this.structured) await this.#chunk(cookie, CHUNK.NONE, true)
    else await this.#simple(cookie, 0)
  }

  async error(cookie: bigint, number: number, message: string): Promise<void> {
    if (!this.structured) return this.#simple(cookie, number)
    const text = new TextEncoder().encode(message).subarray(0, 4096)
    await this.#chunk(cookie, CHUNK.ERROR, true, packed([32, number], [16, text.length]), text)
  }

  async data(cookie: bigint, offset: number, bytes: Uint8Array, last: boolean): Promise<void> {
    if (!this.structured) await this.#simple(cookie, 0, bytes)
    else if (bytes.length === 0) await this.done(cookie)
    else await this.#chunk(cookie, CHUNK.OFFSET_DATA, last, packed([64, offset]), bytes)
  }

  async hole(cookie: bigint, offset: number, length: number, last: boolean): Promise<void> {
    await this.#chunk(cookie, CHUNK.OFFSET_HOLE, last, packed([64, offset], [32, length]))
  }

  async status(cookie: bigint, runs: readonly (readonly [length: number, flags: number])[]): Promise<void> {
    const list = runs.map(([length, flags]) => packed([32, length], [32, flags]))
    await this.#chunk(cookie, CHUNK.BLOCK_STATUS, true, packed([32, ALLOCATION_ID]), ...list)
  }

  async #simple(cookie: bigint, error: number, content: Uint8Array = new Uint8Array()): Promise<void> {
    await this.#connection.send(packed([32, SIMPLE_REPLY], [32, error], [64, cookie]), content)
  }

  async #chunk(cookie: bigint, type: number, last: boolean, ...content: Uint8Array[]): Promise<void> {
    const length = content.reduce((sum, piece) => sum + piece.length, 0)
    const flags = last ? CHUNK_DONE : 0
    const head = packed([32, STRUCTURED_REPLY], [16, flags], [16, type], [64, cookie], [32, length])
    await this.#connection.send(head, ...content)
  }
}
