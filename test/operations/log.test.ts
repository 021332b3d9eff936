import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { logText } from '../../src/operations/log/log-text.ts'
import { findLog, guestZone, readJournal } from '../../src/operations/log/read-log.ts'
import { clockOf, shortLine } from '../../src/operations/log/short-format.ts'
import { propertySettings } from '../support/native.ts'

const REMOTE = '/lib/systemd/systemd-journal-remote'
const tools = existsSync(REMOTE)

/** In the Journal Export Format, in which a value of bytes has its length before it. */
function exported(entries: readonly Record<string, string | Uint8Array>[]): Buffer {
  const parts: Buffer[] = []
  entries.forEach((fields, i) => {
    const time = 1_700_000_000_000_000 + i * 977_123_457
    parts.push(
      Buffer.from(
        `__CURSOR=s=${'1'.repeat(32)};i=${i}\n__REALTIME_TIMESTAMP=${time}\n__MONOTONIC_TIMESTAMP=${i + 1}\n_BOOT_ID=${(i < 4 ? 'a' : 'b').repeat(32)}\n`,
      ),
    )
    for (const [name, value] of Object.entries(fields)) {
      const bytes = Buffer.from(value)
      const length = Buffer.alloc(8)
      length.writeBigUInt64LE(BigInt(bytes.length))
      parts.push(Buffer.from(`${name}\n`), length, bytes, Buffer.from('\n'))
    }
    parts.push(Buffer.from('\n'))
  })
  return Buffer.concat(parts)
}

