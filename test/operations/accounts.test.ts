import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import { verifyPassword } from '../../src/config/crypt.ts'
import { checkCryptMethod } from '../../src/operations/accounts/crypt-methods.ts'
import { cloudInit } from '../../src/operations/cloud-init.ts'
import {
  type PasswordSelector,
  parsePasswordSelector,
  password,
  rootPassword,
} from '../../src/operations/password.ts'
import { sshInject } from '../../src/operations/ssh-inject.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

const shadowOf = async (guest: Awaited<ReturnType<typeof memoryGuest>>, user: string) =>
  (await text(guest, '/etc/shadow'))
    .split('\n')
    .find(line => line.startsWith(`${user}:`))
    ?.split(':') ?? []

describe('password', () => {
  it('sets a hash, in place, and knows it again', async () => {
    const guest = await memoryGuest(phony.debian)
    await guest.chmod('/etc/shadow', 0o640)
    await guest.chown('/etc/shadow', 0, 42)
    const before = await guest.stat('/etc/shadow')
    const report = await runTwice(guest, rootPassword, { selector: { kind: 'password', password: 'secret' } })
    const [, field = '', changed] = await shadowOf(guest, 'root')
    expect(field).toMatch(/^\$6\$[./0-9A-Za-z]{16}\$/)
    expect(await verifyPassword('secret', field)).toBe(true)
    expect(changed).toBe(String(Math.floor(Date.now() / 86_400_000)))
    expect(await shadowOf(guest, 'debian')).toEqual(['debian', '!', '19000', '0', '99999', '7', '', '', ''])
    expect(report.changes).toEqual([
      {
        setting: 'password of root',
        before: 'disabled',
        after: '$6$ (hidden)',
        file: '/etc/shadow',
        line: 1,
      },
    ])
    expect(JSON.stringify(report)).not.toContain('secret')
    expect(JSON.stringify(report)).not.toContain(field)
    const after = await guest.stat('/etc/shadow')
    expect([after.ino, after.mode, after.uid, after.gid]).toEqual([before.ino, before.mode, 0, 42])
  })

  const cases: [PasswordSelector, string, string | RegExp][] = [
    [{ kind: 'disabled' }, '$6$x$y', '*'],
    [{ kind: 'disabled', locked: true }, '$6$x$y', '!*'],
    [{ kind: 'locked' }, '$6$x$y', '!$6$x$y'],
    [{ kind: 'locked' }, '!!', '!!'],
    [{ kind: 'unlocked' }, '!$6$x$y', '$6$x$y'],
    [{ kind: 'unlocked' }, '!!$6$x$y', '$6$x$y'],
    [{ kind: 'deleted' }, '$6$x$y', ''],
    [{ kind: 'hash', hash: '$y$j9T$a$b' }, '*', '$y$j9T$a$b'],
    [{ kind: 'password', password: 'p', locked: true }, '*', /^!\$6\$/],
  ]
  for (const [selector, before, after] of cases)
    it(`${JSON.stringify(selector)} turns ${before} into ${after}`, async () => {
      const guest = await memoryGuest({
        ...phony.debian,
        '/etc/shadow': `root:${before}:19000:0:99999:7:::\n`,
      })
      await runTwice(guest, password, { user: 'root', selector })
      const [, field] = await shadowOf(guest, 'root')
      if (typeof after === 'string') expect(field).toBe(after)
      else expect(field).toMatch(after)
    })

  it('shows a random password, and it is the one that is set', async () => {
    const guest = await memoryGuest(phony.debian)
    const report = await rootPassword.run(guest, { selector: { kind: 'random' } })
    const shown = report.changes[0]?.after ?? ''
    expect(await verifyPassword(shown, (await shadowOf(guest, 'root'))[1] ?? '')).toBe(true)
  })

  it('makes a missing shadow line, and moves a hash out of passwd', async () => {
    const guest = await memoryGuest({
      '/etc/passwd': 'root::0:0:root:/root:/bin/sh\nu:x:5:5::/:/bin/sh\n',
      '/etc/shadow': 'root:*:1::::::\n',
    })
    await runTwice(guest, password, { user: 'u', selector: { kind: 'password', password: 'p' } })
    await runTwice(guest, password, { user: 'root', selector: { kind: 'password', password: 'p' } })
    expect(await verifyPassword('p', (await shadowOf(guest, 'u'))[1] ?? '')).toBe(true)
    expect(await text(guest, '/etc/passwd')).toContain('root:x:0:0')
    const bare = await memoryGuest({ '/etc/passwd': 'root:*:0:0:root:/root:/bin/sh\n' })
    await runTwice(bare, rootPassword, { selector: { kind: 'password', password: 'p' } })
    expect(await text(bare, '/etc/passwd')).toMatch(/^root:\$6\$/)
  })

  it('takes md5crypt for CirrOS', async () => {
    const guest = await memoryGuest(phony.cirros)
    await runTwice(guest, password, { user: 'cirros', selector: { kind: 'password', password: 'gocubsgo' } })
    expect((await shadowOf(guest, 'cirros'))[1]).toMatch(/^\$1\$/)
  })

  it('warns of what a password does not open', async () => {
    const guest = await memoryGuest({
      '/etc/passwd': 'a:x:1:1::/:/usr/sbin/nologin\n',
      '/etc/shadow': 'a:*:1::::0:100:\n',
    })
    const { warnings } = await password.run(guest, {
      user: 'a',
      selector: { kind: 'password', password: 'p' },
    })
    expect(warnings).toEqual([expect.stringContaining('nologin'), expect.stringContaining('expired')])
  })

  it('hashes as asked, where the guest can read it', async () => {
    const selector = { kind: 'password', password: 'p' } as const
    const guest = await memoryGuest({
      ...phony.debian,
      '/usr/lib/x86_64-linux-gnu/libcrypt.so.1': 'x$6$\0$y$\0',
    })
    await runTwice(guest, rootPassword, { selector, method: 'sha512' })
    await runTwice(guest, rootPassword, { selector, method: 'yescrypt' })
    const [, field = ''] = await shadowOf(guest, 'root')
    expect(field).toMatch(/^\$y\$j9T\$/)
    expect(await verifyPassword('p', field)).toBe(true)
    for (const family of [phony.debian, phony.ubuntu, phony.el9, phony.el10])
      await checkCryptMethod(await memoryGuest(family), 'yescrypt')
    for (const family of [phony.el6, phony.el7, phony.el8, phony.alpine, phony.cirros])
      await expect(
        rootPassword.run(await memoryGuest(family), { selector, method: 'yescrypt' }),
      ).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
      })
    const old = { ...phony.el9, '/usr/lib64/libcrypt.so.2': 'x$6$\0' }
    await expect(rootPassword.run(await memoryGuest(old), { selector, method: 'yescrypt' })).rejects.toThrow(
      /libcrypt\.so\.2 does not know it/,
    )
    await expect(
      rootPassword.run(await memoryGuest(phony.el7), { selector: { kind: 'hash', hash: '$y$j9T$a$b' } }),
    ).rejects.toThrow(/yescrypt/)
    await expect(
      rootPassword.run(await memoryGuest(phony.cirros), { selector, method: 'sha512' }),
    ).rejects.toThrow(/use md5/)
  })

  it('warns that cloud-init locks the password of its default user', async () => {
    const args = { user: 'debian', selector: { kind: 'password', password: 'p' } } as const
    const guest = await memoryGuest(phony.debian)
    const { warnings } = await password.run(guest, args)
    expect(warnings).toEqual([expect.stringMatching(/lock_passwd in \/etc\/cloud\/cloud\.cfg:\d+/)])
    await cloudInit.run(guest, { setting: 'system_info.default_user.lock_passwd=false' })
    expect((await password.run(guest, args)).warnings).toEqual([])
  })

  it('names the user that is not there, and refuses to open an account without a password', async () => {
    const guest = await memoryGuest(phony.debian)
    await expect(password.run(guest, { user: 'nemo', selector: { kind: 'random' } })).rejects.toThrow(
      /no user "nemo"/,
    )
    await expect(password.run(guest, { user: 'debian', selector: { kind: 'unlocked' } })).rejects.toThrow(
      /without one/,
    )
  })

  it('reads selectors', () => {
    expect(parsePasswordSelector('password:a:b')).toEqual({ kind: 'password', password: 'a:b' })
    expect(parsePasswordSelector('locked:password:x')).toEqual({
      kind: 'password',
      password: 'x',
      locked: true,
    })
    expect(parsePasswordSelector('locked:disabled')).toEqual({ kind: 'disabled', locked: true })
    expect(parsePasswordSelector('locked')).toEqual({ kind: 'locked' })
    for (const wrong of ['', 'x', 'password', 'random:x', 'locked:locked', 'file'])
      expect(() => parsePasswordSelector(wrong), wrong).toThrow()
  })
})

