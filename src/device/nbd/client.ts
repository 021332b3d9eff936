import { bigEndian } from '../../bytes/byte-view.ts'
import { printableText } from '../../bytes/names.ts'
import { DrydiskError, type ErrorCode } from '../../errors.ts'
import { type Connection, packed, Receiver } from './connection.ts'
import { type Export, Negotiation } from './negotiation.ts'
import {
  CHUNK,
  CHUNK_DONE,
  CHUNK_ERROR,
  COMMAND,
  NBD_ERROR,
  REQUEST,
  SIMPLE_REPLY,
  STATE,
  STRUCTURED_REPLY,
} from './protocol.ts'

/** A run of an export, as far as the server tells: what is no hole may still be zeros. */
export interface Status {
  readonly offset: number
  readonly length: number
  readonly zero: boolean
  readonly hole: boolean
}

/** A request that waits for its answer. */
interface Waiting {
  readonly offset: number
  /** Where the bytes of a read go. */
  readonly into: Uint8Array | undefined
  readonly status: Status[]
  /** Bytes of a read that have come. */
  filled: number
  resolve(): void
  reject(error: unknown): void
  /** An error that came in a chunk before the last one. */
  failed?: DrydiskError
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  [NBD_ERROR.EPERM]: 'EPERM',
  [NBD_ERROR.EIO]: 'EIO',
  [NBD_ERROR.EINVAL]: 'EINVAL',
  [NBD_ERROR.ENOSPC]: 'ENOSPC',
  [NBD_ERROR.ENOTSUP]: 'ENOTSUP',
}

/** Bytes of a structured error's message, and of the runs of one status. */
const MOST_MESSAGE = 4096
const MOST_RUNS = 1 << 20

/** One connection to an NBD server, in transmission. Requests may overlap; each is answered when it is. */
export class NbdClient {
  readonly export: Export
  readonly name: string
  readonly #connection: Connection
  readonly #receiver: Receiver
  readonly #waiting = new Map<bigint, Waiting>()
  #cookie = 0n
  #broken: unknown
  #closed = false

  private constructor(connection: Connection, receiver: Receiver, exported: Export) {
    this.#connection = connection
    this.name = connection.name
    this.#receiver = receiver
    this.export = exported
    void this.#answers()
  }

  /** Owns the connection from now on. Errors: `ENOENT` for an export that is not there, `EACCES`, `ERR_UNSUPPORTED`, `EIO`. */
  static async connect(connection: Connection, exportName: string): Promise<NbdClient> {
    const receiver = new Receiver(connection)
    try {
      return new NbdClient(
        connection,
        receiver,
        await new Negotiation(connection, receiver).start(exportName),
      )
    } catch (error) {
      connection.close()
      throw error
    }
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    await this.#ask(COMMAND.READ, offset, into.length, { into })
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    await this.#ask(COMMAND.WRITE, offset, from.length, { from })
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.#ask(COMMAND.WRITE_ZEROES, offset, length)
  }

  /** What the range reads as afterwards is the server's to say. */
  async trim(offset: number, length: number): Promise<void> {
    await this.#ask(COMMAND.TRIM, offset, length)
  }

  async flush(): Promise<void> {
    await this.#ask(COMMAND.FLUSH, 0, 0)
  }

  /** Runs from `offset`, one at least; they may end before `length` or go beyond it. */
  async status(offset: number, length: number): Promise<readonly Status[]> {
    return this.#ask(COMMAND.BLOCK_STATUS, offset, length)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#broken === undefined)
      await this.#connection
        .send(packed([32, REQUEST], [16, 0], [16, COMMAND.DISC], [64, 0], [64, 0], [32, 0]))
        .catch(() => undefined)
    this.#connection.close()
  }

