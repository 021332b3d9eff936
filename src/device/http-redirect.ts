import { DrydiskError } from '../errors.ts'

/** As many as fetch follows by itself (Fetch Standard, HTTP-redirect fetch). */
const REDIRECTS = 20
/** Those that name another place for the same request (RFC 9110, section 15.4). */
const REDIRECT_STATUS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

/** A GET request. */
export interface HttpRequest {
  readonly url: string
  /** For whichever server answers. */
  readonly headers: Readonly<Record<string, string>>
  /** For the server of `url` alone: each may be a secret. */
  readonly ownHeaders: Readonly<Record<string, string>>
  readonly signal: AbortSignal
  /** The URL as messages show it. */
  readonly shown: string
}

/**
 * Sends a request and follows redirects. fetch would take every header but `Authorization` and `Cookie` along to whatever server it is
 * sent to, so that where there are others, each step is looked at here. Behind the first step to another scheme, host or port they are gone,
 * also where a later one leads back.
 * Errors: `EIO` for a redirect that cannot be followed; `ERR_UNSUPPORTED` where the platform hides where it leads, as browsers do; what fetch throws.
 */
export async function fetchFollowing(request: HttpRequest, fetchOne: typeof fetch): Promise<Response> {
  const { headers, ownHeaders, signal } = request
  if (Object.keys(ownHeaders).length === 0) return fetchOne(request.url, { headers, signal })
  let url = new URL(request.url)
  let sent = { ...ownHeaders, ...headers }
  for (let followed = 0; ; followed++) {
    const response = await fetchOne(url.href, { headers: sent, signal, redirect: 'manual' })
    if (response.type === 'opaqueredirect')
      throw failed(
        request,
        'ERR_UNSUPPORTED',
        'redirects to a place that a browser does not tell, so no headers can be kept from it. Open that place itself, or without headers',
      )
    const location = response.headers.get('location')
    if (!REDIRECT_STATUS.has(response.status) || location === null) return response
    await response.body?.cancel()
    if (followed === REDIRECTS) throw failed(request, 'EIO', `redirects more than ${REDIRECTS} times`)
    const next = placeOf(location, url, request)
    if (next.origin !== url.origin) sent = { ...headers }
    url = next
  }
}

function placeOf(location: string, from: URL, request: HttpRequest): URL {
  if (!URL.canParse(location, from.href)) throw failed(request, 'EIO', 'redirects to what is no URL')
  const place = new URL(location, from)
  if (place.protocol !== 'http:' && place.protocol !== 'https:')
    throw failed(request, 'EIO', `redirects to ${place.protocol}, which is no web server`)
  // fetch refuses URLs with a user, and one that a server names is not the user's own.
  place.username = ''
  place.password = ''
  return place
}

function failed({ shown }: HttpRequest, code: 'EIO' | 'ERR_UNSUPPORTED', what: string): DrydiskError {
  return new DrydiskError(code, `${shown}: the server ${what}`, { url: shown })
}
