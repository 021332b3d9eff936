import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { DrydiskError } from '../../errors.ts'
import { fileError } from '../file-error.ts'
import { type Address, SocketConnection, shownAddress } from './node-socket.ts'
import type { NbdServer } from './server.ts'

/** Clients at once; more are turned away. */
const MOST_CLIENTS = 64

/** Takes the clients of an NBD server from a socket. */
export class NbdListener {
  readonly address: Address
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #serving = new Set<Promise<void>>()

  private constructor(address: Address, server: Server) {
    this.address = address
    this.#server = server
  }

  /**
   * Errors: `EEXIST` for a socket that is there, `EACCES`, `EIO` with the system's words (a port that is taken).
   * @param address port 0: a free one; `address` of the listener has it.
   * @param idle called each time when the last client has gone.
   */
  static async listen(
    address: Address,
    nbd: NbdServer,
    idle: () => void = () => undefined,
  ): Promise<NbdListener> {
    const server = createServer()
    server.maxConnections = MOST_CLIENTS
    try {
      if ('socket' in address) server.listen(address.socket)
      else server.listen(address.port, address.host)
      await once(server, 'listening')
    } catch (error) {
      if ('socket' in address) throw fileError(error, address.socket, 'listen on')
      const why = error instanceof Error ? error.message : String(error)
      throw new DrydiskError('EIO', `cannot listen on ${shownAddress(address)}: ${why}`, {}, error)
    }
    const bound = server.address()
    const port = bound !== null && typeof bound === 'object' ? bound.port : 0
    const listener = new NbdListener('socket' in address ? address : { host: address.host, port }, server)
    server.on('connection', socket => {
      listener.#sockets.add(socket)
      socket.once('close', () => listener.#sockets.delete(socket))
      const { remoteAddress, remotePort } = socket
      const name = remoteAddress === undefined ? 'a client' : `client ${remoteAddress}:${remotePort}`
      const serving = nbd.serve(new SocketConnection(socket, name)).then(() => {
        listener.#serving.delete(serving)
        if (nbd.clients === 0) idle()
      })
      listener.#serving.add(serving)
    })
    return listener
  }

  /** The URI that clients use. */
  uri(exportName = ''): string {
    const name = encodeURIComponent(exportName)
    if ('socket' in this.address)
      return `nbd+unix:///${name}?socket=${encodeURIComponent(this.address.socket).replaceAll('%2F', '/')}`
    return `nbd://${shownAddress(this.address)}/${name}`
  }

  /** Takes no more clients and lets go those that are there. Of their requests none is under way afterwards. */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
    await Promise.allSettled(this.#serving)
    if ('socket' in this.address) await rm(this.address.socket, { force: true })
  }
}
