import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { cloudInit } from '../../src/operations/cloud-init.ts'
import { hostname } from '../../src/operations/hostname.ts'
import { operations } from '../../src/operations/index.ts'
import { noZeroconf } from '../../src/operations/no-zeroconf.ts'
import { qemuGa } from '../../src/operations/qemu-ga.ts'
import { readQemuGa, rpcDecision } from '../../src/operations/qemu-ga-lists.ts'
import { timezone } from '../../src/operations/timezone.ts'
import { changedLines, memoryGuest, runTwice, text } from './support/operations.ts'

describe('qemu-ga', () => {
  it('changes the variable that the unit reads', async () => {
    const cases: [Record<string, string>, string, string, string][] = [
      [
        phony.el6,
        '/etc/sysconfig/qemu-ga',
        'BLACKLIST_RPC="guest-file-open,guest-set-user-password,guest-exec"',
        'BLACKLIST_RPC="guest-file-open,guest-exec"',
      ],
      [
        phony.el7,
        '/etc/sysconfig/qemu-ga',
        'BLACKLIST_RPC=guest-file-open,guest-file-close,guest-exec,guest-set-user-password',
        'BLACKLIST_RPC=guest-file-open,guest-file-close,guest-exec',
      ],
      [
        phony.el9,
        '/etc/sysconfig/qemu-ga',
        'guest-ping,guest-fsfreeze-status"',
        'guest-ping,guest-fsfreeze-status,guest-set-user-password,guest-fsfreeze-freeze,guest-fsfreeze-thaw"',
      ],
    ]
    for (const [files, path, from, to] of cases) {
      const guest = await memoryGuest(files)
      const report = await runTwice(guest, qemuGa, {})
      expect(await text(guest, path)).toBe((files[path] ?? '').replace(from, to))
      expect(report.changes[0]).toMatchObject({
        setting: 'qemu-ga guest-set-user-password',
        before: 'blocked',
        after: 'allowed',
        file: path,
      })
    }
  })

  it('finds nothing to do where all is allowed', async () => {
    expect((await runTwice(await memoryGuest(phony.debian), qemuGa, {})).changes).toEqual([])
    expect((await runTwice(await memoryGuest(phony.el8), qemuGa, {})).changes).toEqual([])
  })

  it("uses qemu-ga's own file where the unit reads no other", async () => {
    const guest = await memoryGuest({
      ...phony.debian,
      '/etc/qemu/qemu-ga.conf': '[general]\n# c\nblock-rpcs = guest-exec,guest-set-user-password\n',
    })
    await runTwice(guest, qemuGa, { allow: ['guest-set-user-password'] })
    expect(await text(guest, '/etc/qemu/qemu-ga.conf')).toBe('[general]\n# c\nblock-rpcs = guest-exec\n')
    const fresh = await memoryGuest(phony.debian)
    await runTwice(fresh, qemuGa, { block: ['guest-exec'] })
    expect(await text(fresh, '/etc/qemu/qemu-ga.conf')).toBe('[general]\nblock-rpcs=guest-exec\n')
  })

  it('follows drop-ins, and says when the command line itself decides', async () => {
    const dropIn = '/etc/systemd/system/qemu-guest-agent.service.d/override.conf'
    const guest = await memoryGuest({
      ...phony.el9,
      [dropIn]: '[Service]\nExecStart=\nExecStart=/usr/bin/qemu-ga --block-rpcs=guest-set-user-password\n',
    })
    await expect(qemuGa.run(guest, {})).rejects.toMatchObject({
      code: 'ERR_NOT_EFFECTIVE',
      message: expect.stringContaining(dropIn),
    })
    const other = await memoryGuest({
      ...phony.el9,
      [dropIn]: '[Service]\nEnvironmentFile=\nEnvironmentFile=/etc/other\n',
      '/etc/other': 'FILTER_RPC_ARGS=--block-rpcs=guest-set-user-password,guest-exec\n',
    })
    await runTwice(other, qemuGa, {})
    expect(await text(other, '/etc/other')).toBe('FILTER_RPC_ARGS=--block-rpcs=guest-exec\n')
  })

  it("overrides openSUSE's file under /usr in /etc", async () => {
    const guest = await memoryGuest({
      '/usr/etc/sysconfig/qemu-ga': 'FILTER_RPC_ARGS="--allow-rpcs=guest-ping"\n',
      '/usr/lib/systemd/system/qemu-ga.service':
        '[Service]\nEnvironmentFile=-/usr/etc/sysconfig/qemu-ga\nEnvironmentFile=-/etc/sysconfig/qemu-ga\nExecStart=/usr/bin/qemu-ga $FILTER_RPC_ARGS\n',
      '/etc/sysconfig/other': '',
    })
    await runTwice(guest, qemuGa, { allow: ['guest-exec'] })
    expect(await text(guest, '/etc/sysconfig/qemu-ga')).toBe(
      'FILTER_RPC_ARGS=--allow-rpcs=guest-ping,guest-exec\n',
    )
  })

  it('adds up the lists of the file and of the command line', async () => {
    const conf = '/etc/qemu/qemu-ga.conf'
    const guest = await memoryGuest({
      ...phony.el7,
      [conf]: '[general]\nblock-rpcs=guest-set-user-password,guest-exec\n',
    })
    const report = await runTwice(guest, qemuGa, {})
    expect(report.changes[0]).toMatchObject({ before: 'blocked', after: 'allowed' })
    expect(await text(guest, conf)).toBe('[general]\nblock-rpcs=guest-exec\n')
    expect(await text(guest, '/etc/sysconfig/qemu-ga')).not.toContain('guest-set-user-password')
  })

  it('knows variables of Environment=, and the key that old releases take', async () => {
    const unit = (line: string) => ({
      '/usr/lib/systemd/system/qemu-guest-agent.service': `[Service]\n${line}\nExecStart=/usr/bin/qemu-ga -b $LIST --method=virtio-serial\n`,
    })
    const fixed = await memoryGuest(unit('Environment="LIST=guest-set-user-password"'))
    await expect(qemuGa.run(fixed, {})).rejects.toMatchObject({ code: 'ERR_NOT_EFFECTIVE' })
    const bullseye = await memoryGuest({
      ...phony.debian,
      '/var/lib/dpkg/status':
        'Package: a\nVersion: 1\n\nPackage: qemu-guest-agent\nStatus: install ok installed\nVersion: 1:5.2+dfsg-11\n\n',
    })
    await runTwice(bullseye, qemuGa, { block: ['guest-exec'] })
    expect(await text(bullseye, '/etc/qemu/qemu-ga.conf')).toBe('[general]\nblacklist=guest-exec\n')
  })

  it('blocks by an allow list, and never empties it', async () => {
    const guest = await memoryGuest({
      ...phony.el9,
      '/etc/sysconfig/qemu-ga': 'FILTER_RPC_ARGS="--allow-rpcs=guest-ping,guest-exec"\n',
    })
    await runTwice(guest, qemuGa, { block: ['guest-exec'] })
    expect(await text(guest, '/etc/sysconfig/qemu-ga')).toBe('FILTER_RPC_ARGS="--allow-rpcs=guest-ping"\n')
    await runTwice(guest, qemuGa, { block: ['guest-ping'] })
    expect(await text(guest, '/etc/qemu/qemu-ga.conf')).toBe('[general]\nblock-rpcs=guest-ping\n')
  })

  it('is effective in every whole guest, and with the BLOCK_RPCS of EL 9.3', async () => {
    const commands = ['guest-exec', 'guest-set-user-password']
    const guests: GuestFs[] = []
    for (const name of Object.keys(phonyGuests) as PhonyGuestName[]) guests.push(await phonyGuest(name))
    guests.push(
      await memoryGuest({
        '/etc/sysconfig/qemu-ga': 'BLOCK_RPCS=guest-file-open,guest-exec,guest-set-user-password\n',
        '/usr/lib/systemd/system/qemu-guest-agent.service': `[Service]\nEnvironmentFile=/etc/sysconfig/qemu-ga\nExecStart=/usr/bin/qemu-ga --method=virtio-serial \\\n  --block-rpcs=\${BLOCK_RPCS} -F\${FSFREEZE_HOOK_PATHNAME}\n`,
      }),
    )
    let agents = 0
    for (const guest of guests) {
      if (!(await readQemuGa(guest))) continue
      agents++
      await runTwice(guest, qemuGa, { allow: commands })
      for (const allowed of [true, false]) {
        const state = await readQemuGa(guest)
        for (const command of commands) expect(state && rpcDecision(state, command).allowed).toBe(allowed)
        if (allowed) await runTwice(guest, qemuGa, { block: commands })
      }
    }
    expect(agents).toBeGreaterThan(8)
  })

  it('warns where there is no agent', async () => {
    expect((await qemuGa.run(await memoryGuest(phony.cirros), {})).warnings).toEqual([
      expect.stringContaining('not installed'),
    ])
  })
})

