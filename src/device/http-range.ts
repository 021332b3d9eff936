import { DrydiskError } from '../errors.ts'
import { fetchFollowing } from './http-redirect.ts'
import { shownPlace } from './shown-place.ts'

/** How long a server may take to answer, and then between two pieces of its answer. */
const PATIENCE_MS = 30_000
/** A request that failed on the way is sent again, after 0.2 s, 0.8 s and 3.2 s. */
const TRIES = 4
const FIRST_PAUSE_MS = 200

/** What a server says of a file. */
export interface RemoteFile {
  readonly size: number
  /** A strong validator: an entity tag, or the time of the last change. `undefined` when the server gives none. */
  readonly version: string | undefined
}

/** One answer to a range request. */
export interface RangeAnswer extends RemoteFile {
  readonly bytes: Uint8Array
}

export interface HttpOptions {
  /** The platform's when left out. */
  readonly fetch?: typeof fetch
  /** Sent with every request to the server of the URL. Where that redirects to another one, they are not sent there. */
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
  /** @internal Milliseconds before a request is sent a second time. */
  readonly firstPause?: number
}

/** `ERR_INVALID_ARGUMENT`, without what may be secret. */
function parseUrl(url: string): URL {
  try {
    return new URL(url)
  } catch {
    throw notUrl(url)
  }
}

/** The cause is left out, because it repeats the whole URL. */
function notUrl(url: string): DrydiskError {
  return new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    `${JSON.stringify(shownPlace(url))} is no URL of a file on a web server`,
  )
}

/** A URL as messages show it: without user, password and query, where signatures and tokens are. `ERR_INVALID_ARGUMENT`. */
export function shownUrl(url: string): string {
  const { protocol, host, pathname } = parseUrl(url)
  return `${protocol}//${host}${pathname}`
}

/** RFC 7617 has the user of a URL in a header; fetch refuses URLs with one. */
function basicAuthorization(url: string, { username, password }: URL): string {
  try {
    const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
    return `Basic ${base64(new TextEncoder().encode(user))}`
  } catch {
    throw notUrl(url)
  }
}

/** Asks one server for parts of one file (RFC 9110, section 14). */
export class RangeRequests {
  readonly #url: string
  readonly #shown: string
  readonly #options: HttpOptions
  readonly #headers: Record<string, string>
  requests = 0
  bytes = 0

  constructor(url: string, options: HttpOptions) {
    const parsed = parseUrl(url)
    this.#shown = shownUrl(url)
    this.#headers = {}
    for (const [name, value] of Object.entries(options.headers ?? {}))
      this.#headers[name.toLowerCase()] = value
    if (parsed.username !== '' || parsed.password !== '') {
      this.#headers.authorization ??= basicAuthorization(url, parsed)
      parsed.username = ''
      parsed.password = ''
    }
    this.#url = parsed.href
    this.#options = options
  }

