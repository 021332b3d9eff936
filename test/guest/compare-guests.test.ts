import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { printable, toBytes } from '../../src/bytes/names.ts'
import { type CompareGuestsOptions, compareGuests } from '../../src/guest/compare-guests.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { propertySettings } from '../support/native.ts'

async function changesOf(
  before: GuestFs,
  after: GuestFs,
  options: CompareGuestsOptions = {},
): Promise<string[]> {
  const out: string[] = []
  for await (const { kind, path, aspects } of compareGuests(before, after, options))
    out.push(`${kind} ${printable(path)}${aspects.length > 0 ? ` (${aspects.join(',')})` : ''}`)
  return out
}

/** Everything below a path as text, one entry a path. */
async function flatten(
  guest: GuestFs,
  path = '',
  out = new Map<string, string>(),
): Promise<Map<string, string>> {
  const stats = await guest.lstat(path || '/')
  const content = stats.isFile()
    ? Buffer.from(await guest.readFile(path)).toString('hex')
    : stats.isSymbolicLink()
      ? printable(await guest.readlink(path))
      : ''
  const xattrs: string[] = []
  for (const name of (await guest.listxattr(path || '/')).sort())
    xattrs.push(`${name}=${Buffer.from((await guest.getxattr(path || '/', name)) ?? []).toString('hex')}`)
  const { mode, uid, gid, type, rdev } = stats
  const device = type.endsWith('device') ? `${rdev.major}:${rdev.minor}` : ''
  out.set(path || '/', JSON.stringify([type, mode, uid, gid, content, xattrs, device]))
  if (stats.isDirectory())
    for (const { name } of await guest.readdir(path || '/'))
      await flatten(guest, `${path}/${printable(name)}`, out)
  return out
}

const place = fc.constantFrom('/a', '/b', '/d/a', '/d/b', '/d/e/c')
const edit = fc.oneof(
  fc.record({ what: fc.constant('write'), path: place, text: fc.constantFrom('', 'x', 'y', 'text') }),
  fc.record({
    what: fc.constantFrom('mkdir', 'remove', 'symlink', 'fifo', 'chmod', 'chown', 'xattr'),
    path: place,
    text: fc.constantFrom('1', '2'),
  }),
)

async function make(edits: readonly { what: string; path: string; text: string }[]): Promise<GuestFs> {
  const guest = await memoryGuest()
  await guest.mkdir('/d/e', { recursive: true })
  for (const { what, path, text } of edits)
    try {
      if (what === 'write') await guest.writeFile(path, text)
      else if (what === 'mkdir') await guest.mkdir(path)
      else if (what === 'remove') await guest.rm(path, { recursive: true, force: true })
      else if (what === 'symlink') await guest.symlink(text, path)
      else if (what === 'fifo') await guest.mknod(path, 'character-device', { major: Number(text), minor: 0 })
      else if (what === 'chmod') await guest.chmod(path, 0o600 + Number(text))
      else if (what === 'chown') await guest.lchown(path, Number(text), 0)
      else await guest.setxattr(path, 'user.x', toBytes(text))
    } catch {
      // Not every edit is possible where it is tried.
    }
  return guest
}

describe('compareGuests', () => {
  test('tells of exactly the paths that differ', async () => {
    const edits = fc.array(edit, { maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(edits, edits, async (one, other) => {
        const [before, after] = [await make(one), await make(other)]
        const [flatBefore, flatAfter] = [await flatten(before), await flatten(after)]
        const expected: string[] = []
        for (const path of new Set([...flatBefore.keys(), ...flatAfter.keys()])) {
          const [a, b] = [flatBefore.get(path), flatAfter.get(path)]
          if (a !== b)
            expected.push(`${a === undefined ? 'created' : b === undefined ? 'removed' : 'changed'} ${path}`)
        }
        const found = (await changesOf(before, after)).map(line => line.replace(/ \(.*\)$/, ''))
        expect(found.toSorted()).toEqual(expected.toSorted())
      }),
      propertySettings(150),
    )
  })

  test('names what differs', async () => {
    const before = await memoryGuest({
      '/f': 'one',
      '/same': 'x',
      '/m': 'x',
      '/kind': 'x',
      '/gone/deep': 'x',
    })
    const after = await memoryGuest({
      '/f': 'two',
      '/same': 'x',
      '/m': 'x',
      '/kind/in': 'x',
      '/new/deep': 'x',
    })
    await after.chmod('/m', 0o4755)
    await after.chown('/m', 5, 6)
    await after.chmod('/m', 0o4755)
    await after.setxattr('/m', 'security.selinux', toBytes('label\0'))
    expect(await changesOf(before, after)).toEqual([
      'changed /f (content)',
      'removed /gone',
      'removed /gone/deep',
      'changed /kind (type)',
      'created /kind/in',
      'changed /m (mode,owner,xattrs)',
      'created /new',
      'created /new/deep',
    ])
    expect(await changesOf(before, after, { path: '/gone' })).toEqual(['removed /gone', 'removed /gone/deep'])
    await expect(changesOf(before, after, { path: '/nowhere' })).rejects.toMatchObject({ code: 'ENOENT' })
    const stopped = new AbortController()
    stopped.abort()
    await expect(changesOf(before, after, { signal: stopped.signal })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    })
  })

  test('times only where they are asked for, and long files to their end', async () => {
    const long = new Uint8Array(3_000_000).fill(7)
    const before = await memoryGuest({ '/long': long, '/f': 'x' })
    long[2_999_999] = 8
    const after = await memoryGuest({ '/long': long, '/f': 'x' })
    for (const [guest, time] of [
      [before, 1n],
      [after, 2n],
    ] as const)
      await guest.utimes('/f', time, time)
    expect(await changesOf(before, after)).toEqual(['changed /long (content)'])
    expect(await changesOf(before, after, { times: true })).toContain('changed /f (times)')
  })
})
