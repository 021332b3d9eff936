import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import { sudoersInclude, sudoersLines, userSpecification } from '../../src/config/sudoers.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { sudo } from '../../src/operations/sudo.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

/** As Debian and Red Hat ship it, cut to what counts. */
const DEBIAN = `#
# This file MUST be edited with the 'visudo' command as root.
#
Defaults	env_reset
Defaults	secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# User privilege specification
root	ALL=(ALL:ALL) ALL

# Allow members of group sudo to execute any command
%sudo	ALL=(ALL:ALL) ALL

# See sudoers(5) for more information on "@include" directives:

@includedir /etc/sudoers.d
`
const REDHAT = DEBIAN.replace('%sudo', '%wheel').replace('@includedir', '#includedir')
const CLOUD = '# Created by cloud-init\n\n# User rules for debian\ndebian ALL=(ALL) NOPASSWD:ALL\n'

const guestOf = (files: Record<string, string> = {}) =>
  memoryGuest({
    ...phony.debian,
    '/etc/group': 'root:x:0:\nsudo:x:27:debian\ndebian:x:1000:\nann:x:1001:\n',
    '/etc/passwd': `${phony.debian['/etc/passwd']}ann:x:1001:1001::/home/ann:/bin/bash\n`,
    '/etc/sudoers': DEBIAN,
    ...files,
  })

/** `visudo -c` on copies of the guest's files. */
async function checkSudoers(guest: GuestFs): Promise<void> {
  if (!haveTool('visudo')) return
  const root = temporaryFolder()
  mkdirSync(join(root, 'd'))
  for (const entry of await guest.readdir('/etc/sudoers.d')) {
    const name = new TextDecoder().decode(entry.name)
    writeFileSync(join(root, 'd', name), await text(guest, `/etc/sudoers.d/${name}`))
    await runOk('visudo', ['-c', '-f', join(root, 'd', name)])
  }
  const main = (await text(guest, '/etc/sudoers')).replace('/etc/sudoers.d', join(root, 'd'))
  writeFileSync(join(root, 'sudoers'), main)
  await runOk('visudo', ['-c', '-f', join(root, 'sudoers')])
}

