import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { DrydiskError } from '../../errors.ts'
import { fileError } from '../file-error.ts'
import type { Connection } from './connection.ts'

/** A place to connect to or to listen on. */
export type Address = { readonly host: string; readonly port: number } | { readonly socket: string }

export function shownAddress(address: Address): string {
  if ('socket' in address) return address.socket
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`
}

/** How long a peer has to take what was sent last, and to hang up. */
const PATIENCE_MS = 1000

/** A socket of node:net as a connection. */
export class SocketConnection implements Connection {
  readonly name: string
  readonly #socket: Socket
  readonly #pieces: AsyncIterator<Uint8Array>
  /** While the socket takes no more: settles when it does, or is closed. */
  #room: Promise<void> | undefined

  constructor(socket: Socket, name: string) {
    this.#socket = socket
    this.name = name
    socket.setNoDelay(true)
    // What comes in is taken piece by piece: nobody can make this process hold more than a socket's buffer.
    this.#pieces = socket[Symbol.asyncIterator]()
    // An error is told by the call that meets it.
    socket.on('error', () => undefined)
  }

  static async open(address: Address): Promise<SocketConnection> {
    const name = shownAddress(address)
    const socket = 'socket' in address ? connect(address.socket) : connect(address.port, address.host)
    try {
      await once(socket, 'connect')
    } catch (error) {
      throw 'socket' in address ? fileError(error, name, 'connect to') : SocketConnection.#failed(name, error)
    }
    return new SocketConnection(socket, name)
  }

  static #failed(name: string, error: unknown): DrydiskError {
    const why = error instanceof Error && error.message !== '' ? error.message : 'no connection'
    return new DrydiskError('EIO', `${name}: ${why}`, { peer: name }, error)
  }

  async receive(): Promise<Uint8Array | undefined> {
    try {
      const { done, value } = await this.#pieces.next()
      return done ? undefined : value
    } catch (error) {
      throw SocketConnection.#failed(this.name, error)
    }
  }

  async send(...pieces: readonly Uint8Array[]): Promise<void> {
    this.#socket.cork()
    let room = true
    for (const piece of pieces) room = this.#socket.write(piece)
    this.#socket.uncork()
    if (this.#socket.errored !== null) throw SocketConnection.#failed(this.name, this.#socket.errored)
    if (!room && !this.#socket.destroyed) await this.#drained()
  }

  /** All senders wait for the same event: each with its own listener would be many. */
  #drained(): Promise<void> {
    this.#room ??= new Promise<void>(resolve => {
      const go = () => {
        this.#room = undefined
        this.#socket.off('drain', go)
        this.#socket.off('close', go)
        resolve()
      }
      this.#socket.once('drain', go)
      this.#socket.once('close', go)
    })
    return this.#room
  }

  close(): void {
    // What was sent still goes out.
    this.#socket.end()
    this.#socket.resume()
    const timer = setTimeout(() => this.#socket.destroy(), PATIENCE_MS)
    this.#socket.once('close', () => clearTimeout(timer))
  }
}
