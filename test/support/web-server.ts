import { createReadStream, statSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** What a server may do wrong, for each request in turn; `undefined` serves as it should. */
export type Misdeed =
  | 'no ranges'
  | 'another range'
  | 'too short'
  | 'too long'
  | 'no length'
  | 'error 503'
  | 'closed connection'
  | 'compressed'
  | 'other file'
  | 'moved'

export interface WebServer {
  readonly url: string
  /** `Range` headers of all requests. */
  readonly ranges: string[]
  readonly requests: IncomingMessage[]
}

/** Sends every request on to another place, for as long as the test runs. @param where the place, for a path with its query. */
export async function redirectingServer(
  where: (path: string) => string,
  status: 301 | 302 | 303 | 307 | 308 = 302,
): Promise<Pick<WebServer, 'url' | 'requests'>> {
  const requests: IncomingMessage[] = []
  const url = await listening((request, response) => {
    requests.push(request)
    response.writeHead(status, { location: where(request.url ?? '/') }).end()
  })
  return { url, requests }
}

/** Serves the files of a folder in ranges, as a web server does, for as long as the test runs. */
export async function webServer(
  folder: string,
  misdeed: (request: number) => Misdeed | undefined = () => undefined,
): Promise<WebServer> {
  const ranges: string[] = []
  const requests: IncomingMessage[] = []
  const url = await listening((request, response) => {
    requests.push(request)
    ranges.push(request.headers.range ?? '')
    serve(request, response, folder, misdeed(requests.length))
  })
  return { url, ranges, requests }
}

async function listening(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const server = createServer(answer)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return `http://127.0.0.1:${port}`
}

function serve(
  request: IncomingMessage,
  response: ServerResponse,
  folder: string,
  misdeed: Misdeed | undefined,
): void {
  const path = join(folder, decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname))
  const size = statSync(path, { throwIfNoEntry: false })?.size
  if (size === undefined) {
    response.writeHead(404).end()
    return
  }
  if (misdeed === 'closed connection') {
    request.socket.destroy()
    return
  }
  if (misdeed === 'error 503') {
    response.writeHead(503).end('later')
    return
  }
  if (misdeed === 'moved') {
    response.writeHead(302, { location: request.url ?? '/' }).end()
    return
  }
  const etag = misdeed === 'other file' ? '"2"' : '"1"'
  const found = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
  if (found === null || misdeed === 'no ranges') {
    response.writeHead(200, { etag, 'content-length': size })
    createReadStream(path).pipe(response)
    return
  }
  const first = Number(found[1])
  const last = Math.min(Number(found[2]), size - 1)
  if (first >= size) {
    response.writeHead(416, { 'content-range': `bytes */${size}` }).end()
    return
  }
  const start = misdeed === 'another range' && last > first ? first + 1 : first
  const headers: Record<string, string> = { etag }
  if (misdeed !== 'no length') headers['content-range'] = `bytes ${start}-${last}/${size}`
  if (misdeed === 'compressed') headers['content-encoding'] = 'gzip'
  response.writeHead(206, headers)
  const end =
    misdeed === 'too short'
      ? Math.max(start, last - 1)
      : misdeed === 'too long'
        ? Math.min(size - 1, last + 1)
        : last
  createReadStream(path, { start, end }).pipe(response)
}
