import { bigEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import { type Connection, packed, type Receiver } from './connection.ts'
import { joined } from './negotiation.ts'
import {
  BASE_ALLOCATION,
  HANDSHAKE,
  IHAVEOPT,
  INFO,
  MOST_NAME,
  MOST_OPTION,
  MOST_PAYLOAD,
  NBDMAGIC,
  OPTION,
  OPTION_REPLY,
  REPLY,
} from './protocol.ts'

/** What a server has to offer. */
export interface Offer {
  readonly name: string
  readonly description: string
  readonly size: number
  /** `EXPORT` */
  readonly flags: number
}

/** What a client asked for. */
export interface Agreement {
  readonly structured: boolean
  /** Whether it may ask for the status of blocks, with the context's number 1. */
  readonly allocation: boolean
}

/** The number that base:allocation has here. */
export const ALLOCATION_ID = 1
/** A client that asks and asks gets no further. */
const MOST_OPTIONS = 1000

/** The server's side of the handshake. */
export class ServerHandshake {
  readonly #connection: Connection
  readonly #receiver: Receiver
  readonly #offer: Offer
  #structured = false
  #allocation = false

  constructor(connection: Connection, receiver: Receiver, offer: Offer) {
    this.#connection = connection
    this.#receiver = receiver
    this.#offer = offer
  }

  /** `undefined` when the client goes without wanting the export. */
  async run(): Promise<Agreement | undefined> {
    await this.#connection.send(
      packed([64, NBDMAGIC], [64, IHAVEOPT], [16, HANDSHAKE.FIXED_NEWSTYLE | HANDSHAKE.NO_ZEROES]),
    )
    const flags = (await this.#receiver.view(4, 'NBD handshake')).u32(0)
    const known = HANDSHAKE.FIXED_NEWSTYLE | HANDSHAKE.NO_ZEROES
    if ((flags & ~known) !== 0)
      throw this.#fail(`the client sets flags 0x${flags.toString(16)} that nobody offered`)
    for (let count = 0; count < MOST_OPTIONS; count++) {
      if (await this.#receiver.ended()) return undefined
      const head = await this.#receiver.view(16, 'NBD option')
      const [option, length] = [head.u32(8), head.u32(12)]
      if (head.big(0) !== IHAVEOPT) throw this.#fail('an option has no magic number')
      if (length > MOST_OPTION) throw this.#fail(`an option has ${length} bytes`)
      const data = await this.#receiver.bytes(length)
      const begins = await this.#option(option, data, (flags & HANDSHAKE.NO_ZEROES) !== 0)
      if (begins === 'over') return undefined
      if (begins) return { structured: this.#structured, allocation: this.#structured && this.#allocation }
    }
    throw this.#fail('the client negotiates without end')
  }

  /** @returns whether transmission begins now. */
  async #option(option: number, data: Uint8Array, noZeroes: boolean): Promise<boolean | 'over'> {
    const reply = (type: number, ...pieces: Uint8Array[]) => this.#reply(option, type, ...pieces)
    switch (option) {
      case OPTION.EXPORT_NAME: {
        if (!this.#isOurs(data)) return 'over'
        const { size, flags } = this.#offer
        await this.#connection.send(packed([64, size], [16, flags]), new Uint8Array(noZeroes ? 0 : 124))
        return true
      }
      case OPTION.ABORT:
        await reply(REPLY.ACK)
        return 'over'
      case OPTION.LIST:
        if (data.length > 0) await reply(REPLY.ERR_INVALID)
        else {
          const name = new TextEncoder().encode(this.#offer.name)
          await reply(REPLY.SERVER, packed([32, name.length]), name)
          await reply(REPLY.ACK)
        }
        return false
      case OPTION.STRUCTURED_REPLY:
        if (data.length > 0) await reply(REPLY.ERR_INVALID)
        else {
          this.#structured = true
          await reply(REPLY.ACK)
        }
        return false
      case OPTION.INFO:
      case OPTION.GO:
        return this.#info(option, data)
      case OPTION.LIST_META_CONTEXT:
      case OPTION.SET_META_CONTEXT:
        await this.#contexts(option, data)
        return false
      default:
        await reply(REPLY.ERR_UNSUP, message('this option is not known here'))
        return false
    }
  }

  async #info(option: number, data: Uint8Array): Promise<boolean> {
    const name = counted(data, 0)
    if (name === undefined || data.length < 6 + name.length) {
      await this.#reply(option, REPLY.ERR_INVALID, message('the export is not named as it has to be'))
      return false
    }
    if (!this.#isOurs(name)) {
      await this.#reply(option, REPLY.ERR_UNKNOWN, message('there is no such export'))
      return false
    }
    const { size, flags, name: ours, description } = this.#offer
    const info = (kind: number, ...rest: Uint8Array[]) =>
      this.#reply(option, REPLY.INFO, packed([16, kind]), ...rest)
    await info(INFO.EXPORT, packed([64, size], [16, flags]))
    await info(INFO.NAME, new TextEncoder().encode(ours))
    await info(INFO.DESCRIPTION, new TextEncoder().encode(description))
    await info(INFO.BLOCK_SIZE, packed([32, 1], [32, 4096], [32, MOST_PAYLOAD]))
    await this.#reply(option, REPLY.ACK)
    return option === OPTION.GO
  }

  async #contexts(option: number, data: Uint8Array): Promise<void> {
    const name = counted(data, 0)
    const queries = name && this.#queries(data, 4 + name.length)
    if (queries === undefined || name === undefined) {
      await this.#reply(option, REPLY.ERR_INVALID, message('the contexts are not listed as they have to be'))
      return
    }
    if (!this.#structured) {
      await this.#reply(option, REPLY.ERR_INVALID, message('structured replies come first'))
      return
    }
    if (!this.#isOurs(name)) {
      await this.#reply(option, REPLY.ERR_UNKNOWN, message('there is no such export'))
      return
    }
    const listing = option === OPTION.LIST_META_CONTEXT
    const wanted =
      queries.includes(BASE_ALLOCATION) || (listing && (queries.length === 0 || queries.includes('base:')))
    if (!listing) this.#allocation = wanted
    if (wanted)
      await this.#reply(
        option,
        REPLY.META_CONTEXT,
        packed([32, listing ? 0 : ALLOCATION_ID]),
        new TextEncoder().encode(BASE_ALLOCATION),
      )
    await this.#reply(option, REPLY.ACK)
  }

  #queries(data: Uint8Array, start: number): string[] | undefined {
    if (data.length < start + 4) return undefined
    const count = bigEndian(data, 'NBD option').u32(start)
    const queries: string[] = []
    let at = start + 4
    while (queries.length < count) {
      const query = counted(data, at)
      if (query === undefined) return undefined
      queries.push(new TextDecoder().decode(query))
      at += 4 + query.length
    }
    return at === data.length ? queries : undefined
  }

  /** The empty name is the default export's, which the only one is. */
  #isOurs(name: Uint8Array): boolean {
    return name.length === 0 || new TextDecoder().decode(name) === this.#offer.name
  }

  async #reply(option: number, type: number, ...pieces: Uint8Array[]): Promise<void> {
    const data = joined(...pieces)
    await this.#connection.send(packed([64, OPTION_REPLY], [32, option], [32, type], [32, data.length]), data)
  }

  #fail(what: string): DrydiskError {
    return new DrydiskError('EIO', `${this.#connection.name}: ${what}`, { peer: this.#connection.name })
  }
}

function message(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

/** A string with its length before it. */
function counted(data: Uint8Array, at: number): Uint8Array | undefined {
  if (data.length < at + 4) return undefined
  const length = bigEndian(data, 'NBD option').u32(at)
  return length > MOST_NAME || data.length < at + 4 + length
    ? undefined
    : data.subarray(at + 4, at + 4 + length)
}
