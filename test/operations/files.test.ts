import { describe, expect, it } from 'vitest'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { chmod, chown, touch } from '../../src/operations/file-attributes.ts'
import {
  appendLine,
  edit,
  truncate,
  truncateRecursive,
  upload,
  write,
} from '../../src/operations/file-content.ts'
import { glob, matchesGlob } from '../../src/operations/glob.ts'
import { displayPath } from '../../src/operations/guest-files.ts'
import { type ByteSource, bytesSource, type SourceNode } from '../../src/operations/source-tree.ts'
import { copy, copyIn, link, mkdir, move, remove } from '../../src/operations/tree.ts'
import { memoryGuest, runTwice, text, watched } from './support/operations.ts'

const bytes = (value: string) => new TextEncoder().encode(value)

describe('file operations', () => {
  it('write, append-line, edit', async () => {
    const guest = await memoryGuest({ '/etc/motd': 'hi', '/etc/keep': 'a\r\nb\r\n' })
    await guest.chmod('/etc/motd', 0o600)
    const { ino } = await guest.stat('/etc/motd')
    await runTwice(guest, appendLine, { path: '/etc/motd', line: 'there' })
    expect(await text(guest, '/etc/motd')).toBe('hi\nthere\n')
    await runTwice(guest, appendLine, { path: '/etc/keep', line: 'c' })
    expect(await text(guest, '/etc/keep')).toBe('a\r\nb\r\nc\r\n')
    const report = await runTwice(guest, edit, { path: '/etc/motd', expression: 's/^hi$/ho/' })
    expect(report.changes).toEqual([
      { setting: 'line 1', before: 'hi', after: 'ho', file: '/etc/motd', line: 1 },
    ])
    await runTwice(guest, write, { path: '/etc/motd', content: 'new' })
    await runTwice(guest, write, { path: '/etc/fresh', content: bytes('x') })
    expect(await guest.stat('/etc/motd')).toMatchObject({ ino })
    expect((await guest.stat('/etc/motd')).mode & 0o7777).toBe(0o600)
    await expect(edit.run(guest, { path: '/none', expression: 's/a/b/' })).rejects.toMatchObject({
      code: 'ENOENT',
    })
  })

  it('edits a file that is not UTF-8 without touching its other bytes', async () => {
    const guest = await memoryGuest({ '/f': Uint8Array.of(0xe4, 0x61, 0xff, 0x0a) })
    await runTwice(guest, edit, { path: '/f', expression: 's/a/b/' })
    expect([...(await guest.readFile('/f'))]).toEqual([0xe4, 0x62, 0xff, 0x0a])
  })

  it('does not show secrets', async () => {
    const guest = await memoryGuest({ '/etc/shadow': 'root:$6$secret:1\n' })
    const report = await edit.run(guest, { path: '/etc/shadow', expression: 's/secret/hidden/' })
    expect(JSON.stringify(report)).not.toMatch(/secret/)
  })

  it('chmod, chown, touch, truncate', async () => {
    const guest = await memoryGuest({
      '/etc/passwd': 'u:x:7:8::/:\n',
      '/etc/group': 'g:x:9:\n',
      '/d/a': 'x',
      '/d/e/b': 'y',
    })
    await guest.symlink('../etc/passwd', '/d/link')
    const mode = await runTwice(guest, chmod, { path: '/d/a', mode: 0o4755 })
    expect(mode.changes[0]).toMatchObject({ before: '0644', after: '4755' })
    await runTwice(guest, chown, { path: '/d/a', owner: 'u:g' })
    expect(await guest.stat('/d/a')).toMatchObject({ uid: 7, gid: 9 })
    await runTwice(guest, chown, { path: '/d/a', owner: 'u:' })
    expect(await guest.stat('/d/a')).toMatchObject({ uid: 7, gid: 8 })
    await runTwice(guest, chown, { path: '/d/a', owner: ':0' })
    await expect(chown.run(guest, { path: '/d/a', owner: 'who' })).rejects.toThrow(/no user "who"/)
    await expect(chown.run(guest, { path: '/d/a', owner: '4294967295:0' })).rejects.toThrow(/below/)
    await runTwice(guest, touch, { path: '/new' })
    await runTwice(guest, truncate, { path: '/d/a' })
    await runTwice(guest, truncateRecursive, { path: '/d' })
    expect((await guest.stat('/d/e/b')).size).toBe(0)
    expect((await guest.stat('/etc/passwd')).size).toBeGreaterThan(0)
  })

  it('uploads piece by piece, in place, and only what differs', async () => {
    const chunk = new Uint8Array(1000).fill(1)
    const source: ByteSource = {
      name: '/host/file.bin',
      async *chunks() {
        for (let i = 0; i < 5; i++) yield chunk
      },
    }
    const guest = await memoryGuest({ '/f': new Uint8Array(7000).fill(1), '/dir/x': '' })
    const { ino } = await guest.stat('/f')
    const watch = watched(guest)
    await upload.run(watch.guest, { source, path: '/f' })
    expect(watch.writes).toEqual(['truncate 47,102'])
    expect(await guest.stat('/f')).toMatchObject({ ino, size: 5000 })
    await runTwice(guest, upload, { source, path: '/dir', mode: 0o755 })
    expect((await guest.stat('/dir/file.bin')).mode & 0o7777).toBe(0o755)
    await runTwice(guest, upload, { source: bytesSource('e', new Uint8Array(0)), path: '/empty' })
  })
})