  async #ask(
    command: number,
    offset: number,
    length: number,
    { into, from }: { into?: Uint8Array; from?: Uint8Array } = {},
  ): Promise<readonly Status[]> {
    if (this.#broken !== undefined) throw this.#broken
    const cookie = this.#cookie++
    const status: Status[] = []
    const answered = new Promise<void>((resolve, reject) => {
      this.#waiting.set(cookie, { offset, into, status, filled: 0, resolve, reject })
    })
    const head = packed([32, REQUEST], [16, 0], [16, command], [64, cookie], [64, offset], [32, length])
    // A connection that breaks fails all that wait.
    this.#connection.send(...(from === undefined ? [head] : [head, from])).catch(error => this.#break(error))
    await answered
    return status
  }

  async #answers(): Promise<void> {
    try {
      for (;;) {
        const magic = (await this.#receiver.view(4, 'NBD reply')).u32(0)
        if (magic === SIMPLE_REPLY) await this.#simple()
        else if (magic === STRUCTURED_REPLY && this.export.structured) await this.#chunk()
        else throw this.#fail(`a reply begins with 0x${magic.toString(16)}`)
      }
    } catch (error) {
      this.#break(error)
    }
  }

  async #simple(): Promise<void> {
    const head = await this.#receiver.view(12, 'NBD reply')
    const [error, cookie] = [head.u32(0), head.big(4)]
    const waiting = this.#find(cookie)
    if (error === 0 && waiting.into !== undefined) {
      if (this.export.structured) throw this.#fail('a read is answered without structure')
      await this.#receiver.fill(waiting.into)
      waiting.filled = waiting.into.length
    }
    this.#settle(cookie, waiting, error === 0 ? undefined : this.#error(error, ''))
  }

  async #chunk(): Promise<void> {
    const head = await this.#receiver.view(16, 'NBD reply')
    const [flags, type, cookie, length] = [head.u16(0), head.u16(2), head.big(4), head.u32(12)]
    const waiting = this.#find(cookie)
    if (type >= CHUNK_ERROR) waiting.failed ??= await this.#errorChunk(length)
    else if (type === CHUNK.OFFSET_DATA) await this.#data(waiting, length)
    else if (type === CHUNK.OFFSET_HOLE) await this.#hole(waiting, length)
    else if (type === CHUNK.BLOCK_STATUS) await this.#status(waiting, length)
    else if (type !== CHUNK.NONE || length !== 0) throw this.#fail(`a reply has a chunk of type ${type}`)
    if ((flags & CHUNK_DONE) !== 0) this.#settle(cookie, waiting, waiting.failed)
  }

  async #errorChunk(length: number): Promise<DrydiskError> {
    if (length < 6 || length > MOST_MESSAGE + 14) throw this.#fail(`an error has ${length} bytes`)
    const chunk = await this.#receiver.view(length, 'NBD error')
    const message = chunk.slice(6, Math.min(chunk.u16(4), length - 6))
    return this.#error(chunk.u32(0), new TextDecoder().decode(message))
  }

  async #data(waiting: Waiting, length: number): Promise<void> {
    const offset = (await this.#receiver.view(8, 'NBD data')).u64(0)
    await this.#receiver.fill(this.#place(waiting, offset, length - 8))
  }

  async #hole(waiting: Waiting, length: number): Promise<void> {
    if (length !== 12) throw this.#fail(`a hole has ${length} bytes`)
    const chunk = await this.#receiver.view(12, 'NBD hole')
    this.#place(waiting, chunk.u64(0), chunk.u32(8)).fill(0)
  }

  /** The part of a read's buffer that a chunk fills. */
  #place(waiting: Waiting, offset: number, length: number): Uint8Array {
    const start = offset - waiting.offset
    if (waiting.into === undefined || length < 1 || start < 0 || start + length > waiting.into.length)
      throw this.#fail(`the server sends ${length} bytes at ${offset}, which nobody asked for`)
    waiting.filled += length
    return waiting.into.subarray(start, start + length)
  }

  async #status(waiting: Waiting, length: number): Promise<void> {
    if (length < 12 || (length - 4) % 8 !== 0 || length > 4 + 8 * MOST_RUNS)
      throw this.#fail(`the status of blocks has ${length} bytes`)
    const chunk = bigEndian(await this.#receiver.bytes(length), 'NBD block status')
    if (chunk.u32(0) !== this.export.contextId)
      throw this.#fail('a status is of something that was not asked for')
    // Once is enough for the one context that was asked for; again and again would fill the memory.
    if (waiting.status.length > 0) throw this.#fail('a status of blocks comes twice')
    let at = waiting.offset
    for (let index = 4; index < length; index += 8) {
      const [run, flags] = [chunk.u32(index), chunk.u32(index + 4)]
      if (run === 0) throw this.#fail('the status of blocks has an empty run')
      waiting.status.push({
        offset: at,
        length: run,
        zero: (flags & STATE.ZERO) !== 0,
        hole: (flags & STATE.HOLE) !== 0,
      })
      at += run
    }
  }

  #find(cookie: bigint): Waiting {
    const waiting = this.#waiting.get(cookie)
    if (waiting === undefined) throw this.#fail('the server answers what was not asked')
    return waiting
  }

  #settle(cookie: bigint, waiting: Waiting, error: DrydiskError | undefined): void {
    this.#waiting.delete(cookie)
    if (error !== undefined) waiting.reject(error)
    else if (waiting.into !== undefined && waiting.filled !== waiting.into.length)
      waiting.reject(this.#fail(`a read of ${waiting.into.length} bytes is answered with ${waiting.filled}`))
    else waiting.resolve()
  }

  #break(error: unknown): void {
    this.#broken ??= error
    this.#connection.close()
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  #error(number: number, message: string): DrydiskError {
    const said = message === '' ? '' : `: ${printableText(message)}`
    return new DrydiskError(
      CODES[number] ?? 'EIO',
      `${this.name}: the server answers with error ${number}${said}`,
      {
        peer: this.name,
      },
    )
  }

  #fail(what: string): DrydiskError {
    return new DrydiskError('EIO', `${this.name}: ${what}; this is not as the NBD protocol has it`, {
      peer: this.name,
    })
  }
}