describe('sudo', () => {
  it('makes a file in sudoers.d that sudo takes', async () => {
    for (const main of [DEBIAN, REDHAT]) {
      const guest = await guestOf({ '/etc/sudoers': main })
      const report = await runTwice(guest, sudo, { user: 'debian' })
      expect(await text(guest, '/etc/sudoers.d/90-debian')).toBe(
        '# Made by drydisk.\ndebian ALL=(ALL) NOPASSWD:ALL\n',
      )
      const stats = await guest.stat('/etc/sudoers.d/90-debian')
      expect([stats.mode & 0o7777, stats.uid, stats.gid]).toEqual([0o440, 0, 0])
      expect(report.changes).toEqual([
        {
          setting: 'sudo of debian',
          before: main === DEBIAN ? 'every command, with a password' : null,
          after: 'every command, without a password',
          file: '/etc/sudoers.d/90-debian',
          line: 2,
        },
      ])
      await checkSudoers(guest)
    }
  })

  it('leaves alone what is granted already, by any way', async () => {
    for (const files of [
      { '/etc/sudoers.d/90-cloud-init-users': CLOUD },
      { '/etc/sudoers.d/x': 'User_Alias ADMINS = bob, debian : OTHERS = eve\nADMINS ALL = NOPASSWD: ALL\n' },
      { '/etc/sudoers.d/x': '#1000 ALL=(ALL:ALL) NOPASSWD: ALL\n' },
      { '/etc/sudoers.d/x': '%sudo ALL=(ALL) \\\n  NOPASSWD: ALL # those of sudo\n' },
    ]) {
      const guest = await guestOf(files)
      const report = await sudo.run(guest, { user: 'debian' })
      expect(report.changes, JSON.stringify(files)).toEqual([])
    }
  })

  it('takes the name that comes last among the files, and says what it cannot win against', async () => {
    const later = await guestOf({ '/etc/sudoers.d/95-site': '%sudo ALL=(ALL) ALL\n' })
    await runTwice(later, sudo, { user: 'debian' })
    expect(await later.exists('/etc/sudoers.d/99-zz-debian')).toBe(true)
    await checkSudoers(later)
    const after = await guestOf({ '/etc/sudoers': `${DEBIAN}debian ALL=(ALL) ALL\n` })
    await expect(sudo.run(after, { user: 'debian' })).rejects.toMatchObject({
      code: 'ERR_NOT_EFFECTIVE',
      context: { path: '/etc/sudoers', line: 16 },
    })
    expect(await after.exists('/etc/sudoers.d/90-debian')).toBe(false)
    const without = await guestOf({ '/etc/sudoers': DEBIAN.replace('@includedir', '# includedir') })
    await expect(sudo.run(without, { user: 'ann' })).rejects.toThrow(/does not include/)
  })

  it('asks for a password where it is wanted, and writes names that sudo reads', async () => {
    const guest = await guestOf({ '/etc/sudoers.d/90-cloud-init-users': CLOUD })
    await runTwice(guest, sudo, { user: 'debian', password: true })
    expect(await text(guest, '/etc/sudoers.d/90-debian')).toContain('debian ALL=(ALL) ALL')
    const dotted = await guestOf({
      '/etc/passwd': 'root:x:0:0::/root:/bin/sh\na.b:x:5:5::/:/bin/sh\n',
      '/etc/group': 'a.b:x:5:\nwheel:x:10:\n',
    })
    await runTwice(dotted, sudo, { user: 'a.b' })
    await runTwice(dotted, sudo, { user: '%wheel' })
    expect(await dotted.exists('/etc/sudoers.d/90-a_b')).toBe(true)
    expect(await dotted.exists('/etc/sudoers.d/90-group-wheel')).toBe(true)
    await checkSudoers(dotted)
  })

  it('takes no time that grows with what a hostile file repeats', async () => {
    const tail = Array.from({ length: 400 }, (_, i) => `User_Alias A${i} = ${`A${i + 1}, `.repeat(40)}A0\n`)
    const hostile = await guestOf({
      '/etc/sudoers': `${tail.join('')}A0 ALL=(ALL) ALL\n${'\\\\a'.repeat(60)}=ALL\n@includedir /etc/sudoers.d\n`,
    })
    const report = await sudo.run(hostile, { user: 'debian' })
    expect(report.changes).toHaveLength(1)
  })

  it('says what is missing', async () => {
    const bare = await memoryGuest({
      '/etc/passwd': phony.debian['/etc/passwd'],
      '/etc/group': 'root:x:0:\n',
    })
    await expect(sudo.run(bare, { user: 'debian' })).rejects.toThrow(/not installed/)
    const accounts = { '/etc/passwd': 'root:x:0:0::/root:/bin/ash\n', '/etc/group': 'root:x:0:\n' }
    const doas = await memoryGuest({ ...accounts, '/etc/doas.conf': '' })
    await expect(sudo.run(doas, { user: 'root' })).rejects.toThrow(/doas/)
    await expect(sudo.run(await guestOf(), { user: 'eve' })).rejects.toThrow(/no user "eve"/)
    await expect(sudo.run(await guestOf(), { user: '%eve' })).rejects.toThrow(/no group "eve"/)
    const loop = await guestOf({ '/etc/sudoers': '@include /etc/sudoers\n' })
    await expect(sudo.run(loop, { user: 'debian' })).rejects.toMatchObject({ code: 'ELOOP' })
  })
})

describe('sudoers', () => {
  it('knows comments from directives', () => {
    const lines = sudoersLines(
      '# x\n#includedir /a\n#1000 ALL=ALL\nDefaults x="a#b" # c\nA \\\n B\n  # not \\\nC\n',
    )
    expect(lines).toEqual([
      { text: '#includedir /a', line: 2 },
      { text: '#1000 ALL=ALL', line: 3 },
      { text: 'Defaults x="a#b"', line: 4 },
      { text: 'A   B', line: 5 },
      { text: 'C', line: 8 },
    ])
    expect(sudoersInclude('@include "/a b"')).toEqual({ kind: 'file', path: '/a b' })
    expect(userSpecification('a, !b ALL = (root) NOPASSWD: ALL')).toEqual({
      users: ['a', '!b'],
      hosts: 'ALL',
      commands: '(root) NOPASSWD: ALL',
    })
    expect(userSpecification('Defaults:ann !requiretty')).toBeUndefined()
  })
})