describe('tree operations', () => {
  it('mkdir, move, copy, link, delete', async () => {
    const guest = await memoryGuest({ '/a/one': '1', '/a/b/two': '2', '/c/x': '' })
    await guest.chown('/a/b/two', 5, 6)
    await guest.chmod('/a/b/two', 0o600)
    await guest.symlink('/nowhere', '/a/b/link')
    await guest.mknod('/a/b/null', 'character-device', { major: 1, minor: 3 })
    await runTwice(guest, mkdir, { path: '/x/y/z' })
    const copied = await runTwice(guest, copy, { from: '/a', to: '/c' })
    expect(copied.changes[0]?.after).toBe('6 created, 0 changed')
    expect(await guest.stat('/c/a/b/two')).toMatchObject({ uid: 5, gid: 6 })
    expect(displayPath(await guest.readlink('/c/a/b/link'))).toBe('/nowhere')
    expect((await guest.lstat('/c/a/b/null')).rdev).toEqual({ major: 1, minor: 3 })
    await expect(copy.run(guest, { from: '/a', to: '/a/b' })).rejects.toMatchObject({ code: 'EINVAL' })
    await runTwice(guest, move, { from: '/c/a', to: '/moved' })
    await runTwice(guest, move, { from: '/moved/one', to: '/x' })
    expect(await text(guest, '/x/one')).toBe('1')
    await expect(move.run(guest, { from: '/gone', to: '/also-gone' })).rejects.toMatchObject({
      code: 'ENOENT',
    })
    await runTwice(guest, link, { target: '../a/one', links: ['/c/l1', '/c/l2'] })
    await runTwice(guest, link, { target: '/a', links: ['/c/l1'] })
    expect(displayPath(await guest.readlink('/c/l1'))).toBe('/a')
    await runTwice(guest, remove, { pattern: '/c/l*' })
    await runTwice(guest, remove, { pattern: '/moved' })
    await runTwice(guest, remove, { pattern: '/none/*' })
    expect(await guest.exists('/a/one')).toBe(true)
    for (const pattern of ['/', '/a/..', '/.'])
      await expect(remove.run(guest, { pattern }), pattern).rejects.toThrow(/refusing/)
  })

  const node = (name: string, content: SourceNode['content'], mode = 0o644): SourceNode => ({
    name: bytes(name),
    mode,
    content,
  })
  const folder = (name: string, children: SourceNode[]): SourceNode =>
    node(
      name,
      {
        type: 'directory',
        async *children() {
          yield* children
        },
      },
      0o755,
    )
  const file = (name: string, content: string): SourceNode =>
    node(name, { type: 'file', source: bytesSource(name, bytes(content)) })

  it('copies in, merging folders and replacing symlinks', async () => {
    const guest = await memoryGuest({ '/etc/app/old': 'old', '/etc/passwd': 'keep' })
    await guest.symlink('/etc/passwd', '/etc/app/conf')
    await guest.chmod('/etc/app', 0o700)
    const source = folder('app', [
      file('conf', 'new'),
      folder('sub', [file('deep', 'd')]),
      node('l', { type: 'symlink', target: bytes('conf') }),
    ])
    await runTwice(guest, copyIn, { source, folder: '/etc' })
    expect(await text(guest, '/etc/app/conf')).toBe('new')
    expect(await text(guest, '/etc/passwd')).toBe('keep')
    expect((await guest.stat('/etc/app')).mode & 0o7777).toBe(0o700)
    expect(await text(guest, '/etc/app/old')).toBe('old')
    await expect(copyIn.run(guest, { source, folder: '/etc/passwd' })).rejects.toMatchObject({
      code: 'ENOTDIR',
    })
    await expect(copyIn.run(guest, { source: file('app', 'x'), folder: '/etc' })).rejects.toMatchObject({
      code: 'EEXIST',
    })
  })

  it('lets no name lead out of the folder', async () => {
    const guest = await memoryGuest({ '/etc/x': '' })
    for (const name of ['..', '.', 'a/b', '/etc/shadow', ''])
      await expect(
        copyIn.run(guest, { source: folder('d', [file(name, 'x')]), folder: '/etc' }),
        name,
      ).rejects.toMatchObject({
        code: 'ERR_NOT_ALLOWED',
      })
  })

  it('bounds a tree that has no end', async () => {
    const endless: SourceNode = node(
      'e',
      {
        type: 'directory',
        async *children() {
          yield endless
        },
      },
      0o755,
    )
    await expect(copyIn.run(await memoryGuest(), { source: endless, folder: '/' })).rejects.toMatchObject({
      code: 'ELOOP',
    })
  })
})