describe('cloud-init', () => {
  it('puts a value where it wins', async () => {
    const guest = await memoryGuest(phony.debian)
    const report = await runTwice(guest, cloudInit, { setting: 'datasource_list=[OpenStack, None]' })
    expect(report.changes).toEqual([
      {
        setting: 'cloud-init datasource_list',
        before: '["NoCloud","ConfigDrive","OpenStack","None"]',
        after: '["OpenStack","None"]',
        file: '/etc/cloud/cloud.cfg.d/99-zz-drydisk.cfg',
        line: 2,
      },
    ])
    expect(await text(guest, '/etc/cloud/cloud.cfg.d/99-zz-drydisk.cfg')).toMatch(
      /\ndatasource_list: \[ OpenStack, None \]\n$/,
    )
    await runTwice(guest, cloudInit, { setting: 'system_info.default_user.lock_passwd=false' })
    await runTwice(guest, cloudInit, { setting: 'datasource_list=ConfigDrive' })
    expect(await text(guest, '/etc/cloud/cloud.cfg')).toBe(phony.debian['/etc/cloud/cloud.cfg'])
  })

  it('wins over a later name, by editing it', async () => {
    const rival = '/etc/cloud/cloud.cfg.d/zzz.cfg'
    const guest = await memoryGuest({ ...phony.debian, [rival]: '# c\ndatasource_list: [ NoCloud ] # why\n' })
    await runTwice(guest, cloudInit, { setting: 'datasource_list=[OpenStack]' })
    // ds-identify takes a comment behind the list for a part of it.
    expect(await text(guest, rival)).toBe('# c\n# why\ndatasource_list: [ OpenStack ]\n')
  })

  it('puts the list on one line for ds-identify', async () => {
    const guest = await memoryGuest({
      '/etc/cloud/cloud.cfg': 'a: 1\n',
      '/etc/cloud/cloud.cfg.d/zzz.cfg': 'datasource_list:\n - OpenStack\n - None\n',
    })
    await runTwice(guest, cloudInit, { setting: 'datasource_list=[OpenStack, None]' })
    expect(await text(guest, '/etc/cloud/cloud.cfg.d/zzz.cfg')).toBe('datasource_list: [ OpenStack, None ]\n')
  })

  it('edits module lists where they stand', async () => {
    const guest = await memoryGuest(phony.debian)
    await runTwice(guest, cloudInit, { setting: 'cloud_init_modules-=seed-random' })
    await runTwice(guest, cloudInit, { setting: 'cloud_init_modules+=ca_certs' })
    expect(
      changedLines(phony.debian['/etc/cloud/cloud.cfg'], await text(guest, '/etc/cloud/cloud.cfg')),
    ).toEqual(['- - seed_random   # early', '+ - ca_certs'])
  })

  it('says what stops it', async () => {
    await expect(cloudInit.run(await memoryGuest(phony.el6), { setting: 'a=b' })).rejects.toThrow(
      /not installed/,
    )
    const off = await memoryGuest({ ...phony.debian, '/etc/cloud/cloud-init.disabled': '' })
    expect((await cloudInit.run(off, { setting: 'a=b' })).warnings).toEqual([
      expect.stringContaining('disabled'),
    ])
    const broken = await memoryGuest({ '/etc/cloud/cloud.cfg': 'a: [1\nb: }\n' })
    await expect(cloudInit.run(broken, { setting: 'a=b' })).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
  })
})