const from = { _HOSTNAME: 'guest', SYSLOG_IDENTIFIER: 'cron' }
const ENTRIES: readonly Record<string, string | Uint8Array>[] = [
  { ...from, MESSAGE: 'plain', _PID: '7' },
  { ...from, MESSAGE: 'two\nlines of it\n', SYSLOG_PID: '8' },
  { ...from, MESSAGE: new Uint8Array([0, 1, 2, 0xff]) },
  { _HOSTNAME: 'guest', _COMM: 'sh', MESSAGE: '\u001b[1mbold\u001b[0m and\ttab' },
  { ...from, MESSAGE: `long ${Array.from({ length: 900 }, (_, i) => i * i).join(' ')}` },
  { MESSAGE: 'from nowhere' },
  { ...from, MESSAGE: '' },
  { ...from, PRIORITY: '3' },
  { ...from, MESSAGE: 'späte Nachricht', _SOURCE_REALTIME_TIMESTAMP: '1700000000000001' },
  { ...from, MESSAGE: new Uint8Array(5000).fill(1) },
  { ...from, SYSLOG_IDENTIFIER: `n${'x'.repeat(400)}`, MESSAGE: 'm' },
]

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'drydisk-log-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function journal(name: string, environment: Record<string, string>, entries = ENTRIES): string {
  const path = join(folder, `${name}.journal`)
  execFileSync(REMOTE, ['-o', path, '-'], {
    input: exported(entries),
    env: { ...process.env, ...environment },
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  return path
}

/** Puts another payload into the first data object that is compressed, and says what it is compressed with, there and in the header. */
function replaceCompressed(path: string, flag: 1 | 2, payload: Buffer): void {
  const bytes = readFileSync(path)
  const compact = (bytes.readUInt32LE(12) & 16) !== 0
  bytes.writeUInt32LE(bytes.readUInt32LE(12) | flag, 12)
  const start = compact ? 72 : 64
  for (let at = Number(bytes.readBigUInt64LE(88)); bytes[at] !== 0; ) {
    const size = Number(bytes.readBigUInt64LE(at + 8))
    if (bytes[at] === 1 && bytes[at + 1] === 4) {
      bytes[at + 1] = flag
      bytes.writeBigUInt64LE(BigInt(start + payload.length), at + 8)
      payload.copy(bytes, at + start)
      break
    }
    at += Math.ceil(size / 8) * 8
  }
  writeFileSync(path, bytes)
}

async function short(files: Record<string, Uint8Array>, last?: number, zone?: string): Promise<string> {
  const guest = await memoryGuest(files)
  const source = await findLog(guest)
  if (source.kind !== 'journal') throw new Error('no journal')
  const clock = clockOf(zone)
  let out = ''
  let boot: string | undefined
  for await (const entry of readJournal(guest, source.files, last === undefined ? {} : { last })) {
    const line = shortLine(entry, clock)
    if (line === undefined) continue
    if (boot !== undefined && boot !== entry.boot_id) out += `-- Boot ${entry.boot_id} --\n`
    boot = entry.boot_id
    out += line
  }
  return out
}

const journalctl = (path: string, zone = 'UTC', ...more: string[]) =>
  execFileSync('journalctl', ['--file', path, '-o', 'short', '--no-pager', ...more], {
    encoding: 'utf8',
    env: { ...process.env, TZ: zone },
    stdio: ['ignore', 'pipe', 'ignore'],
  })

describe.skipIf(!tools)('the journal, as journalctl prints it (needs systemd-journal-remote)', () => {
  const formats: Record<string, Record<string, string>> = {
    compact: { SYSTEMD_JOURNAL_COMPACT: '1' },
    regular: { SYSTEMD_JOURNAL_COMPACT: '0' },
    'no keyed hash': { SYSTEMD_JOURNAL_KEYED_HASH: '0' },
  }
  for (const [name, environment] of Object.entries(formats))
    it(`is ${name}`, async () => {
      const path = journal(name.replaceAll(' ', '-'), environment)
      const ours = await short({ '/var/log/journal/m/system.journal': readFileSync(path) })
      expect(ours).toBe(journalctl(path))
      expect(ours).toContain('[4B blob data]')
    })

  it('is in the time zone of the guest', async () => {
    const path = journal('zone', {})
    const files = { '/var/log/journal/m/system.journal': readFileSync(path) }
    for (const zone of ['Europe/Berlin', 'Asia/Kathmandu', 'America/St_Johns'])
      expect(await short(files, undefined, zone)).toBe(journalctl(path, zone))
    const guest = await memoryGuest({ '/etc/x': '' })
    await guest.symlink('../usr/share/zoneinfo/Europe/Berlin', '/etc/localtime')
    expect(await guestZone(guest)).toBe('Europe/Berlin')
  })

  it('is compressed with LZ4, as systemd before 246 did', async () => {
    const path = journal('lz4', { SYSTEMD_JOURNAL_COMPACT: '0' })
    // Literals, then a match that overlaps itself, then literals; the size of the content comes first.
    const literals = Buffer.from('MESSAGE=was LZ4 ab')
    const block = Buffer.from([
      0xff,
      literals.length - 15,
      ...literals,
      2,
      0,
      100,
      0xf0,
      0,
      ...Buffer.from('fifteen bytes !'),
    ])
    const size = Buffer.alloc(8)
    size.writeBigUInt64LE(BigInt(literals.length + 15 + 100 + 4 + 15))
    replaceCompressed(path, 2, Buffer.concat([size, block]))
    const ours = await short({ '/var/log/journal/m/system.journal': readFileSync(path) })
    expect(ours).toContain(`was LZ4 ab${'ab'.repeat(59)}afifteen bytes !`)
    expect(ours).toBe(journalctl(path))
  })

  it('is compressed with xz, as systemd before 246 did where it had no LZ4', async () => {
    const path = journal('xz', { SYSTEMD_JOURNAL_COMPACT: '0' })
    const content = `MESSAGE=was xz ${Array.from({ length: 400 }, (_, i) => i % 97).join(' ')}`
    // compress_blob_xz has no checksum made.
    const payload = execFileSync('xz', ['--check=none', '-c'], { input: content })
    replaceCompressed(path, 1, payload)
    const ours = await short({ '/var/log/journal/m/system.journal': readFileSync(path) })
    expect(ours).toContain(content.slice(8))
    expect(ours).toBe(journalctl(path))
  })

  it('has a field that xz unpacks to more than is shown', async () => {
    const path = journal('xz-large', { SYSTEMD_JOURNAL_COMPACT: '0' })
    replaceCompressed(path, 1, execFileSync('xz', ['-c'], { input: new Uint8Array(5 << 20).fill(0x61) }))
    const ours = await short({ '/var/log/journal/m/system.journal': readFileSync(path) })
    expect(ours).toContain('[message compressed with xz]')
    expect(ours).toContain('plain')
  })

  it('is merged from several files, and cut to the last entries', async () => {
    const many = Array.from({ length: 300 }, (_, i) => ({ ...from, MESSAGE: `number ${i}` }))
    const first = journal('first', {}, many)
    const second = journal('second', {}, ENTRIES)
    const files = {
      '/var/log/journal/m/system@1.journal': readFileSync(first),
      '/var/log/journal/m/system.journal': readFileSync(second),
    }
    const all = (await short(files)).split('\n').filter(line => !line.startsWith('-- Boot'))
    expect(all.filter(line => line.includes('number'))).toHaveLength(300)
    expect(all.findIndex(line => line.includes('number 0'))).toBeLessThan(3)
    const times = all
      .filter(line => line.includes('number'))
      .map(line => Number(/number (\d+)/.exec(line)?.[1]))
    expect(times).toEqual([...times].sort((a, b) => a - b))
    const one = { '/var/log/journal/m/system.journal': readFileSync(first) }
    expect(await short(one, 5)).toBe(journalctl(first, 'UTC', '-n', '5'))
  })

  it('ends in bounded time and with a typed error, whatever the bytes are', async () => {
    const good = readFileSync(journal('hostile', {}))
    const used = good.length
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(Math.min(used, 20_000) - 1), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 8,
        }),
        fc.option(fc.nat(used)),
        async (flips, cut) => {
          const bytes = Buffer.from(good)
          for (const [at, value] of flips) bytes[at] = value
          const guest = await memoryGuest({ '/j.journal': cut === null ? bytes : bytes.subarray(0, cut) })
          const clock = clockOf(undefined)
          try {
            for await (const entry of readJournal(guest, [new TextEncoder().encode('/j.journal')]))
              shortLine(entry, clock)
          } catch (error) {
            if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED')) throw error
          }
        },
      ),
      propertySettings(150),
    )
  })
})

