import { describe, expect, test } from 'vitest'
import { type PhonyGuestName, phonyGuest } from '../../native-fixtures/phony-guests.ts'
import { diagnose } from '../../src/operations/doctor/doctor.ts'

async function answers(name: PhonyGuestName, check: string, changes: Record<string, string | null> = {}) {
  const { findings } = await diagnose(await phonyGuest(name, changes), { checks: [check] })
  return findings
}

const ID = '0123456789abcdef0123456789abcdef\n'

describe('doctor does not say ok where', () => {
  test('D-Bus keeps the machine ID that systemd takes up', async () => {
    for (const own of ['', 'uninitialized\n', null]) {
      const changes = { '/etc/machine-id': own, '/var/lib/dbus/machine-id': ID }
      expect(await answers('debian', 'machine-id', changes)).toMatchObject([
        { status: 'failed', file: '/var/lib/dbus/machine-id' },
      ])
      const guest = await phonyGuest('debian', changes)
      await diagnose(guest, { checks: ['machine-id'], fix: true })
      expect((await diagnose(guest, { checks: ['machine-id'] })).findings).toMatchObject([{ status: 'ok' }])
    }
  })

  test('a password stands in passwd, or is of an old kind', async () => {
    const rest = { '/etc/shadow': 'root:*:1::::::\nold:ab1234567890.:1::::::\n' }
    const passwd = (line: string) => ({ ...rest, '/etc/passwd': `root:x:0:0::/root:/bin/sh\n${line}\n` })
    const status = async (line: string) =>
      (await answers('debian', 'passwords', passwd(line))).map(one => [one.status, one.file, one.line])
    expect(await status('eve::1000:1000::/:/bin/sh')).toEqual([['failed', '/etc/passwd', 2]])
    expect(await status('eve::1000:1000::/:')).toEqual([['failed', '/etc/passwd', 2]])
    expect(await status('eve:$6$a$b:1000:1000::/:/bin/sh')).toEqual([['warning', '/etc/passwd', 2]])
    expect(await status('old:x:1000:1000::/:/bin/sh')).toEqual([['warning', '/etc/shadow', 2]])
    expect(await status('eve:*:1000:1000::/:/bin/sh')).toEqual([['ok', '/etc/shadow', undefined]])
    expect(await status('eve::1000:1000::/:/usr/sbin/nologin')).toEqual([['ok', '/etc/shadow', undefined]])
  })

  test('PAM asks for a password by keyboard-interactive', async () => {
    const sshd = (text: string) => ({
      '/etc/ssh/sshd_config': `PasswordAuthentication no\nUsePAM yes\n${text}`,
    })
    expect((await answers('alpine', 'ssh', sshd('')))[0]).toMatchObject({ status: 'warning' })
    for (const keyword of ['KbdInteractiveAuthentication', 'ChallengeResponseAuthentication'])
      expect((await answers('alpine', 'ssh', sshd(`${keyword} no\n`)))[0]).toMatchObject({ status: 'ok' })
  })

  test('a card’s address stands in the middle of a line, or is given to every clone', async () => {
    for (const [path, line] of [
      ['/etc/netplan/50.yaml', 'network: {ethernets: {eth0: {match: {macaddress: "52:54:00:12:34:56"}}}}'],
      ['/etc/netplan/50.yaml', '          "macaddress": 52:54:00:12:34:56'],
      ['/etc/NetworkManager/system-connections/a.nmconnection', 'cloned-mac-address=52:54:00:12:34:56'],
      ['/etc/sysconfig/network-scripts/ifcfg-eth0', 'MACADDR=52:54:00:12:34:56'],
    ] as const)
      expect(await answers('debian', 'fixed-macs', { [path]: `${line}\n` })).toMatchObject([
        { status: 'failed', file: path },
      ])
  })

  test('nothing makes the host keys that were removed', async () => {
    const guest = await phonyGuest('debian', { '/var/lib/dpkg/status': '' })
    for (const path of ['/usr/bin/cloud-init', '/etc/cloud'])
      await guest.rm(path, { recursive: true, force: true })
    for (const entry of await guest.readdir('/etc/ssh'))
      if (/^ssh_host_/.test(new TextDecoder().decode(entry.name)))
        await guest.unlink(`/etc/ssh/${new TextDecoder().decode(entry.name)}`)
    const options = { checks: ['host-keys'] }
    expect((await diagnose(guest, options)).findings).toMatchObject([{ status: 'failed', file: '/etc/ssh' }])
    await diagnose(guest, { ...options, fix: true })
    expect((await diagnose(guest, options)).findings).toMatchObject([{ status: 'ok' }])
  })

  test('SUSE or systemd-boot keep a random seed', async () => {
    for (const path of ['/var/lib/misc/random-seed', '/boot/efi/loader/random-seed'])
      expect(await answers('leap', 'random-seed', { [path]: 'seed' })).toMatchObject([
        { status: 'failed', file: path },
      ])
  })

  test('the power button is ignored', async () => {
    const conf = '/etc/systemd/logind.conf.d/x.conf'
    const logind = { '/usr/lib/systemd/systemd-logind': '' }
    expect(
      await answers('debian', 'power-button', { ...logind, [conf]: '[Login]\nHandlePowerKey=ignore\n' }),
    ).toMatchObject([{ status: 'failed', file: conf, line: 2 }])
    expect(await answers('debian', 'power-button', logind)).toMatchObject([{ status: 'ok' }])
  })
})

test('a command that doctor names is safe to paste, whatever the guest holds', async () => {
  const evil = "x';touch evil;'"
  const changes = {
    '/etc/passwd': `${evil}::0:0::/root:/bin/sh\n`,
    '/etc/fstab': `/dev/disk/by-path/${evil} / ext4 defaults 0 1\n`,
  }
  const found = await answers('debian', 'passwords', changes)
  expect(found[0]?.command).toBe(`drydisk customize IMAGE --password 'x'\\'';touch evil;'\\'':disabled'`)
})
