import { describe, expect, it, test } from 'vitest'
import { families, type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import { sysctlKey, sysctlLines } from '../../src/config/sysctl-conf.ts'
import { operations } from '../../src/operations/index.ts'
import { runOk } from '../support/native.ts'
import { memoryGuest, runTwice } from './support/operations.ts'

describe('sysctl', () => {
  const key = 'net.ipv4.ip_forward'
  const run = async (files: Record<string, string>, value = '1', name = key) => {
    const guest = await memoryGuest(files)
    return { guest, report: await runTwice(guest, operations.sysctl, { key: name, value }) }
  }

  it('writes behind everything else', async () => {
    const { report, guest } = await run({
      '/usr/lib/sysctl.d/50-default.conf': `${key}=0\n`,
      '/etc/sysctl.d/99-sysctl.conf': `${key} = 0\n`,
    })
    expect(report.changes).toEqual([
      { setting: key, before: '0', after: '1', file: '/etc/sysctl.d/99-zz-drydisk.conf', line: 1 },
    ])
    expect(await guest.readText('/usr/lib/sysctl.d/50-default.conf')).toBe(`${key}=0\n`)
  })

  it('keeps what decides already, however it is spelled', async () => {
    for (const text of [
      `${key}=1\n`,
      'net/ipv4/ip_forward = 1\n',
      `-${key} =  1\n`,
      `# c\n; c\n${key}=0\n${key}=1\n`,
    ])
      expect((await run({ '/etc/sysctl.d/a.conf': text })).report.changes, text).toEqual([])
    const ranges = await run(
      { '/etc/sysctl.d/a.conf': 'net.ipv4.ip_local_port_range = 1024\t65000\n' },
      '1024 65000',
      'net.ipv4.ip_local_port_range',
    )
    expect(ranges.report.changes).toEqual([])
  })

  it('changes what sorts behind it, and /etc/sysctl.conf where that is read last', async () => {
    const { guest, report } = await run({
      '/etc/sysctl.d/99-zzz.conf': `# mine\n${key} = 0\n`,
      '/etc/sysctl.conf': `# last\n${key}=0 \n`,
    })
    expect(report.changes).toMatchObject([{ after: '1', file: '/etc/sysctl.conf', line: 2 }])
    expect(await guest.readText('/etc/sysctl.d/99-zzz.conf')).toBe(`# mine\n${key} = 0\n`)
    const el6 = await run({ '/etc/sysctl.conf': 'kernel.sysrq = 0\n' })
    expect(await el6.guest.readText('/etc/sysctl.conf')).toBe(`kernel.sysrq = 0\n${key} = 1\n`)
  })

  it('says which file it cannot change', async () => {
    const guest = await memoryGuest({ '/usr/lib/sysctl.d/99-zzz.conf': `${key}=0` })
    await expect(operations.sysctl.run(guest, { key, value: '1' })).rejects.toMatchObject({
      code: 'ERR_NOT_EFFECTIVE',
      message: expect.stringContaining('/usr/lib/sysctl.d/99-zzz.conf:1'),
    })
  })

  it('a file that hides another counts in its place', async () => {
    const { report } = await run({
      '/usr/lib/sysctl.d/99-zzz.conf': `${key}=0`,
      '/etc/sysctl.d/99-zzz.conf': '',
    })
    expect(report.changes).toMatchObject([{ before: null, file: '/etc/sysctl.d/99-zz-drydisk.conf' }])
  })

  test('keys', () => {
    expect(sysctlKey('net/ipv4/conf/enp3s0.200/forwarding')).toBe('net.ipv4.conf.enp3s0/200.forwarding')
    expect(sysctlKey('net.ipv4.conf.enp3s0/200.forwarding')).toBe('net.ipv4.conf.enp3s0/200.forwarding')
    expect(sysctlLines('net.ipv4.conf.*.rp_filter = 2\nkernel.sysrq=1\n')).toEqual([
      { key: 'kernel.sysrq', value: '1', line: 2 },
    ])
  })

  it.each(['a', 'a b=1', 'kernel.x\n=1', '../x'])('refuses %j', async bad => {
    await expect(operations.sysctl.run(await memoryGuest(), { key: bad, value: '1' })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    })
  })
})

test('modprobe-blacklist', async () => {
  const guest = await memoryGuest({
    '/usr/lib/modprobe.d/blacklist.conf': '# x\nblacklist pcspkr\nblacklist snd_hda-intel\n',
  })
  const report = await runTwice(guest, operations['modprobe-blacklist'], {
    modules: ['pcspkr', 'snd-hda-intel', 'nouveau', 'floppy'],
  })
  expect(report.unchanged).toHaveLength(2)
  expect(report.changes).toMatchObject([
    { setting: 'module nouveau', after: 'blacklisted', line: 1 },
    { setting: 'module floppy', line: 2 },
  ])
  expect(await guest.readText('/etc/modprobe.d/drydisk-blacklist.conf')).toBe(
    'blacklist nouveau\nblacklist floppy\n',
  )
})

