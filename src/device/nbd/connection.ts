import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'

/** Bytes in both directions: a socket. */
export interface Connection {
  /** For messages. */
  readonly name: string
  /** The next bytes that have come, at least one; `undefined` at the end. Errors are `EIO`. */
  receive(): Promise<Uint8Array | undefined>
  /** Settles when more may be sent. */
  send(...pieces: readonly Uint8Array[]): Promise<void>
  close(): void
}

/** Reads a connection by lengths. */
export class Receiver {
  readonly #connection: Connection
  #held: Uint8Array = new Uint8Array()

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** Fills all of `into`; `EIO` when the connection ends before. */
  async fill(into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length; ) {
      if (this.#held.length === 0) {
        const next = await this.#connection.receive()
        if (next === undefined)
          throw new DrydiskError('EIO', `${this.#connection.name}: the connection was closed`, {
            peer: this.#connection.name,
          })
        this.#held = next
      }
      const length = Math.min(this.#held.length, into.length - done)
      into.set(this.#held.subarray(0, length), done)
      this.#held = this.#held.subarray(length)
      done += length
    }
  }

  async bytes(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    await this.fill(bytes)
    return bytes
  }

  async view(length: number, what: string): Promise<ByteView> {
    return bigEndian(await this.bytes(length), what)
  }

  /** Whether the other side has ended where something new would begin. */
  async ended(): Promise<boolean> {
    if (this.#held.length > 0) return false
    const next = await this.#connection.receive()
    if (next === undefined) return true
    this.#held = next
    return false
  }
}

/** A structure of numbers of 16, 32 and 64 bits. */
export function packed(
  ...fields: readonly (readonly [bits: 16 | 32 | 64, value: number | bigint])[]
): Uint8Array {
  const bytes = new Uint8Array(fields.reduce((sum, [bits]) => sum + bits / 8, 0))
  const view = bigEndian(bytes, 'NBD message')
  let at = 0
  for (const [bits, value] of fields) {
    if (bits === 64) view.setBig(at, BigInt(value))
    else if (bits === 32) view.setU32(at, Number(value))
    else view.setU16(at, Number(value))
    at += bits / 8
  }
  return bytes
}
