import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { MemoryDevice } from '../../../src/device/memory-device.ts'
import { NbdClient } from '../../../src/device/nbd/client.ts'
import { type Connection, packed, Receiver } from '../../../src/device/nbd/connection.ts'
import { NbdListener } from '../../../src/device/nbd/node-listener.ts'
import { SocketConnection } from '../../../src/device/nbd/node-socket.ts'
import {
  CHUNK,
  EXPORT,
  IHAVEOPT,
  NBDMAGIC,
  OPTION,
  OPTION_REPLY,
  REPLY,
  STRUCTURED_REPLY,
} from '../../../src/device/nbd/protocol.ts'
import { NbdServer } from '../../../src/device/nbd/server.ts'
import { ALLOCATION_ID, ServerHandshake } from '../../../src/device/nbd/server-handshake.ts'
import { DrydiskError } from '../../../src/errors.ts'
import { openNbdStorage, parseNbdUri } from '../../../src/image/open-nbd.ts'
import { temporaryFolder } from '../../support/native.ts'

const MIB = 1 << 20
const READ_ONLY = EXPORT.HAS_FLAGS | EXPORT.READ_ONLY

/** One end of a connection in memory. */
class End implements Connection {
  readonly name: string
  peer: End | undefined
  readonly #held: Uint8Array[] = []
  #ended = false
  #wake: () => void = () => undefined

  constructor(name: string) {
    this.name = name
  }

  async receive(): Promise<Uint8Array | undefined> {
    while (this.#held.length === 0 && !this.#ended)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    return this.#held.shift()
  }
  async send(...pieces: readonly Uint8Array[]): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    for (const piece of pieces) this.peer?.take(piece)
  }
  close(): void {
    this.end()
    this.peer?.end()
  }
  take(piece: Uint8Array): void {
    if (piece.length > 0) this.#held.push(piece.slice())
    this.#wake()
  }
  end(): void {
    this.#ended = true
    this.#wake()
  }
  get ended(): boolean {
    return this.#ended
  }
}

function connected(): [client: End, server: End] {
  const [client, server] = [new End('server'), new End('client')]
  client.peer = server
  server.peer = client
  return [client, server]
}

/** The first connection to a server that does as `misbehave` says once transmission begins. */
async function clientOf(misbehave: (end: End, cookie: bigint) => Promise<void>): Promise<NbdClient> {
  const [client, server] = connected()
  const receiver = new Receiver(server)
  const offer = { name: '', description: '', size: MIB, flags: READ_ONLY }
  const shaken = new ServerHandshake(server, receiver, offer).run()
  const opened = await NbdClient.connect(client, '')
  await shaken
  void receiver.view(28, 'request').then(head => misbehave(server, head.big(8)))
  return opened
}

describe('a server that does not keep to the protocol', () => {
  test('tells the status of blocks without end', async () => {
    const client = await clientOf(async (end, cookie) => {
      while (!end.ended)
        await end.send(
          packed([32, STRUCTURED_REPLY], [16, 0], [16, CHUNK.BLOCK_STATUS], [64, cookie], [32, 12]),
          packed([32, ALLOCATION_ID], [32, 512], [32, 0]),
        )
    })
    await expect(client.status(0, MIB)).rejects.toMatchObject({ code: 'EIO' })
  })

  test('answers an option without end', async () => {
    const [client, server] = connected()
    const opened = NbdClient.connect(client, '')
    const receiver = new Receiver(server)
    const serve = async () => {
      await server.send(packed([64, NBDMAGIC], [64, IHAVEOPT], [16, 3]))
      await receiver.bytes(4 + 16)
      while (!server.ended)
        await server.send(
          packed([64, OPTION_REPLY], [32, OPTION.STRUCTURED_REPLY], [32, REPLY.INFO], [32, 0]),
        )
    }
    void serve()
    await expect(opened).rejects.toMatchObject({ code: 'EIO' })
  })
})

test('a fault of the server itself is not kept quiet, and no client waits for ever', async () => {
  const device = new MemoryDevice(MIB)
  await device.write(0, new Uint8Array(10).fill(1))
  device.read = () => Promise.reject(new TypeError('a fault'))
  const [client, server] = connected()
  const serving = new NbdServer(device).serve(server)
  const opened = await NbdClient.connect(client, '')
  await expect(Promise.all([serving, opened.read(0, new Uint8Array(10))])).rejects.toThrow()
  await expect(serving).rejects.toThrow(/a fault/)
})

test('what a client wrote is published when it leaves before the answer reached it', async () => {
  const device = new MemoryDevice(MIB)
  const write = device.write.bind(device)
  device.write = async (offset, from) => {
    await new Promise(resolve => setTimeout(resolve, 30))
    await write(offset, from)
  }
  let commits = 0
  const server = new NbdServer(device, {
    commit: async () => {
      commits++
    },
  })
  const [client, end] = connected()
  const opened = NbdClient.connect(client, '')
  const serving = server.serve(end)
  const nbd = await opened
  end.send = () => Promise.reject(new DrydiskError('EIO', 'the client has gone'))
  void nbd.write(0, Uint8Array.of(7)).catch(() => undefined)
  await nbd.close()
  await serving.catch(() => undefined)
  expect([commits, device.toBytes()[0]]).toEqual([1, 7])
})

test('a listener that is closed leaves nothing under way behind', async () => {
  const device = new MemoryDevice(MIB)
  const write = device.write.bind(device)
  let begun = 0
  let done = 0
  device.write = async (offset, from) => {
    begun++
    await new Promise(resolve => setTimeout(resolve, 100))
    await write(offset, from)
    done++
  }
  const socket = join(temporaryFolder(), 's')
  const listener = await NbdListener.listen({ socket }, new NbdServer(device))
  const storage = await openNbdStorage(listener.uri(), true)
  const writing = storage.write(0, Uint8Array.of(1)).catch(() => undefined)
  await expect.poll(() => begun).toBe(1)
  await listener.close()
  expect(done).toBe(1)
  await writing
})

test('a peer that does not hang up keeps no socket', async () => {
  const path = join(temporaryFolder(), 's')
  const taken = new Promise<Socket>(resolve => {
    const server = createServer(resolve).listen(path, () => {
      const stubborn = connect({ path, allowHalfOpen: true })
      onTestFinished(() => {
        stubborn.destroy()
        server.close()
      })
    })
  })
  const socket = await taken
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
  new SocketConnection(socket, 'a client').close()
  await closed
})

test('a URI whose name is not encoded as one', () => {
  expect(() => parseNbdUri('nbd://host/%zz')).toThrow(
    expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }),
  )
})
