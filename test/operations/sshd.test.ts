import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { readSshdSetting, sshd } from '../../src/operations/sshd.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

const oracle = haveTool('sshd') && haveTool('ssh-keygen')

/** `sshd -T` over a copy of the guest's files, their paths moved. */
async function effective(
  guest: GuestFs,
  keyword: string,
  connection = 'user=root,host=h,addr=192.0.2.1',
): Promise<string> {
  const folder = temporaryFolder()
  const key = join(folder, 'key')
  await runOk('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  mkdirSync('/run/sshd', { recursive: true })
  mkdirSync(join(folder, 'sshd_config.d'))
  const move = (config: string) => config.replaceAll('/etc/ssh/', `${folder}/`)
  writeFileSync(join(folder, 'sshd_config'), move(await text(guest, '/etc/ssh/sshd_config')))
  if (await guest.exists('/etc/ssh/sshd_config.d'))
    for (const { name } of await guest.readdir('/etc/ssh/sshd_config.d')) {
      const file = new TextDecoder().decode(name)
      writeFileSync(
        join(folder, 'sshd_config.d', file),
        move(await text(guest, `/etc/ssh/sshd_config.d/${file}`)),
      )
    }
  const output = await runOk('/usr/sbin/sshd', [
    '-T',
    '-f',
    join(folder, 'sshd_config'),
    '-h',
    key,
    '-C',
    connection,
  ])
  return [...output.matchAll(new RegExp(`^${keyword} (.*)$`, 'gm'))].map(match => match[1]).join(',')
}

describe('sshd', () => {
  const main = (config: string, more: Record<string, string> = {}) => ({
    ...more,
    '/etc/ssh/sshd_config': config,
  })
  const INCLUDE = 'Include /etc/ssh/sshd_config.d/*.conf\n'
  const cases: [string, Record<string, string>, string, string, string][] = [
    ['Debian', phony.debian, 'PermitRootLogin', 'yes', '/etc/ssh/sshd_config.d/00-drydisk.conf'],
    [
      'Debian, over 50-cloud-init.conf',
      phony.debian,
      'PasswordAuthentication',
      'yes',
      '/etc/ssh/sshd_config.d/00-drydisk.conf',
    ],
    ['EL6', phony.el6, 'PermitRootLogin', 'no', '/etc/ssh/sshd_config'],
    [
      'EL9, over 01-permitrootlogin.conf',
      phony.el9,
      'permitrootlogin',
      'no',
      '/etc/ssh/sshd_config.d/00-drydisk.conf',
    ],
    [
      'a setting before the Include',
      main(`PermitRootLogin no\n${INCLUDE}`),
      'PermitRootLogin',
      'yes',
      '/etc/ssh/sshd_config',
    ],
    [
      'a rival that sorts first',
      main(INCLUDE, { '/etc/ssh/sshd_config.d/00-a.conf': 'MaxSessions 4\n' }),
      'MaxSessions',
      '9',
      '/etc/ssh/sshd_config.d/00-a.conf',
    ],
    [
      'Match at the end',
      main('UsePAM yes\nMatch User git\nPermitRootLogin no\n'),
      'PermitRootLogin',
      'yes',
      '/etc/ssh/sshd_config',
    ],
    [
      'Match all overrides',
      main(`${INCLUDE}Match all\nPermitRootLogin no\n`),
      'PermitRootLogin',
      'yes',
      '/etc/ssh/sshd_config',
    ],
    [
      'first of several',
      main('PermitRootLogin no\nPermitRootLogin no\n'),
      'PermitRootLogin',
      'yes',
      '/etc/ssh/sshd_config',
    ],
    [
      'an Include inside Match does not count',
      main(`Match User git\n${INCLUDE}`),
      'PermitRootLogin',
      'yes',
      '/etc/ssh/sshd_config',
    ],
  ]
  for (const [name, files, keyword, value, file] of cases)
    it(`wins: ${name}`, async () => {
      const guest = await memoryGuest(files)
      const report = await runTwice(guest, sshd, { keyword, value })
      expect(report.changes[0]).toMatchObject({ after: value, file })
      if (oracle) expect(await effective(guest, keyword.toLowerCase())).toBe(value)
    })

  it('names the Match block that differs', async () => {
    const guest = await memoryGuest(main('UsePAM yes\nMatch User git\n  PasswordAuthentication no\n'))
    const report = await sshd.run(guest, { keyword: 'PasswordAuthentication', value: 'yes' })
    expect(report.warnings).toEqual([
      expect.stringMatching(/sshd_config:4 sets PasswordAuthentication to no .*User git/),
    ])
  })

  it('replaces what accumulates', async () => {
    const guest = await memoryGuest(main(`${INCLUDE}Port 22\nPort 2222\nAllowUsers a b\n`))
    await runTwice(guest, sshd, { keyword: 'Port', value: '2200' })
    await runTwice(guest, sshd, { keyword: 'AllowUsers', value: 'c d' })
    if (oracle) {
      expect(await effective(guest, 'port')).toBe('2200')
      expect(await effective(guest, 'allowusers')).toBe('c,d')
    }
  })

  it('has cloud-init told the same', async () => {
    const guest = await memoryGuest(phony.debian)
    const report = await sshd.run(guest, { keyword: 'PasswordAuthentication', value: 'yes' })
    await sshd.run(guest, { keyword: 'PermitRootLogin', value: 'yes' })
    expect(report.changes.map(c => c.setting)).toEqual(['PasswordAuthentication', 'cloud-init ssh_pwauth'])
    expect(await text(guest, '/etc/cloud/cloud.cfg.d/99-zz-drydisk.cfg')).toMatch(
      /^#.*\nssh_pwauth: true\ndisable_root: false\n$/,
    )
  })

  it("looks at sshd's command line", async () => {
    const unit = (line: string) => ({
      '/usr/lib/systemd/system/sshd.service': `[Service]\nEnvironmentFile=-/etc/crypto-policies/back-ends/opensshserver.config\nEnvironmentFile=-/etc/sysconfig/sshd\nExecStart=/usr/sbin/sshd -D ${line}\n`,
    })
    const policy = '/etc/crypto-policies/back-ends/opensshserver.config'
    const el8 = await memoryGuest(
      main('UsePAM yes\n', {
        ...unit('$OPTIONS $CRYPTO_POLICY'),
        [policy]: "CRYPTO_POLICY='-oCiphers=aes256-gcm@openssh.com -oMACs=hmac-sha2-256'\n",
        '/etc/sysconfig/sshd': '# OPTIONS="-u0"\n',
      }),
    )
    await expect(sshd.run(el8, { keyword: 'Ciphers', value: 'aes128-ctr' })).rejects.toMatchObject({
      code: 'ERR_NOT_EFFECTIVE',
      message: expect.stringContaining(`${policy}:1`),
    })
    expect(await text(el8, '/etc/ssh/sshd_config')).toBe('UsePAM yes\n')
    await runTwice(el8, sshd, { keyword: 'PermitRootLogin', value: 'yes' })
    expect(await readSshdSetting(el8, 'macs')).toMatchObject({ value: 'hmac-sha2-256', file: policy })
    const moved = await memoryGuest({
      ...unit('-f /etc/other -p 2200'),
      '/etc/other': 'Port 22\nUsePAM no\n',
    })
    expect(await readSshdSetting(moved, 'Port')).toMatchObject({ value: '2200', line: 4 })
    await runTwice(moved, sshd, { keyword: 'UsePAM', value: 'yes' })
    expect(await text(moved, '/etc/other')).toBe('Port 22\nUsePAM yes\n')
  })

  it('says who else has a say in where sshd listens', async () => {
    const guest = await memoryGuest(
      main('UsePAM yes\n', {
        '/etc/selinux/config': 'SELINUX=enforcing\n',
        '/etc/systemd/system/sockets.target.wants/ssh.socket': '[Socket]\nListenStream=22\n',
      }),
    )
    const report = await runTwice(guest, sshd, { keyword: 'Port', value: '2200' })
    expect(report.warnings).toEqual([
      expect.stringContaining('ListenStream'),
      expect.stringContaining('semanage port'),
    ])
  })

  it('says what is missing', async () => {
    await expect(
      sshd.run(await memoryGuest(phony.cirros), { keyword: 'PermitRootLogin', value: 'yes' }),
    ).rejects.toThrow(/dropbear/)
    await expect(
      sshd.run(await memoryGuest({ '/usr/etc/ssh/sshd_config': 'UsePAM yes\n' }), {
        keyword: 'PermitRootLogin',
        value: 'yes',
      }),
    ).rejects.toMatchObject({ code: 'ERR_NOT_EFFECTIVE' })
  })

  it("uses SUSE's vendor file by way of the folder it includes", async () => {
    const guest = await memoryGuest({ '/usr/etc/ssh/sshd_config': `${INCLUDE}UsePAM yes\n` })
    const report = await runTwice(guest, sshd, { keyword: 'PermitRootLogin', value: 'yes' })
    expect(report.changes[0]?.file).toBe('/etc/ssh/sshd_config.d/00-drydisk.conf')
  })
})