describe('glob', () => {
  const cases: [string, string, boolean][] = [
    ['*', 'a', true],
    ['*', '.a', false],
    ['.*', '.a', true],
    ['a*c', 'abc', true],
    ['a*c', 'abcd', false],
    ['a?c', 'abc', true],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[]]', ']', true],
    ['[a-]', '-', true],
    ['[', '[', true],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['*a*b*c*', 'xaxbxcx', true],
    ['', '', true],
  ]
  for (const [pattern, name, expected] of cases)
    it(`${pattern} ${expected ? 'matches' : 'does not match'} ${name}`, () => {
      expect(matchesGlob(bytes(pattern), bytes(name))).toBe(expected)
    })

  it('is bounded', () => {
    expect(matchesGlob(bytes(`${'*a'.repeat(60)}b`), bytes('a'.repeat(250)))).toBe(false)
  })

  it('finds names of bytes', async () => {
    const guest: GuestFs = await memoryGuest({ '/d/a.log': '', '/d/b.txt': '', '/e/c.log': '' })
    await guest.writeFile(Uint8Array.of(0x2f, 0x64, 0x2f, 0xff, 0x2e, 0x6c, 0x6f, 0x67), 'x')
    expect((await glob(guest, '/*/*.log')).map(displayPath)).toEqual(['/d/a.log', '/d/\\xff.log', '/e/c.log'])
    await runTwice(guest, remove, { pattern: '/d/*.log' })
    expect((await glob(guest, '/d/*')).map(displayPath)).toEqual(['/d/b.txt'])
  })
})
