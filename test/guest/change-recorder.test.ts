import { expect, test } from 'vitest'
import { byteKey } from '../../src/bytes/names.ts'
import { describeChange, maskHashes, unifiedDiff } from '../../src/guest/change-diff.ts'
import { ChangeRecorder } from '../../src/guest/change-recorder.ts'
import type { GuestChange } from '../../src/guest/guest-changes.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { guestFsContract } from '../support/guest-fs-contract.ts'

guestFsContract('recorder over memory', async () => new ChangeRecorder(await memoryGuest()), {
  xattrs: true,
  devices: true,
  owners: true,
})

const brief = (changes: GuestChange[]) =>
  changes.map(({ kind, path, from, aspects }) =>
    [kind, ...(from ? [byteKey(from)] : []), byteKey(path), ...aspects].join(' '),
  )

test('reading and a rewrite with the same content are no changes', async () => {
  const recorder = new ChangeRecorder(await memoryGuest({ '/etc/a': 'one\n' }))
  await recorder.readText('/etc/a')
  await recorder.writeFile('/etc/b', 'x')
  await recorder.rm('/etc/b')
  expect(brief(await recorder.changes())).toEqual([])
})

test('every kind of change is listed once, under its real path', async () => {
  const guest = await memoryGuest({
    '/etc/a': 'one\n',
    '/etc/b': 'two\n',
    '/etc/c': 'three\n',
    '/srv/tree/x/y': 'deep',
    '/srv/old': 'moved',
    '/usr/lib/real': 'real\n',
  })
  await guest.symlink('/usr/lib/real', '/etc/link')
  const recorder = new ChangeRecorder(guest)
  await recorder.writeFile('/etc/a', 'one\nmore\n')
  await recorder.appendFile('/etc/../etc/a', 'again\n')
  await recorder.chmod('/etc/b', 0o600)
  await recorder.chown('/etc/b', 1, 2)
  await recorder.setxattr('/etc/c', 'user.x', new Uint8Array([1]))
  await recorder.writeFile('/etc/link', 'changed\n')
  await recorder.rm('/srv/tree', { recursive: true })
  await recorder.rename('/srv/old', '/srv/new')
  await recorder.mkdir('/opt/one/two', { recursive: true })
  await recorder.symlink('a', '/etc/soft')
  await recorder.mknod('/fifo', 'fifo', { major: 0, minor: 0 })
  expect(brief(await recorder.changes())).toEqual([
    'changed /etc/a content',
    'changed /etc/b mode owner',
    'changed /etc/c xattrs',
    'created /etc/soft',
    'created /fifo',
    'created /opt',
    'created /opt/one',
    'created /opt/one/two',
    'renamed /srv/old /srv/new',
    'removed /srv/tree',
    'removed /srv/tree/x',
    'removed /srv/tree/x/y',
    'changed /usr/lib/real content',
  ])
  const lines = (await recorder.changes()).map(describeChange)
  expect(lines).toContain('changed file /etc/b: mode 0644 → 0600, owner 0:0 → 1:2')
  expect(lines).toContain('created symlink /etc/soft -> a (mode 0777, owner 0:0)')
  expect(lines).toContain('renamed file /srv/old → /srv/new')
})

test('a write through a symlink to nothing is recorded where the file is made', async () => {
  const guest = await memoryGuest({ '/run/keep': '' })
  await guest.mkdir('/etc')
  await guest.symlink('../run/resolv.conf', '/etc/resolv.conf')
  const recorder = new ChangeRecorder(guest)
  await recorder.writeFile('/etc/resolv.conf', 'nameserver ::1\n')
  expect(brief(await recorder.changes())).toEqual(['created /run/resolv.conf'])
})

test('the diff is unified, and hides what a terminal or an onlooker should not get', async () => {
  const recorder = new ChangeRecorder(
    await memoryGuest({
      '/etc/motd': 'one\ntwo\nthree\n',
      '/etc/shadow': 'root:$6$salt$oldhash:1::::::\nbin:*:1::::::\nuser:!$6$s$keep:1::::::\n',
    }),
  )
  await recorder.writeFile('/etc/motd', 'one\n\u001b[2Jtwo\\2\tx\nthree\n')
  await recorder.writeFile(
    '/etc/shadow',
    'root:$6$salt$newhash:2::::::\nbin:*:1::::::\nuser:!$6$s$keep:1::::::\n',
  )
  await recorder.writeFile('/root-key', '-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n')
  await recorder.writeFile('/binary', new Uint8Array([0, 1, 2]))
  const diffs = new Map<string, string | undefined>()
  for (const change of await recorder.changes()) diffs.set(byteKey(change.path), await unifiedDiff(change))
  expect(diffs.get('/etc/motd')).toBe(
    '--- a/etc/motd\n+++ b/etc/motd\n@@ -1,3 +1,3 @@\n one\n-two\n+\\x1b[2Jtwo\\2\tx\n three\n',
  )
  const shadow = diffs.get('/etc/shadow') ?? ''
  expect(shadow).toContain('-root:(hidden):1::::::\n')
  expect(shadow).toContain('+root:(hidden, new):2::::::\n')
  expect(shadow).not.toMatch(/hash|keep/)
  expect(diffs.get('/root-key')).toBeUndefined()
  expect(diffs.get('/binary')).toBeUndefined()
})

test('hashes are hidden where /etc/shadow is a symlink too', async () => {
  const guest = await memoryGuest({ '/var/lib/accounts/hidden': 'root:$6$salt$oldhash:1::::::\n' })
  await guest.mkdir('/etc', { recursive: true })
  await guest.symlink('/var/lib/accounts/hidden', '/etc/shadow')
  const recorder = new ChangeRecorder(guest)
  await recorder.writeFile('/etc/shadow', 'root:$y$j9T$salt$newhash:2::::::\n')
  const [change] = await recorder.changes()
  const diff = change && (await unifiedDiff(change))
  expect(diff).toContain('+root:(hidden, new):2::::::\n')
  expect(diff).not.toMatch(/oldhash|newhash/)
})

test('masking keeps what is no secret', () => {
  const text = 'a::1\nb:*:1\nc:!:1\nd:!!:1\ne:x:1\nf:!$1$abc:1\n'
  expect(maskHashes(text, text).after).toBe('a::1\nb:*:1\nc:!:1\nd:!!:1\ne:x:1\nf:!(hidden):1\n')
})
