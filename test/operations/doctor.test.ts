import { describe, expect, test } from 'vitest'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/guests/index.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import type { DiskFacts } from '../../src/operations/doctor/check.ts'
import { type DoctorOptions, diagnose, doctorChecks } from '../../src/operations/doctor/doctor.ts'
import type { Finding } from '../../src/operations/doctor/findings.ts'
import { steps } from '../../src/operations/steps/index.ts'
import { sysprepTasks } from '../../src/operations/sysprep/index.ts'
import { serialiseProtectiveMbr } from '../../src/volume/mbr.ts'

const names = Object.keys(phonyGuests) as PhonyGuestName[]

async function findings(name: PhonyGuestName, changes = {}, options: DoctorOptions = {}): Promise<Finding[]> {
  return [...(await diagnose(await phonyGuest(name, changes), options)).findings]
}

const of = (found: readonly Finding[], check: string) => found.filter(one => one.check === check)

describe.each(names)('doctor on %s', name => {
  test('answers, and every command that it names is one', async () => {
    const guest = await phonyGuest(name)
    const { findings: found } = await diagnose(guest)
    expect(found.length).toBeGreaterThan(5)
    for (const { message, command, file } of found) {
      expect(message).not.toBe('')
      if (file !== undefined) expect(file).toMatch(/^\//)
      for (const [, option] of command?.matchAll(/customize IMAGE --([\w-]+)/g) ?? [])
        expect(steps.map(step => step.name)).toContain(option)
      const [, list] = /sysprep IMAGE --operations (\S+)/.exec(command ?? '') ?? []
      for (const task of list?.split(',') ?? []) expect(sysprepTasks.map(one => one.name)).toContain(task)
    }
    expect(of(found, 'boot-menu')[0]?.status).toBe('ok')
    expect(found.filter(one => /could not be looked at/.test(one.message))).toEqual([])
  })

  test('looks without a change, and mends once', async () => {
    const guest = await phonyGuest(name, {
      '/etc/machine-id': '0123456789abcdef0123456789abcdef\n',
      '/etc/ssh/ssh_host_rsa_key': 'key\n',
      '/etc/udev/rules.d/70-persistent-net.rules':
        'SUBSYSTEM=="net", ATTR{address}=="52:54:00:12:34:56", NAME="eth0"\n',
    })
    const before = await diagnose(guest)
    expect(before.reports).toEqual([])
    expect((await diagnose(guest)).findings).toEqual(before.findings)
    for (const check of ['machine-id', 'host-keys', 'fixed-macs'])
      expect(of(before.findings, check).map(one => one.status)).toContain('failed')

    const mended = await diagnose(guest, { fix: true })
    for (const check of ['machine-id', 'host-keys', 'fixed-macs', 'serial-console'])
      for (const { status, message } of of(mended.findings, check))
        expect([check, message, status]).not.toContain('failed')
    expect(await guest.readText('/etc/machine-id')).toBe('')
    const again = await diagnose(guest, { fix: true })
    expect(again.reports.flatMap(report => report.changes)).toEqual([])
    expect(again.findings.filter(one => one.status === 'mended')).toEqual([])
  })
})

/** A disk whose one volume is the root. */
const diskOf = (type: string): DiskFacts => ({
  volumes: [],
  mounts: [
    { path: '/', source: '/dev/sda1', type, dev: 1, fs: undefined, reason: undefined, covers: undefined },
  ],
  rootVolume: '/dev/sda1',
  warnings: [],
  firstSector: new Uint8Array(0),
  format: 'raw',
})

describe('doctor', () => {
  test('names no command that would be refused where the root is btrfs', async () => {
    const changes = { '/etc/machine-id': '0123456789abcdef0123456789abcdef\n' }
    const ext4 = await findings('fedora', changes, { disk: diskOf('ext4') })
    const btrfs = await findings('fedora', changes, { disk: diskOf('btrfs') })
    expect(ext4.filter(one => one.command?.startsWith('drydisk customize')).length).toBeGreaterThan(0)
    expect(btrfs.filter(one => /^drydisk (?!convert|check)/.test(one.command ?? ''))).toEqual([])
    expect(btrfs.at(-1)?.message).toMatch(/the root is btrfs, which drydisk reads and does not write/)
  })

  test('looks for the program that makes the filesystem of the root larger', async () => {
    const growth = async (changes: Record<string, string>) =>
      of(await findings('debian', changes, { disk: diskOf('xfs') }), 'root-growth')
    expect(await growth({})).toContainEqual(
      expect.objectContaining({
        status: 'failed',
        message: expect.stringContaining('xfs_growfs is not installed'),
        command: 'drydisk customize IMAGE --install xfsprogs',
      }),
    )
    expect((await growth({ '/usr/sbin/xfs_growfs': '' }))[0]).toMatchObject({
      status: 'ok',
      file: '/usr/sbin/xfs_growfs',
    })
  })

  test('an agent that nothing starts', async () => {
    const agent = { '/usr/sbin/qemu-ga': '' }
    const guest = await memoryGuest({
      '/etc/os-release': 'ID=debian\n',
      '/usr/lib/systemd/system/multi-user.target': '',
      ...agent,
    })
    const { findings: found } = await diagnose(guest, { checks: ['guest-agent'] })
    expect(found).toContainEqual(
      expect.objectContaining({
        status: 'failed',
        message: expect.stringContaining('nothing starts the QEMU guest agent'),
      }),
    )
  })

  test('finds what keeps a guest from a cloud', async () => {
    const found = await findings('debian', {
      '/etc/cloud/cloud-init.disabled': '',
      '/etc/cloud/cloud.cfg.d/99_ds.cfg': 'datasource_list: [ NoCloud ]\n',
      '/etc/fstab': '/dev/sda1 / ext4 defaults 0 1\n',
      '/etc/ssh/sshd_config.d/00-x.conf':
        'PermitRootLogin yes\nPermitEmptyPasswords yes\nPasswordAuthentication yes\n',
      '/var/lib/systemd/random-seed': 'seed',
      '/root/.bash_history': 'rm -rf /\n',
      '/etc/qemu/qemu-ga.conf': '[general]\nblock-rpcs = guest-set-user-password\n',
    })
    const failed = (check: string) => of(found, check).filter(one => one.status === 'failed')
    for (const check of ['cloud-init', 'datasources', 'fstab', 'ssh', 'random-seed', 'guest-agent'])
      expect([check, failed(check).length > 0]).toEqual([check, true])
    expect(failed('fstab')[0]).toMatchObject({ file: '/etc/fstab', line: 1 })
    expect(of(found, 'residue')[0]).toMatchObject({ status: 'warning', file: '/root/.bash_history' })
  })

  test('mends those that it can, and says what it did', async () => {
    const guest = await phonyGuest('debian', {
      '/etc/cloud/cloud-init.disabled': '',
      '/etc/cloud/cloud.cfg.d/99_ds.cfg': 'datasource_list: [ NoCloud ]\n',
      '/etc/qemu/qemu-ga.conf': '[general]\nblock-rpcs = guest-set-user-password\n',
    })
    const { findings: found, reports } = await diagnose(guest, { fix: true })
    for (const check of ['cloud-init', 'datasources', 'guest-agent'])
      expect([check, of(found, check).filter(one => one.status === 'failed')]).toEqual([check, []])
    expect(reports.map(report => report.operation)).toEqual(
      expect.arrayContaining(['cloud-init-unblock', 'cloud-init-datasources', 'qemu-ga']),
    )
    expect(await guest.exists('/etc/cloud/cloud-init.disabled')).toBe(false)
  })

  test('knows the disk: Glance, growth, fstab by UUID', async () => {
    const firstSector = serialiseProtectiveMbr(1000)
    const volume = (number: number, offset: number) => ({
      kind: 'partition' as const,
      name: `/dev/sda${number}`,
      aliases: [],
      number,
      type: '',
      typeName: '',
      label: '',
      uuid: '',
      offset,
      length: 100,
      places: () => [],
      device: undefined as never,
      found: {
        type: 'ext4',
        usage: 'filesystem' as const,
        uuid: `uuid-${number}`,
        label: '',
        needsRecovery: number === 2,
      },
    })
    const disk = {
      volumes: [volume(1, 1000), volume(2, 2000)],
      mounts: [],
      rootVolume: '/dev/sda1',
      warnings: [],
      firstSector,
      format: 'qcow2',
    }
    const status = (found: readonly Finding[], check: string) => of(found, check).map(one => one.status)
    const fine = await findings('debian', {}, { disk })
    expect(status(fine, 'glance')).toEqual(['ok'])
    expect(of(fine, 'root-growth')[0]).toMatchObject({
      status: 'failed',
      message: expect.stringContaining('/dev/sda2'),
    })
    expect(of(fine, 'filesystems')[0]).toMatchObject({
      status: 'warning',
      message: expect.stringContaining('journal'),
    })
    const hybrid = firstSector.slice()
    hybrid[446 + 16 + 4] = 0x83
    hybrid[446] = 0x55
    const bad = await findings(
      'debian',
      {},
      {
        disk: {
          ...disk,
          firstSector: hybrid,
          backingFile: 'base.qcow2',
          dataFile: true,
          extendedL2: true,
          corrupt: true,
        },
      },
    )
    expect(status(bad, 'glance')).toEqual(['failed', 'failed', 'failed', 'failed', 'failed', 'failed'])
    const guest = await phonyGuest('debian', { '/etc/fstab': '# keep\n/dev/sda2\t/srv  ext4 defaults 0 1\n' })
    const { findings: mended } = await diagnose(guest, { disk, fix: true, checks: ['fstab'] })
    expect(status(mended, 'fstab')).toEqual(['mended'])
    expect(await guest.readText('/etc/fstab')).toBe('# keep\nUUID=uuid-2\t/srv  ext4 defaults 0 1\n')
  })

  test('has profiles, and says which there are', async () => {
    const names = async (profile: 'openstack' | 'kvm' | 'generic') => [
      ...new Set((await findings('debian', {}, { profile })).map(one => one.check)),
    ]
    expect(await names('openstack')).toContain('cloud-init')
    expect(await names('kvm')).not.toContain('cloud-init')
    expect(await names('generic')).not.toContain('serial-console')
    await expect(findings('debian', {}, { profile: 'moon' as never })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    })
    await expect(findings('debian', {}, { checks: ['moon'] })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    })
    expect(doctorChecks.map(check => check.name)).toEqual([...new Set(doctorChecks.map(check => check.name))])
  })
})
