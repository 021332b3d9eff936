import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import {
  disableService,
  enableService,
  maskService,
} from '../../src/operations/services/service-operations.ts'
import { serviceState } from '../../src/operations/services/service-state.ts'
import { haveTool, temporaryFolder } from '../support/native.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

const LSB = (name: string, needs = '$remote_fs') => `#!/bin/sh
### BEGIN INIT INFO
# Provides:          ${name}
# Required-Start:    ${needs}
# Required-Stop:     $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: ${name}
### END INIT INFO
`
const CHKCONFIG = '#!/bin/bash\n#\n# chkconfig: 345 55 25\n# description: a daemon\n'

/** `rc3.d/S55foo` and its like, of every runlevel. */
async function runlevelLinks(guest: GuestFs, base = '/etc'): Promise<string[]> {
  const found: string[] = []
  for (const level of ['0', '1', '2', '3', '4', '5', '6', 'S']) {
    const folder = `${base}/rc${level}.d`
    if (!(await guest.exists(folder))) continue
    for (const { name } of await guest.readdir(folder)) {
      const link = new TextDecoder().decode(name)
      found.push(`${level}/${link}`)
      expect(new TextDecoder().decode(await guest.readlink(`${folder}/${link}`))).toMatch(/^\.\.\/init\.d\//)
    }
  }
  return found.sort()
}

describe('init scripts', () => {
  it('get the numbers and levels of their chkconfig line (EL6)', async () => {
    const guest = await memoryGuest({ '/etc/rc.d/init.d/foo': CHKCONFIG })
    for (const level of '0123456') await guest.mkdir(`/etc/rc.d/rc${level}.d`)
    await guest.symlink('rc.d/init.d', '/etc/init.d')
    expect(await serviceState(guest, 'foo')).toMatchObject({ init: 'sysv', state: 'disabled' })
    const report = await runTwice(guest, enableService, { units: ['foo'] })
    expect(await runlevelLinks(guest, '/etc/rc.d')).toEqual([
      '0/K25foo',
      '1/K25foo',
      '2/K25foo',
      '3/S55foo',
      '4/S55foo',
      '5/S55foo',
      '6/K25foo',
    ])
    expect(report.changes[0]).toMatchObject({
      before: 'disabled',
      after: 'enabled',
      file: '/etc/rc.d/rc3.d/S55foo',
    })
    await runTwice(guest, disableService, { units: ['foo.service'] })
    expect(await runlevelLinks(guest, '/etc/rc.d')).toEqual(
      ['0', '1', '2', '3', '4', '5', '6'].map(level => `${level}/K25foo`),
    )
    await runTwice(guest, enableService, { units: ['foo'] })
    expect((await serviceState(guest, 'foo')).decidedBy).toBe('/etc/rc.d/rc3.d/S55foo')
  })

  it.skipIf(!haveTool('update-rc.d'))(
    "get the links that update-rc.d's defaults are (LSB header)",
    async () => {
      const root = temporaryFolder()
      mkdirSync(join(root, 'etc/init.d'), { recursive: true })
      for (const level of '0123456S') mkdirSync(join(root, `etc/rc${level}.d`))
      writeFileSync(join(root, 'etc/init.d/foo'), LSB('foo'), { mode: 0o755 })
      execFileSync('update-rc.d', ['foo', 'defaults'], { env: { ...process.env, DPKG_ROOT: root } })
      const theirs = [...'0123456S'].flatMap(level =>
        readdirSync(join(root, `etc/rc${level}.d`)).map(link => `${level}/${link}`),
      )
      const guest = await memoryGuest({ '/etc/init.d/foo': LSB('foo') })
      await runTwice(guest, enableService, { units: ['foo'] })
      expect(await runlevelLinks(guest)).toEqual(theirs.sort())
    },
  )

  it('start after what they require, and without a header as update-rc.d has it', async () => {
    const guest = await memoryGuest({
      '/etc/init.d/db': LSB('database'),
      '/etc/init.d/app': LSB('app', 'database $syslog'),
      '/etc/init.d/last': LSB('last', '$all'),
      '/etc/init.d/bare': '#!/bin/sh\n',
    })
    for (const unit of ['db', 'app', 'last', 'bare']) await runTwice(guest, enableService, { units: [unit] })
    expect((await runlevelLinks(guest)).filter(link => link.startsWith('2/'))).toEqual([
      '2/S01db',
      '2/S02app',
      '2/S03last',
      '2/S20bare',
    ])
    await runTwice(guest, disableService, { units: ['bare'] })
    expect((await runlevelLinks(guest)).filter(link => link.endsWith('bare'))).toEqual(
      ['0', '1', '2', '3', '4', '5', '6'].map(level => `${level}/K20bare`),
    )
  })

  it('are what systemd makes units of where it has none itself', async () => {
    const guest = await memoryGuest({ ...phony.debian, '/etc/init.d/legacy': LSB('legacy') })
    await runTwice(guest, enableService, { units: ['legacy'] })
    expect(await serviceState(guest, 'legacy.service')).toMatchObject({
      init: 'systemd',
      state: 'enabled',
      decidedBy: '/etc/rc2.d/S01legacy',
    })
    await expect(enableService.run(guest, { units: ['nothing'] })).rejects.toMatchObject({ code: 'ENOENT' })
    const report = await disableService.run(guest, { units: ['nothing'] })
    expect(report.warnings).toEqual([expect.stringContaining('no service nothing')])
  })
})

describe('OpenRC', () => {
  it('links scripts into a runlevel', async () => {
    const guest = await memoryGuest({
      '/etc/init.d/sshd': '#!/sbin/openrc-run\n',
      '/etc/init.d/networking': '#!/sbin/openrc-run\n',
    })
    for (const level of ['sysinit', 'boot', 'default'])
      await guest.mkdir(`/etc/runlevels/${level}`, { recursive: true })
    await guest.symlink('/etc/init.d/networking', '/etc/runlevels/boot/networking')
    await runTwice(guest, enableService, { units: ['sshd', 'networking'] })
    expect(new TextDecoder().decode(await guest.readlink('/etc/runlevels/default/sshd'))).toBe(
      '/etc/init.d/sshd',
    )
    expect(await guest.exists('/etc/runlevels/default/networking')).toBe(false)
    expect(await serviceState(guest, 'networking')).toMatchObject({ init: 'openrc', state: 'enabled' })
    await runTwice(guest, disableService, { units: ['networking'] })
    expect(await serviceState(guest, 'networking')).toMatchObject({ state: 'disabled' })
    await expect(maskService.run(guest, { units: ['sshd'] })).rejects.toThrow(/boots with openrc/)
    await expect(enableService.run(guest, { units: ['x'] })).rejects.toThrow(/no service x/)
  })
})

describe('Upstart', () => {
  it('is told by .override files', async () => {
    const guest = await memoryGuest({
      '/etc/init/ssh.conf': 'start on runlevel [2345]\nexec /usr/sbin/sshd -D\n',
      '/etc/init/by-hand.conf': 'exec true\n',
      '/etc/init/kept.conf': 'start on started x\n',
      '/etc/init/kept.override': '# mine\nnice 5\n',
      '/sbin/initctl': '',
    })
    expect(await serviceState(guest, 'ssh')).toMatchObject({ init: 'upstart', state: 'enabled' })
    await runTwice(guest, disableService, { units: ['ssh', 'kept'] })
    expect(await text(guest, '/etc/init/ssh.override')).toBe('manual\n')
    expect(await text(guest, '/etc/init/kept.override')).toBe('# mine\nnice 5\nmanual\n')
    await runTwice(guest, enableService, { units: ['ssh', 'kept'] })
    expect(await guest.exists('/etc/init/ssh.override')).toBe(false)
    expect(await text(guest, '/etc/init/kept.override')).toBe('# mine\nnice 5\n')
    await expect(enableService.run(guest, { units: ['by-hand'] })).rejects.toMatchObject({
      code: 'ERR_NOT_EFFECTIVE',
    })
  })
})

describe('systemd, where systemctl says less', () => {
  const units = {
    '/etc/machine-id': 'x\n',
    '/usr/lib/systemd/system/a.service': '[Install]\nWantedBy=multi-user.target\n',
    '/usr/lib/systemd/system/a.socket': '[Install]\nWantedBy=sockets.target\n',
    '/usr/lib/systemd/system/still.service': '[Service]\n',
    '/usr/lib/systemd/system-preset/90-default.preset': 'disable b*\nenable a.*\ndisable *\n',
  }
  const guestOf = async (more: Record<string, string> = {}) => {
    const guest = await memoryGuest({ ...units, ...more })
    await guest.mkdir('/usr/lib/systemd/system/multi-user.target.wants')
    return guest
  }

  it('says what still starts a disabled service', async () => {
    const guest = await guestOf()
    await enableService.run(guest, { units: ['a.service', 'a.socket'] })
    const report = await runTwice(guest, disableService, { units: ['a'] })
    expect(report.warnings).toEqual([expect.stringContaining('a.socket is enabled')])
    const first = await guestOf({ '/etc/machine-id': 'uninitialized\n' })
    await enableService.run(first, { units: ['a'] })
    const again = await disableService.run(first, { units: ['a'] })
    expect(again.warnings).toEqual([expect.stringContaining('90-default.preset:2 enables a.service again')])
  })

  it('says that a static unit cannot be enabled, nor disabled where its package starts it', async () => {
    const guest = await guestOf()
    const report = await enableService.run(guest, { units: ['still'] })
    expect(report.warnings).toEqual([expect.stringContaining('still.service is static')])
    expect(report.changes).toEqual([])
    await guest.symlink('../still.service', '/usr/lib/systemd/system/multi-user.target.wants/still.service')
    expect(await serviceState(guest, 'still')).toMatchObject({ state: 'static', startsAtBoot: true })
    await expect(disableService.run(guest, { units: ['still'] })).rejects.toMatchObject({
      code: 'ERR_NOT_EFFECTIVE',
      context: { path: '/usr/lib/systemd/system/multi-user.target.wants/still.service' },
    })
    await runTwice(guest, maskService, { units: ['still'] })
    expect(await serviceState(guest, 'still')).toMatchObject({ state: 'masked', startsAtBoot: false })
    await expect(enableService.run(guest, { units: ['still'] })).rejects.toThrow(/masked by/)
  })

  it('masks the unit that an alias stands for', async () => {
    const guest = await guestOf()
    await guest.symlink('a.service', '/usr/lib/systemd/system/alias.service')
    await runTwice(guest, maskService, { units: ['alias'] })
    expect(await serviceState(guest, 'a')).toMatchObject({ state: 'masked' })
  })

  it('refuses names that are no units, and links that lead in circles', async () => {
    const guest = await guestOf()
    for (const name of ['../x', 'a b', '', 'x/y.service'])
      await expect(enableService.run(guest, { units: [name] }), name).rejects.toThrow(/not a unit name/)
    await guest.symlink('loop2.service', '/usr/lib/systemd/system/loop1.service')
    await guest.symlink('loop1.service', '/usr/lib/systemd/system/loop2.service')
    expect(await serviceState(guest, 'loop1')).toMatchObject({ state: 'absent' })
  })
})
