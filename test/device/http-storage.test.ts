import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HttpStorage } from '../../src/device/http-storage.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { propertySettings, temporaryFolder } from '../support/native.ts'
import { type Misdeed, redirectingServer, webServer } from '../support/web-server.ts'

const SIZE = 3_000_001

function file(size = SIZE): { folder: string; content: Uint8Array } {
  const folder = temporaryFolder()
  const content = pattern(size, 7)
  writeFileSync(join(folder, 'image'), content)
  return { folder, content }
}

describe('a file on a web server', () => {
  test('reads as it is, whatever is asked for in whatever order and at once', async () => {
    const { folder, content } = file()
    const { url } = await webServer(folder)
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(SIZE - 1), fc.oneof(fc.nat(2000), fc.nat(700_000))), { maxLength: 12 }),
        fc.boolean(),
        async (reads, atOnce) => {
          const storage = await HttpStorage.open(`${url}/image`)
          const one = async ([offset, length]: [number, number]) => {
            const into = new Uint8Array(Math.min(length, SIZE - offset))
            await storage.read(offset, into)
            expect(Buffer.compare(into, content.subarray(offset, offset + into.length))).toBe(0)
          }
          if (atOnce) await Promise.all(reads.map(one))
          else for (const read of reads) await one(read)
          await storage.close()
        },
      ),
      propertySettings(20),
    )
  })

  test('is fetched in few requests where it is read in order, and in small ones where it is not', async () => {
    const { folder } = file()
    const { url, ranges } = await webServer(folder)
    const inOrder = await HttpStorage.open(`${url}/image`)
    const into = new Uint8Array(4096)
    for (let at = 0; at + into.length <= SIZE; at += into.length) await inOrder.read(at, into)
    expect(inOrder.fetched).toMatchObject({ size: SIZE, bytes: SIZE })
    expect(inOrder.fetched.requests).toBeLessThan(9)
    ranges.length = 0
    const here = await HttpStorage.open(`${url}/image`)
    await here.read(2_000_000, into)
    await here.read(2_000_100, into)
    await here.read(1_000_000, into)
    expect(here.fetched.requests).toBe(3)
    expect(here.fetched.bytes).toBe(3 * 65_536)
  })

  test('keeps no more of it than it may', async () => {
    const { folder } = file(12 << 20)
    const { url } = await webServer(folder)
    const storage = await HttpStorage.open(`${url}/image`, { cacheBytes: 8 << 20 })
    const into = new Uint8Array(1 << 20)
    for (const round of [1, 2]) {
      for (let at = 0; at < 12 << 20; at += into.length) await storage.read(at, into)
      if (round === 1) expect(storage.fetched.bytes).toBe(12 << 20)
    }
    expect(storage.fetched.bytes).toBeGreaterThan(16 << 20)
  })

  test('a user in the URL goes into a header, and neither that nor the query into messages', async () => {
    const { folder } = file(10)
    const { url, requests } = await webServer(folder)
    const secret = url.replace('//', '//me:p%40ss@')
    const storage = await HttpStorage.open(`${secret}/image?X-Signature=abc`)
    expect(requests[0]?.headers.authorization).toBe(`Basic ${btoa('me:p@ss')}`)
    expect(requests[0]?.url).toBe('/image?X-Signature=abc')
    expect(storage.name).toBe(`${url}/image`)
    const error = await HttpStorage.open(`${secret}/nothing?X-Signature=abc`).catch((e: unknown) => e)
    expect(error).toMatchObject({ code: 'ENOENT' })
    expect(String(error)).not.toMatch(/p@ss|p%40ss|abc/)
  })

  const HEADERS = { Authorization: 'Bearer secret', 'X-Api-Key': 'secret', Cookie: 'secret=1' }

  test.each([301, 302, 303, 307, 308] as const)(
    'a redirect with status %d to another server is followed without the headers that were given',
    async status => {
      const { folder, content } = file()
      const there = await webServer(folder)
      const here = await redirectingServer(path => `${there.url}${path}`, status)
      const storage = await HttpStorage.open(`${here.url}/image?X-Signature=abc`, { headers: HEADERS })
      const into = new Uint8Array(100)
      await storage.read(1_000_000, into)
      expect(Buffer.compare(into, content.subarray(1_000_000, 1_000_100))).toBe(0)
      expect(here.requests[0]?.headers).toMatchObject({
        authorization: 'Bearer secret',
        'x-api-key': 'secret',
      })
      expect(there.requests.length).toBeGreaterThan(0)
      for (const { headers } of there.requests) expect(JSON.stringify(headers)).not.toMatch(/secret/)
      expect(there.requests[0]?.headers['accept-encoding']).toBe('identity')
    },
  )

  test('a redirect on the same server is followed with the headers that were given', async () => {
    const { folder } = file()
    const { url, requests } = await webServer(folder, n => (n % 2 === 1 ? 'moved' : undefined))
    await HttpStorage.open(`${url}/image`, { headers: HEADERS })
    expect(requests).toHaveLength(2)
    expect(requests[1]?.headers).toMatchObject({ authorization: 'Bearer secret', 'x-api-key': 'secret' })
  })

  test('what another server redirects back here gets no headers any more', async () => {
    const { folder } = file()
    const here = await webServer(folder)
    const there = await redirectingServer(path => `${here.url}${path}`)
    const first = await redirectingServer(path => `${there.url}${path}`)
    const storage = await HttpStorage.open(`${first.url}/image`, { headers: HEADERS })
    expect(storage.size).toBe(SIZE)
    for (const { headers } of [...there.requests, ...here.requests])
      expect(JSON.stringify(headers)).not.toMatch(/secret/)
  })

  test.each([
    ['itself', (path: string) => path, /20 times/],
    ['a file of this machine', () => 'file:///etc/passwd', /file:/],
    ['nowhere', () => 'http://', /redirects/],
  ] as const)('a redirect to %s is an error in words', async (_name, where, message) => {
    const { url, requests } = await redirectingServer(where)
    const open = (headers: Record<string, string>) =>
      HttpStorage.open(`${url}/image?X-Signature=abc`, { headers, firstPause: 1 }).catch((e: unknown) => e)
    const error = await open(HEADERS)
    expect(error).toMatchObject({ code: 'EIO', message: expect.stringMatching(message) as string })
    expect(String(error)).not.toMatch(/secret|abc/)
    expect(requests.length).toBeLessThanOrEqual(21)
    const followed = await open({})
    expect(followed).toMatchObject({ code: 'EIO' })
    expect(String(followed)).not.toMatch(/abc/)
  })

  test('a browser, which hides where a redirect leads, is not asked to carry headers there', async () => {
    const redirects: unknown[] = []
    const hidden: typeof fetch = async (_url, init) => {
      redirects.push(init?.redirect)
      return Object.defineProperty(Response.error(), 'type', { value: 'opaqueredirect' })
    }
    const opened = HttpStorage.open('https://host/image', { headers: HEADERS, fetch: hidden })
    await expect(opened).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringMatching(/redirects/) as string,
    })
    expect(redirects).toEqual(['manual'])
  })

  const misdeeds: readonly [Misdeed, string, RegExp][] = [
    ['no ranges', 'ERR_UNSUPPORTED', /whole files only/],
    ['another range', 'EIO', /the server sends/],
    ['too short', 'EIO', /after 4 tries.*ended after/],
    ['too long', 'EIO', /more than/],
    ['no length', 'EIO', /does not say which part/],
    ['error 503', 'EIO', /status 503/],
    ['closed connection', 'EIO', /after 4 tries/],
    ['compressed', 'ERR_UNSUPPORTED', /gzip/],
  ]
  test.each(misdeeds)('a server with %s is refused in words', async (misdeed, code, message) => {
    const { folder } = file()
    const { url } = await webServer(folder, () => misdeed)
    const opened = HttpStorage.open(`${url}/image`, { firstPause: 1 })
    await expect(opened).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string })
  })

  test('what fails on the way once is asked for again', async () => {
    const { folder, content } = file()
    const { url } = await webServer(folder, n =>
      n === 1 ? 'error 503' : n === 3 ? 'closed connection' : undefined,
    )
    const storage = await HttpStorage.open(`${url}/image`)
    const into = new Uint8Array(100)
    await storage.read(1_000_000, into)
    expect(Buffer.compare(into, content.subarray(1_000_000, 1_000_100))).toBe(0)
  })

  test('a file that becomes another one meanwhile is an error, not a mixture', async () => {
    const { folder } = file()
    const { url } = await webServer(folder, n => (n === 1 ? undefined : 'other file'))
    const storage = await HttpStorage.open(`${url}/image`)
    const read = storage.read(1_000_000, new Uint8Array(100))
    await expect(read).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringContaining('changed') as string,
    })
  })

  test('is only read, and nothing lies behind its end', async () => {
    const { folder } = file(100)
    const { url } = await webServer(folder)
    const storage = await HttpStorage.open(`${url}/image`)
    await expect(storage.write()).rejects.toMatchObject({ code: 'EROFS' })
    await expect(storage.read(90, new Uint8Array(11))).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
  })

  test('stops when it is told to', async () => {
    const { folder } = file()
    const stop = new AbortController()
    const { url } = await webServer(folder)
    const storage = await HttpStorage.open(`${url}/image`, { signal: stop.signal })
    stop.abort()
    await expect(storage.read(1_000_000, new Uint8Array(1))).rejects.toMatchObject({ code: 'ERR_ABORTED' })
  })
})