  /**
   * Bytes `offset` to `offset + length`, fewer at the end of the file.
   * @param expected what the file was before: `EIO` when it is another by now.
   */
  async read(offset: number, length: number, expected: RemoteFile | undefined): Promise<RangeAnswer> {
    for (let attempt = 1; ; attempt++)
      try {
        return await this.#once(offset, length, expected)
      } catch (error) {
        if (attempt === TRIES || this.#options.signal?.aborted) throw this.#described(error)
        if (error instanceof DrydiskError) throw error
        const pause = (this.#options.firstPause ?? FIRST_PAUSE_MS) * 4 ** (attempt - 1)
        await new Promise(resolve => setTimeout(resolve, pause))
      }
  }

  async #once(offset: number, length: number, expected: RemoteFile | undefined): Promise<RangeAnswer> {
    this.#options.signal?.throwIfAborted()
    const patience = new AbortController()
    const stop = () => patience.abort(this.#options.signal?.reason)
    this.#options.signal?.addEventListener('abort', stop, { once: true })
    let timer = setTimeout(() => patience.abort(new Error('no answer')), PATIENCE_MS)
    const goOn = () => {
      clearTimeout(timer)
      timer = setTimeout(() => patience.abort(new Error('the answer stopped')), PATIENCE_MS)
    }
    try {
      this.requests++
      const request = {
        url: this.#url,
        // fetch adds that the body is not to be compressed on the way, where it would have no ranges of the file (Fetch Standard).
        headers: { range: `bytes=${offset}-${offset + length - 1}` },
        ownHeaders: this.#headers,
        signal: patience.signal,
        shown: this.#shown,
      }
      const response = await fetchFollowing(request, this.#options.fetch ?? fetch)
      goOn()
      const file = this.#judge(response, offset, length, expected)
      if (file === undefined) {
        await response.body?.cancel()
        throw new Error(`status ${response.status}`)
      }
      const wanted = Math.min(length, file.size - offset)
      return { ...file, bytes: await this.#body(response, wanted, goOn) }
    } finally {
      clearTimeout(timer)
      this.#options.signal?.removeEventListener('abort', stop)
    }
  }

  /** @returns `undefined` for an answer that may be another one next time. */
  #judge(
    response: Response,
    offset: number,
    length: number,
    expected: RemoteFile | undefined,
  ): RemoteFile | undefined {
    const { status, headers } = response
    if (status === 408 || status === 429 || status >= 500) return undefined
    const fail = (code: 'ENOENT' | 'EACCES' | 'EIO' | 'ERR_UNSUPPORTED', what: string) => {
      response.body?.cancel().catch(() => undefined)
      return new DrydiskError(code, `${this.#shown}: ${what}`, { url: this.#shown, status })
    }
    if (status === 404 || status === 410) throw fail('ENOENT', `there is no such file (status ${status})`)
    if (status === 401 || status === 403) throw fail('EACCES', `the server refuses it (status ${status})`)
    if (status === 200)
      throw fail(
        'ERR_UNSUPPORTED',
        'the server sends whole files only, not parts of them (status 200 to a range request). Download the file first',
      )
    if (status === 416)
      throw fail('EIO', 'the server has no such range: the file is empty or has become shorter')
    if (status !== 206) throw fail('EIO', `the server answered with status ${status}, expected 206`)
    const encoding = headers.get('content-encoding')
    if (encoding !== null && encoding !== 'identity')
      throw fail('ERR_UNSUPPORTED', `the server sends the file compressed (${encoding}), which has no ranges`)
    const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get('content-range') ?? '')
    const [first, last, size] = [Number(range?.[1]), Number(range?.[2]), Number(range?.[3])]
    if (range === null || !Number.isSafeInteger(size))
      throw fail(
        'EIO',
        `the server does not say which part of how large a file it sends (Content-Range: ${headers.get('content-range')})`,
      )
    if (first !== offset || last !== Math.min(offset + length, size) - 1)
      throw fail(
        'EIO',
        `asked for bytes ${offset} to ${offset + length - 1}, the server sends ${first} to ${last} of ${size}`,
      )
    const file = { size, version: versionOf(headers) }
    if (expected !== undefined && (file.size !== expected.size || file.version !== expected.version))
      throw fail('EIO', 'the file has changed since it was opened; open it again')
    return file
  }

  async #body(response: Response, length: number, goOn: () => void): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    let at = 0
    const reader = response.body?.getReader()
    if (reader !== undefined)
      for (;;) {
        const { done, value } = await reader.read()
        if (done) break
        goOn()
        if (at + value.length > length) {
          await reader.cancel()
          throw new DrydiskError(
            'EIO',
            `${this.#shown}: the server sends more than the ${length} bytes it promised`,
            {
              url: this.#shown,
            },
          )
        }
        bytes.set(value, at)
        at += value.length
        this.bytes += value.length
      }
    if (at < length) throw new Error(`the answer ended after ${at} of ${length} bytes`)
    return bytes
  }

  #described(error: unknown): DrydiskError {
    if (error instanceof DrydiskError) return error
    if (this.#options.signal?.aborted)
      return new DrydiskError('ERR_ABORTED', `${this.#shown}: stopped`, { url: this.#shown }, error)
    const causes: string[] = []
    for (let at: unknown = error; at instanceof Error && causes.length < 3; at = at.cause)
      causes.push(at.message)
    return new DrydiskError(
      'EIO',
      `${this.#shown}: cannot be read, after ${TRIES} tries (${causes.join(': ')})`,
      { url: this.#shown },
      error,
    )
  }
}

/** A weak tag does not promise the same bytes (RFC 9110, section 8.8.1). */
function versionOf(headers: Headers): string | undefined {
  const tag = headers.get('etag')
  if (tag !== null && !tag.startsWith('W/')) return tag
  return headers.get('last-modified') ?? undefined
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
}
