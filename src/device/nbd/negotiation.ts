import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { printableText, toBytes } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import { type Connection, packed, type Receiver } from './connection.ts'
import {
  BASE_ALLOCATION,
  EXPORT,
  HANDSHAKE,
  IHAVEOPT,
  INFO,
  MOST_OPTION,
  MOST_PAYLOAD,
  NBDMAGIC,
  OPTION,
  OPTION_REPLY,
  REPLY,
  REPLY_ERROR,
} from './protocol.ts'

/** What a server exports, and what it can do. */
export interface Export {
  readonly size: number
  /** `EXPORT` */
  readonly flags: number
  readonly leastBlock: number
  readonly mostPayload: number
  readonly structured: boolean
  /** Of base:allocation; `undefined` where the server does not tell what is a hole. */
  readonly contextId: number | undefined
}

const NAMES: Readonly<Record<number, string>> = {
  [REPLY.ERR_UNSUP]: 'the server does not know the request',
  [REPLY.ERR_POLICY]: 'the server does not allow it',
  [REPLY.ERR_INVALID]: 'the server calls the request invalid',
  [REPLY.ERR_TLS_REQD]:
    'the server demands TLS, which drydisk does not speak; tunnel the connection (ssh, stunnel)',
  [REPLY.ERR_UNKNOWN]: 'the server has no export of that name',
  [REPLY.ERR_SHUTDOWN]: 'the server is shutting down',
  [REPLY.ERR_BLOCK_SIZE_REQD]: 'the server demands a block size to be agreed on',
}

/** A server that answers and answers gets no further. */
const MOST_REPLIES = 1000

interface OptionReply {
  readonly type: number
  readonly data: ByteView
}

/** The client's side of the handshake: asks for an export, structured replies and the map of what is allocated. */
export class Negotiation {
  readonly #connection: Connection
  readonly #receiver: Receiver

  constructor(connection: Connection, receiver: Receiver) {
    this.#connection = connection
    this.#receiver = receiver
  }