describe('selinux-mode', () => {
  it('changes the line that decides, and takes contrary kernel arguments away', async () => {
    const guest = await phonyGuest('el9')
    const first = await runTwice(guest, operations['kernel-arg'], {
      changes: [{ action: 'set', argument: 'enforcing=0' }],
    })
    expect(first.changes.length).toBeGreaterThan(0)
    const before = await guest.readText('/etc/selinux/config')
    await runTwice(guest, operations['selinux-mode'], { mode: 'permissive' })
    expect(await guest.readText('/etc/selinux/config')).toBe(
      before.replace(/^SELINUX=enforcing/m, 'SELINUX=permissive'),
    )
    const report = await runTwice(guest, operations['selinux-mode'], { mode: 'enforcing' })
    expect(await guest.readText('/etc/selinux/config')).toBe(before)
    expect(report.changes.some(change => change.before?.includes('enforcing=0'))).toBe(true)
  })

  it('says where there is none', async () => {
    const guest = await memoryGuest(families.debian)
    expect((await runTwice(guest, operations['selinux-mode'], { mode: 'disabled' })).warnings).toHaveLength(1)
    await expect(operations['selinux-mode'].run(guest, { mode: 'enforcing' })).rejects.toMatchObject({
      code: 'ENOENT',
    })
  })

  it('warns of files without labels', async () => {
    const guest = await memoryGuest({
      '/etc/selinux/config': 'SELINUX=disabled # off\nSELINUXTYPE=targeted\n',
    })
    const { warnings } = await runTwice(guest, operations['selinux-mode'], { mode: 'permissive' }).catch(() =>
      operations['selinux-mode'].run(guest, { mode: 'permissive' }),
    )
    expect(await guest.readText('/etc/selinux/config')).toMatch(/^SELINUX=permissive/)
    expect(Array.isArray(warnings)).toBe(true)
  })
})

test('stable-interface-names', async () => {
  const guest = await phonyGuest('el7')
  await guest.mkdir('/etc/udev/rules.d', { recursive: true })
  await guest.symlink('/dev/null', '/etc/udev/rules.d/80-net-name-slot.rules')
  await guest.writeFile('/etc/udev/rules.d/71-biosdevname.rules', '# not hidden\n')
  await operations['kernel-arg'].run(guest, { changes: [{ action: 'set', argument: 'net.ifnames=0' }] })
  const report = await runTwice(guest, operations['stable-interface-names'], {})
  expect(await guest.exists('/etc/udev/rules.d/80-net-name-slot.rules')).toBe(false)
  expect(await guest.exists('/etc/udev/rules.d/71-biosdevname.rules')).toBe(true)
  expect(await guest.readText('/boot/grub2/grub.cfg')).not.toContain('net.ifnames')
  expect(report.changes.length).toBeGreaterThanOrEqual(2)
})

test('journal-to-console', async () => {
  const base = { '/etc/systemd/journald.conf': '[Journal]\n#ForwardToConsole=no\n' }
  const guest = await memoryGuest({
    ...base,
    '/usr/lib/systemd/journald.conf.d/50-x.conf': '[Journal]\nForwardToConsole=no\n',
  })
  expect((await runTwice(guest, operations['journal-to-console'], {})).changes).toEqual([
    {
      setting: 'ForwardToConsole',
      before: 'no',
      after: 'yes',
      file: '/etc/systemd/journald.conf.d/99-zz-drydisk.conf',
      line: 2,
    },
  ])
  const late = await memoryGuest({
    ...base,
    '/etc/systemd/journald.conf.d/zz.conf': '[Journal]\nForwardToConsole=no\n',
  })
  await expect(operations['journal-to-console'].run(late, {})).rejects.toMatchObject({
    code: 'ERR_NOT_EFFECTIVE',
  })
  expect((await runTwice(await memoryGuest({}), operations['journal-to-console'], {})).warnings).toHaveLength(
    1,
  )
})

describe('growroot', () => {
  it('by cloud-init', async () => {
    const guest = await memoryGuest({
      '/etc/cloud/cloud.cfg':
        'cloud_init_modules:\n - seed_random\n - resizefs # keep\ngrowpart: {mode: off, devices: ["/"]}\nresize_rootfs: false\n',
      '/etc/growroot-disabled': '',
      '/usr/bin/growpart': '',
    })
    const report = await runTwice(guest, operations.growroot, {})
    expect(report.changes.map(change => [change.setting, change.after])).toEqual([
      ['growing the root partition', 'allowed'],
      ['cloud-init cloud_init_modules', '["seed_random","growpart","resizefs"]'],
      ['cloud-init growpart.mode', 'auto'],
      ['cloud-init resize_rootfs', 'true'],
    ])
    expect(report.warnings).toEqual([])
  })

  it('by a unit of its own', async () => {
    const guest = await memoryGuest({ '/etc/os-release': 'ID=debian\n', '/lib/systemd/system/x.service': '' })
    const report = await runTwice(guest, operations.growroot, {})
    expect(report.changes).toHaveLength(1)
    expect(report.warnings[0]).toContain('cloud-guest-utils')
    expect((await guest.stat('/usr/local/sbin/drydisk-growroot')).mode & 0o777).toBe(0o755)
    const script = await guest.readText('/usr/local/sbin/drydisk-growroot')
    await runOk('sh', ['-n'], script)
    expect(script).not.toContain('undefined')
  })

  it.each(Object.keys(phonyGuests) as PhonyGuestName[])('%s', async name => {
    await runTwice(await phonyGuest(name), operations.growroot, {})
  })
})

test.each(Object.keys(phonyGuests) as PhonyGuestName[])('%s takes all of them twice', async name => {
  const guest = await phonyGuest(name)
  await runTwice(guest, operations.sysctl, { key: 'vm.swappiness', value: '10' })
  await runTwice(guest, operations['modprobe-blacklist'], { modules: ['nouveau'] })
  await runTwice(guest, operations['stable-interface-names'], {})
  await runTwice(guest, operations['journal-to-console'], {})
  await runTwice(guest, operations['selinux-mode'], { mode: 'disabled' })
  await runTwice(guest, operations['expect-packages'], { packages: ['cloud-init', 'no-such-package'] })
})
