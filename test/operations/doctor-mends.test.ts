import { describe, expect, test } from 'vitest'
import { phonyGuest } from '../../native-fixtures/guests/index.ts'
import { decodeText } from '../../src/config/text.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { cloudInit } from '../../src/operations/cloud-init.ts'
import type { DiskFacts } from '../../src/operations/doctor/check.ts'
import { diagnose } from '../../src/operations/doctor/doctor.ts'
import { disableService, maskService } from '../../src/operations/services/service-operations.ts'

const found = async (guest: GuestFs, check: string, disk?: DiskFacts) =>
  (await diagnose(guest, { checks: [check], ...(disk ? { disk } : {}) })).findings.filter(
    one => one.status !== 'ok',
  )

/** What was wrong, that `fix` mends it, and that nothing is found after. */
async function mends(guest: GuestFs, check: string): Promise<string[]> {
  const before = await found(guest, check)
  expect(before.map(one => one.status)).toContain('failed')
  const fixed = await diagnose(guest, { checks: [check], fix: true })
  expect(fixed.findings.filter(one => one.status === 'failed')).toEqual([])
  expect(await found(guest, check)).toEqual([])
  return before.map(one => one.message)
}

const disk = (uuid: string): DiskFacts => ({
  volumes: [
    {
      kind: 'partition',
      name: '/dev/sda1',
      aliases: [],
      number: 1,
      offset: 1 << 20,
      size: 1 << 30,
      uuid: '',
      label: '',
      found: { type: 'ext4', uuid, label: 'root' },
    } as unknown as DiskFacts['volumes'][number],
  ],
  mounts: [],
  rootVolume: '/dev/sda1',
  warnings: [],
  firstSector: new Uint8Array(0),
  format: 'raw',
})

describe('doctor', () => {
  test('takes the mask off the guest agent', async () => {
    const guest = await phonyGuest('el9', { '/usr/bin/qemu-ga': '' })
    await maskService.run(guest, { units: ['qemu-guest-agent'] })
    expect((await found(guest, 'guest-agent')).map(one => one.message)).toEqual([
      'qemu-guest-agent.service is masked',
    ])
    await mends(guest, 'guest-agent')
  })

  test('starts the SSH server, and keeps empty passwords out', async () => {
    const guest = await phonyGuest('el9', {
      '/etc/ssh/sshd_config.d/00-x.conf': 'PermitEmptyPasswords yes\nPasswordAuthentication no\n',
    })
    await disableService.run(guest, { units: ['sshd'] })
    const { findings } = await diagnose(guest, { checks: ['ssh'], fix: true })
    expect(findings.filter(one => one.status === 'mended')).toHaveLength(2)
    expect((await found(guest, 'ssh')).filter(one => one.status === 'failed')).toEqual([])
  })

  test('has the root grow, partition first', async () => {
    for (const setting of [
      'cloud_init_modules-=growpart',
      'resize_rootfs=false',
      'growpart.mode=off',
      'cloud_init_modules=[seed_random, resizefs, growpart, mounts]',
    ]) {
      const guest = await phonyGuest('debian', { '/usr/bin/growpart': '' })
      await cloudInit.run(guest, { setting })
      await mends(guest, 'root-growth')
    }
  })

  test('names the data in the image that keep a cloud’s from being read', async () => {
    const guest = await phonyGuest('debian')
    await guest.mkdir('/var/lib/cloud/seed/nocloud', { recursive: true })
    await guest.writeFile('/var/lib/cloud/seed/nocloud/user-data', '')
    expect(await found(guest, 'datasources')).toEqual([])
    await guest.writeFile('/var/lib/cloud/seed/nocloud/meta-data', '')
    expect(await found(guest, 'datasources')).toMatchObject([
      { status: 'failed', command: 'drydisk customize IMAGE --cloud-init-clean=seed' },
    ])
  })

  test('misses the kernel of a boot entry', async () => {
    const guest = await phonyGuest('debian')
    expect(await found(guest, 'boot-menu')).toEqual([])
    for (const entry of await guest.readdir('/boot')) {
      const { text } = decodeText(entry.name)
      if (text.startsWith('vmlinuz')) await guest.unlink(`/boot/${text}`)
    }
    const missing = await found(guest, 'boot-menu')
    expect(missing.map(one => one.status)).toContain('failed')
    expect(missing[0]?.message).toMatch(/starts \/.*vmlinuz.*, which is not there/)
  })

  test('a masked logind does not hear the power button, nor does one that ignores it', async () => {
    const guest = await phonyGuest('el9', { '/usr/lib/systemd/systemd-logind': '' })
    await guest.writeFile('/usr/lib/systemd/system/systemd-logind.service', '[Service]\nExecStart=/x\n')
    await maskService.run(guest, { units: ['systemd-logind'] })
    expect(await mends(guest, 'power-button')).toEqual([
      'systemd-logind is masked: a soft power-off does not shut the guest down',
    ])
    await guest.mkdir('/etc/systemd/logind.conf.d')
    await guest.writeFile('/etc/systemd/logind.conf.d/x.conf', '[Login]\nHandlePowerKey=ignore\n')
    expect(await found(guest, 'power-button')).toMatchObject([
      {
        command: `drydisk edit IMAGE /etc/systemd/logind.conf.d/x.conf -e 's/^\\s*HandlePowerKey\\s*=.*/HandlePowerKey=poweroff/'`,
      },
    ])
  })

  test('a filesystem in fstab that is on no volume stops the boot', async () => {
    const guest = await phonyGuest('debian', {
      '/etc/fstab': [
        'UUID=aaaa-1 / ext4 defaults 0 1',
        'UUID=bbbb-2 /data ext4 defaults 0 2',
        'UUID=cccc-3 /more ext4 defaults,nofail 0 2',
        'LABEL=swap none swap sw 0 0',
        'tmpfs /tmp tmpfs defaults 0 0',
        '',
      ].join('\n'),
    })
    expect(await found(guest, 'fstab', disk('aaaa-1'))).toMatchObject([
      { status: 'failed', line: 2, file: '/etc/fstab' },
      { status: 'warning', line: 4 },
    ])
  })

  test('names the UUID of the root for a command line that has a kernel name', async () => {
    const guest = await phonyGuest('el8')
    expect((await found(guest, 'root-device', disk('aaaa-1')))[0]?.command).toBe(
      'drydisk customize IMAGE --kernel-arg root=UUID=aaaa-1',
    )
  })

  test('a MAC address where ifupdown may look is taken out, whether or not something sources it', async () => {
    const guest = await phonyGuest('debian', {
      '/etc/network/interfaces': 'auto lo\niface lo inet loopback\n',
    })
    await guest.mkdir('/etc/network/interfaces.d', { recursive: true })
    await guest.writeFile(
      '/etc/network/interfaces.d/eth0',
      'auto eth0\niface eth0 inet dhcp\n  hwaddress ether 52:54:00:12:34:56\n',
    )
    await mends(guest, 'fixed-macs')
  })
})