  /** @param name of the export; the empty one is the server's default. */
  async start(name: string): Promise<Export> {
    const hello = await this.#receiver.view(18, 'NBD handshake')
    if (hello.big(0) !== NBDMAGIC) throw this.#fail('this is no NBD server')
    if (hello.big(8) !== IHAVEOPT)
      throw this.#unsupported('the server speaks the old handshake, without names of exports')
    const flags = hello.u16(16)
    if ((flags & HANDSHAKE.FIXED_NEWSTYLE) === 0)
      throw this.#unsupported('the server does not speak the fixed newstyle handshake')
    const noZeroes = flags & HANDSHAKE.NO_ZEROES
    await this.#connection.send(packed([32, HANDSHAKE.FIXED_NEWSTYLE | noZeroes]))
    const structured = (await this.#last(OPTION.STRUCTURED_REPLY)).type === REPLY.ACK
    const contextId = structured ? await this.#askForAllocation(name) : undefined
    return { ...(await this.#go(name, noZeroes !== 0)), structured, contextId }
  }

  async #askForAllocation(name: string): Promise<number | undefined> {
    const [exported, query] = [toBytes(name), toBytes(BASE_ALLOCATION)]
    const data = joined(packed([32, exported.length]), exported, packed([32, 1], [32, query.length]), query)
    let id: number | undefined
    for await (const { type, data: answer } of this.#replies(OPTION.SET_META_CONTEXT, data))
      if (type === REPLY.META_CONTEXT) id = answer.u32(0)
    return id
  }

  async #go(
    name: string,
    noZeroes: boolean,
  ): Promise<Pick<Export, 'size' | 'flags' | 'leastBlock' | 'mostPayload'>> {
    const exported = toBytes(name)
    const data = joined(packed([32, exported.length]), exported, packed([16, 1], [16, INFO.BLOCK_SIZE]))
    let found: { size: number; flags: number } | undefined
    let [leastBlock, mostPayload] = [1, MOST_PAYLOAD]
    for await (const { type, data: answer } of this.#replies(OPTION.GO, data)) {
      if (type === REPLY.ERR_UNSUP) return this.#exportName(exported, noZeroes)
      if (type >= REPLY_ERROR) throw this.#refused(type, answer, name)
      if (type !== REPLY.INFO) continue
      const kind = answer.u16(0)
      if (kind === INFO.EXPORT) found = { size: answer.u64(2), flags: answer.u16(10) }
      if (kind === INFO.BLOCK_SIZE) [leastBlock, mostPayload] = [answer.u32(2), answer.u32(10)]
    }
    if (found === undefined) throw this.#fail('the server does not say how large its export is')
    if (leastBlock < 1 || leastBlock > 65_536 || (leastBlock & (leastBlock - 1)) !== 0)
      throw this.#fail(`the server has blocks of ${leastBlock} bytes, expected a power of two up to 65536`)
    const most = Math.min(MOST_PAYLOAD, Math.max(leastBlock, mostPayload))
    return { ...found, leastBlock, mostPayload: most - (most % leastBlock) }
  }

  /** For servers that are older than NBD_OPT_GO: they close the connection when there is no such export. */
  async #exportName(
    name: Uint8Array,
    noZeroes: boolean,
  ): Promise<Pick<Export, 'size' | 'flags' | 'leastBlock' | 'mostPayload'>> {
    await this.#connection.send(packed([64, IHAVEOPT], [32, OPTION.EXPORT_NAME], [32, name.length]), name)
    const answer = await this.#receiver.view(noZeroes ? 10 : 134, 'NBD export')
    return {
      size: answer.u64(0),
      flags: answer.u16(8) | EXPORT.HAS_FLAGS,
      leastBlock: 1,
      mostPayload: MOST_PAYLOAD,
    }
  }

  async #last(option: number): Promise<OptionReply> {
    let last: OptionReply | undefined
    for await (const reply of this.#replies(option, new Uint8Array())) last = reply
    if (last === undefined) throw this.#fail('the server does not answer an option')
    return last
  }

  /** Replies to an option, up to the one that ends them. */
  async *#replies(option: number, data: Uint8Array): AsyncIterable<OptionReply> {
    await this.#connection.send(packed([64, IHAVEOPT], [32, option], [32, data.length]), data)
    for (let count = 0; count < MOST_REPLIES; count++) {
      const head = await this.#receiver.view(20, 'NBD option reply')
      const [type, length] = [head.u32(12), head.u32(16)]
      if (head.big(0) !== OPTION_REPLY || head.u32(8) !== option)
        throw this.#fail('the server answers something else than was asked')
      if (length > MOST_OPTION) throw this.#fail(`the server answers an option with ${length} bytes`)
      yield { type, data: bigEndian(await this.#receiver.bytes(length), 'NBD option reply') }
      if (type === REPLY.ACK || type >= REPLY_ERROR) return
    }
    throw this.#fail('the server answers an option without end')
  }

  #refused(type: number, data: ByteView, name: string): DrydiskError {
    const said = data.length === 0 ? '' : ` (${printableText(new TextDecoder().decode(data.bytes))})`
    const why = `${NAMES[type] ?? `the server refuses with 0x${type.toString(16)}`}${said}`
    const code = type === REPLY.ERR_UNKNOWN ? 'ENOENT' : type === REPLY.ERR_POLICY ? 'EACCES' : 'EIO'
    return new DrydiskError(code, `${this.#connection.name}: export ${JSON.stringify(name)}: ${why}`, {
      peer: this.#connection.name,
    })
  }

  #fail(what: string): DrydiskError {
    return new DrydiskError('EIO', `${this.#connection.name}: ${what}`, { peer: this.#connection.name })
  }

  #unsupported(what: string): DrydiskError {
    return new DrydiskError('ERR_UNSUPPORTED', `${this.#connection.name}: ${what}`, {
      peer: this.#connection.name,
    })
  }
}

export function joined(...pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const piece of pieces) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}