describe('ssh-inject', () => {
  const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5vdEFSZWFsS2V5Tm90QVJlYWxLZXlOb3RBUmVhbEtl me@here'
  it('makes ~/.ssh as sshd wants it', async () => {
    const guest = await memoryGuest(phony.debian)
    await guest.chown('/home/debian', 1000, 1000)
    const report = await runTwice(guest, sshInject, { user: 'debian', keys: `# mine\n${key}\n` })
    const folder = await guest.stat('/home/debian/.ssh')
    const file = await guest.stat('/home/debian/.ssh/authorized_keys')
    expect([folder.mode & 0o7777, folder.uid, folder.gid]).toEqual([0o700, 1000, 1000])
    expect([file.mode & 0o7777, file.uid, file.gid]).toEqual([0o600, 1000, 1000])
    expect(await text(guest, '/home/debian/.ssh/authorized_keys')).toBe(`${key}\n`)
    expect(report.warnings).toEqual([])
    expect(report.changes[0]).toMatchObject({ file: '/home/debian/.ssh/authorized_keys', line: 1 })
  })
  it('adds to what is there, and warns of modes that sshd refuses', async () => {
    const guest = await memoryGuest({ ...phony.debian, '/root/.ssh/authorized_keys': 'ssh-rsa old' })
    await guest.chmod('/root/.ssh', 0o777)
    const report = await runTwice(guest, sshInject, { user: 'root', keys: key })
    expect(await text(guest, '/root/.ssh/authorized_keys')).toBe(`ssh-rsa old\n${key}\n`)
    expect(report.warnings).toEqual([expect.stringContaining('StrictModes')])
  })
  it('writes where AuthorizedKeysFile says', async () => {
    const main =
      'UsePAM yes\nAuthorizedKeysFile /etc/ssh/keys/%u\nMatch User debian\n AuthorizedKeysFile %h/.keys/a b\n'
    const guest = await memoryGuest({ ...phony.debian, '/etc/ssh/sshd_config': main })
    await guest.chown('/home/debian', 1000, 1000)
    const report = await runTwice(guest, sshInject, { user: 'root', keys: key })
    expect(await text(guest, '/etc/ssh/keys/root')).toBe(`${key}\n`)
    expect((await guest.stat('/etc/ssh/keys/root')).mode & 0o7777).toBe(0o644)
    expect(report.changes[0]?.note).toBe('AuthorizedKeysFile in /etc/ssh/sshd_config:2')
    await runTwice(guest, sshInject, { user: 'debian', keys: key })
    const file = await guest.stat('/home/debian/.keys/a')
    expect([file.mode & 0o7777, file.uid, file.gid]).toEqual([0o600, 1000, 1000])
    const none = await memoryGuest({ ...phony.debian, '/etc/ssh/sshd_config': 'AuthorizedKeysFile none\n' })
    await expect(sshInject.run(none, { user: 'root', keys: key })).rejects.toMatchObject({
      code: 'ERR_NOT_EFFECTIVE',
      context: { path: '/etc/ssh/sshd_config', line: 1 },
    })
  })
  it('finds a key in the second file, and says what refuses it', async () => {
    const guest = await memoryGuest({
      ...phony.debian,
      '/etc/ssh/sshd_config': 'PubkeyAuthentication no\n',
      '/etc/shadow': 'root:!:1:::::100:\n',
      '/root/.ssh/authorized_keys2': `${key}\n`,
    })
    const report = await runTwice(guest, sshInject, { user: 'root', keys: key })
    expect(report.changes).toEqual([])
    expect(report.warnings).toEqual([
      expect.stringContaining('PubkeyAuthentication no'),
      expect.stringContaining('does not use PAM'),
      expect.stringContaining('expired'),
    ])
  })
})