describe('the log of a guest', () => {
  it('is the journal, else syslog, else messages, or what is named', async () => {
    const signature = new Uint8Array([0x4c, 0x50, 0x4b, 0x53, 0x48, 0x48, 0x52, 0x48])
    const all = {
      '/var/log/journal/m/system.journal': signature,
      '/var/log/syslog': 's\n',
      '/var/log/messages': 'm\n',
    }
    expect(await findLog(await memoryGuest(all))).toMatchObject({ kind: 'journal' })
    const { '/var/log/journal/m/system.journal': _, ...texts } = all
    expect(await findLog(await memoryGuest(texts))).toEqual({ kind: 'text', path: '/var/log/syslog' })
    expect(await findLog(await memoryGuest({ '/var/log/messages': '' }))).toEqual({
      kind: 'text',
      path: '/var/log/messages',
    })
    expect(await findLog(await memoryGuest(all), 'apt/term.log')).toEqual({
      kind: 'text',
      path: '/var/log/apt/term.log',
    })
    const broken = await memoryGuest({ ...texts, '/var/log/journal/m/system.journal': 'x' })
    expect(await findLog(broken)).toEqual({ kind: 'text', path: '/var/log/syslog' })
    await expect(findLog(await memoryGuest({}))).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(findLog(await memoryGuest(texts), 'journal')).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('is its last lines, as tail prints them', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('a', 'bc', '\n', '\n\n', 'x'.repeat(50))),
        fc.nat(6),
        async (parts, last) => {
          const text = parts.join('')
          const guest = await memoryGuest({ '/l': text })
          const read = async (byLine: boolean) => {
            const out: string[] = []
            for await (const piece of logText(guest, '/l', last, byLine))
              out.push(new TextDecoder().decode(piece))
            return out
          }
          const lines = text.split(/(?<=\n)/).filter(line => line !== '')
          const expected = last === 0 ? [] : lines.slice(-last)
          expect((await read(false)).join('')).toBe(expected.join(''))
          expect(await read(true)).toEqual(expected.map(line => line.replace(/\n$/, '')))
        },
      ),
      propertySettings(100),
    )
  })
})

it('text that logrotate packed is unpacked', async () => {
  const text = Array.from({ length: 3000 }, (_, i) => `line ${i}`).join('\n')
  const guest = await memoryGuest({
    '/a.gz': new Uint8Array(gzipSync(text)),
    '/b.bz2': Uint8Array.of(0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59),
  })
  const read = async (path: string, last: number, byLine: boolean) => {
    const pieces: Uint8Array[] = []
    for await (const piece of logText(guest, path, last, byLine)) pieces.push(piece)
    return byLine ? pieces.map(String) : Buffer.concat(pieces).toString()
  }
  expect(await read('/a.gz', Number.POSITIVE_INFINITY, false)).toBe(text)
  expect(await read('/a.gz', 2, false)).toBe('line 2998\nline 2999\n')
  expect(await read('/a.gz', 0, false)).toBe('')
  expect(await read('/a.gz', 9999, false)).toBe(`${text}\n`)
  expect(await read('/a.gz', 1, true)).toEqual([String(new TextEncoder().encode('line 2999'))])
  await expect(read('/b.bz2', 2, false)).rejects.toThrow(/packed by bzip2/)
})
