import type { DiskImage } from '../device/block-device.ts'
import { TemporaryFolder } from '../device/file-temporary.ts'
import { NbdClient } from '../device/nbd/client.ts'
import { NbdStorage } from '../device/nbd/nbd-storage.ts'
import { type Address, SocketConnection } from '../device/nbd/node-socket.ts'
import { EXPORT } from '../device/nbd/protocol.ts'
import { DrydiskError } from '../errors.ts'
import type { ImageFormat } from './detect.ts'
import { openStorage } from './open-storage.ts'

const PORT = 10_809
/** Connections, where the server lets one client have several. */
const CONNECTIONS = 2

/** What `openNbd` takes. */
export interface OpenNbdOptions {
  /** For writing; false when left out. */
  readonly writable?: boolean
  readonly format?: ImageFormat
}

/** Whether a path names an export of an NBD server. */
export function isNbdUri(path: string): boolean {
  return /^nbds?(\+unix|\+vsock)?:/i.test(path)
}

/** What a URI names (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md). */
export interface NbdPlace {
  readonly address: Address
  readonly exportName: string
}

/** Errors: `ERR_INVALID_ARGUMENT`; `ERR_UNSUPPORTED` for TLS and vsock. */
export function parseNbdUri(uri: string): NbdPlace {
  let url: URL
  let exportName: string
  try {
    url = new URL(uri)
    exportName = decodeURIComponent(url.pathname.slice(1))
  } catch (error) {
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `${JSON.stringify(uri)} is no URI`, {}, error)
  }
  if (url.protocol !== 'nbd:' && url.protocol !== 'nbd+unix:')
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${uri}: drydisk speaks nbd: and nbd+unix:, not ${url.protocol}. Tunnel an encrypted connection (ssh -L, stunnel)`,
    )
  if (url.protocol === 'nbd:') {
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
    if (host === '')
      throw new DrydiskError('ERR_INVALID_ARGUMENT', `${uri} names no host: nbd://HOST[:PORT]/EXPORT`)
    return { address: { host, port: url.port === '' ? PORT : Number(url.port) }, exportName }
  }
  const socket = url.searchParams.get('socket')
  if (socket === null || url.host !== '')
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `${uri} names no socket: nbd+unix:///EXPORT?socket=PATH`)
  return { address: { socket }, exportName }
}

/**
 * Opens an export of an NBD server as a disk image: raw, or qcow2 in an export that is served as it is. Nothing is written before
 * `commit()`; then everything is, and flushed. Whether that is atomic is the server's to say: an export of `drydisk serve` is.
 *
 * Errors: as `NbdClient.connect` and `openStorage`; `EROFS`.
 */
export async function openNbd(uri: string, options: OpenNbdOptions = {}): Promise<DiskImage> {
  const storage = await openNbdStorage(uri, options.writable ?? false)
  // What is staged would otherwise be all in memory.
  return openStorage(storage, {
    folder: new TemporaryFolder(),
    ...(options.format === undefined ? {} : { format: options.format }),
  })
}

/** The export itself. */
export async function openNbdStorage(uri: string, writable: boolean): Promise<NbdStorage> {
  const { address, exportName } = parseNbdUri(uri)
  const connect = async () => NbdClient.connect(await SocketConnection.open(address), exportName)
  const first = await connect()
  const clients: [NbdClient, ...NbdClient[]] = [first]
  try {
    if ((first.export.flags & EXPORT.CAN_MULTI_CONN) !== 0)
      while (clients.length < CONNECTIONS) clients.push(await connect())
    return new NbdStorage(clients, writable)
  } catch (error) {
    for (const client of clients) await client.close()
    throw error
  }
}