describe('hostname, timezone, no-zeroconf', () => {
  it('renames Debian', async () => {
    const guest = await memoryGuest(phony.debian)
    const report = await runTwice(guest, hostname, { hostname: 'web1.example.com' })
    expect(await text(guest, '/etc/hostname')).toBe('web1.example.com\n')
    expect(await text(guest, '/etc/hosts')).toContain('127.0.1.1\tweb1.example.com\tweb1\n')
    expect(report.warnings).toEqual([expect.stringContaining('cloud-init')])
  })

  it('renames EL6 in its network file, and EL9 in /etc/hostname', async () => {
    const old = await memoryGuest(phony.el6)
    await runTwice(old, hostname, { hostname: 'six' })
    expect(await text(old, '/etc/sysconfig/network')).toBe('NETWORKING=yes\nHOSTNAME=six\n')
    expect(await old.exists('/etc/hostname')).toBe(false)
    const nine = await memoryGuest(phony.el9)
    await runTwice(nine, hostname, { hostname: 'nine' })
    expect(await text(nine, '/etc/hostname')).toBe('nine\n')
  })

  it('sets the time zone by link, and its name on Debian', async () => {
    const guest = await memoryGuest(phony.debian)
    await guest.symlink('../usr/share/zoneinfo/Etc/UTC', '/etc/localtime')
    const report = await runTwice(guest, timezone, { timezone: 'Europe/Berlin' })
    expect(new TextDecoder().decode(await guest.readlink('/etc/localtime'))).toBe(
      '../usr/share/zoneinfo/Europe/Berlin',
    )
    expect(await text(guest, '/etc/timezone')).toBe('Europe/Berlin\n')
    expect(report.changes[0]).toMatchObject({ before: 'Etc/UTC', after: 'Europe/Berlin' })
    await expect(timezone.run(guest, { timezone: 'Mars/Olympus' })).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(timezone.run(guest, { timezone: '../../etc/passwd' })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    })
  })

  it('sets NOZEROCONF where it is read, and says so elsewhere', async () => {
    const guest = await memoryGuest(phony.el6)
    await runTwice(guest, noZeroconf, {})
    expect(await text(guest, '/etc/sysconfig/network')).toMatch(/\nNOZEROCONF=yes\n$/)
    const debian = await runTwice(await memoryGuest(phony.debian), noZeroconf, {})
    expect(debian.changes).toEqual([])
    expect(debian.warnings).toEqual([expect.stringContaining('does nothing')])
    expect((await noZeroconf.run(await memoryGuest(phony.el9), {})).warnings).toEqual([
      expect.stringContaining('not configured by network scripts'),
    ])
  })
})

it('every operation is listed under its own name, with a line of help', () => {
  for (const [name, operation] of Object.entries(operations)) {
    expect(operation.name).toBe(name)
    expect(operation.summary).toMatch(/^[A-Z].*[^.]$/)
  }
})
