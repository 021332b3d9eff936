import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import { dsIdentifyList, tidyDatasourceLines } from '../../src/config/cloud-config.ts'
import { cleanCloudInit, cloudInitClean } from '../../src/operations/cloud-init-clean.ts'
import { cloudInitDatasources, cloudInitUser } from '../../src/operations/cloud-init-settings.ts'
import {
  readCloudInitBlocks,
  readDatasources,
  readRootGrowth,
} from '../../src/operations/cloud-init-state.ts'
import { cloudInitUnblock } from '../../src/operations/cloud-init-unblock.ts'
import { ReportBuilder } from '../../src/operations/report.ts'
import { sshd } from '../../src/operations/sshd.ts'
import { haveTool, propertySettings, runOk, temporaryFolder } from '../support/native.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

const DS_IDENTIFY = '/usr/lib/cloud-init/ds-identify'
const DROP_IN = '/etc/cloud/cloud.cfg.d/99-zz-drydisk.cfg'

/** The words that ds-identify itself takes from each text. */
async function byDsIdentify(texts: readonly string[]): Promise<string[]> {
  const folder = temporaryFolder()
  texts.forEach((content, i) => {
    writeFileSync(join(folder, String(i).padStart(4, '0')), content)
  })
  const script = `DI_MAIN=noop; DI_LOG=/dev/null; . ${DS_IDENTIFY} >/dev/null 2>&1; set +e +u
    PATH_ETC_CI_CFG_D=/nonexistent; DI_DSLIST_DEFAULT='(none)'; DI_KERNEL_CMDLINE=''; DI_DSNAME=''
    debug() { :; }
    set +f; for f in ${folder}/*; do set -f; PATH_ETC_CI_CFG=$f; DI_DSLIST=''; read_datasource_list; printf '%s\\n' "$DI_DSLIST"; done`
  return (await runOk('sh', ['-c', script])).trimEnd().split('\n')
}

describe('ds-identify', () => {
  const expected = (source: string) => {
    const list = dsIdentifyList(source)
    return list === undefined || list.length === 0 ? '(none)' : list.join(' ')
  }
  it.skipIf(!existsSync(DS_IDENTIFY))('is read as it reads (property)', async () => {
    const piece = fc.constantFrom(
      '[',
      ']',
      ' ',
      '  ',
      ',',
      'A',
      'None',
      "'B'",
      '"C"',
      '#',
      '# x',
      '\t',
      'D E',
    )
    const line = fc.record({
      before: fc.constantFrom('', ' ', '#', '  - '),
      key: fc.constantFrom(
        'datasource_list:',
        'datasource_list: ',
        'datasource_list : ',
        'datasource_lists: ',
      ),
      value: fc.array(piece, { maxLength: 8 }).map(pieces => pieces.join('')),
    })
    const source = fc
      .array(line, { minLength: 1, maxLength: 3 })
      .map(lines => lines.map(({ before, key, value }) => `${before}${key}${value}\n`).join(''))
    const texts = fc.sample(source, { numRuns: 200, seed: propertySettings(1).seed ?? 1 })
    texts.push('datasource_list: [ NoCloud, None ]\n', 'datasource_list: [ NoCloud ] # why\n')
    const seen = await byDsIdentify(texts)
    texts.forEach((content, i) => {
      // An empty item leaves a blank more; the list is taken word by word (`for ds in ${DI_DSLIST}`).
      expect(expected(content), JSON.stringify(content)).toBe(
        seen[i]?.trim().replace(/\s+/g, ' ') || '(none)',
      )
    })
  })

  it('is given lines that it can read', () => {
    const tidy = 'a: 1\n# why\ndatasource_list: [ A, B ]\n'
    expect(tidyDatasourceLines('a: 1\ndatasource_list:   [ A, B ]   # why\n')).toBe(tidy)
    expect(tidyDatasourceLines(tidy)).toBe(tidy)
    expect(dsIdentifyList(tidy)).toEqual(['A', 'B'])
  })
})

describe('cloud-init-datasources, cloud-init-user', () => {
  const families: PhonyGuestName[] = ['debian', 'ubuntu', 'el8', 'el9', 'fedora', 'leap']
  it('are effective in every family', async () => {
    for (const family of families) {
      const guest = await phonyGuest(family)
      await runTwice(guest, cloudInitDatasources, { datasources: ['openstack', 'ConfigDrive', 'None'] })
      await runTwice(guest, cloudInitUser, { user: 'cloud' })
      const list = ['OpenStack', 'ConfigDrive', 'None']
      expect(await readDatasources(guest)).toMatchObject({ list, seenByDsIdentify: list, overrides: [] })
      const made = await text(guest, DROP_IN)
      if (family === 'debian' && haveTool('python3')) {
        const file = join(temporaryFolder(), 'made.cfg')
        writeFileSync(file, made)
        const read = await runOk('/usr/bin/python3', [
          '-c',
          'import yaml,sys,json;print(json.dumps(yaml.safe_load(open(sys.argv[1]))))',
          file,
        ])
        expect(JSON.parse(read)).toEqual({
          datasource_list: list,
          system_info: { default_user: { name: 'cloud' } },
        })
      }
    }
  })

  it.skipIf(!haveTool('cloud-init'))("are written as cloud-init's schema has them", async () => {
    const guest = await phonyGuest('debian')
    await cloudInitDatasources.run(guest, { datasources: ['OpenStack', 'None'] })
    await cloudInitUser.run(guest, { user: 'cloud' })
    await sshd.run(guest, { keyword: 'PasswordAuthentication', value: 'yes' })
    await sshd.run(guest, { keyword: 'PermitRootLogin', value: 'yes' })
    const file = join(temporaryFolder(), 'config.yaml')
    writeFileSync(file, `#cloud-config\n${await text(guest, DROP_IN)}`)
    expect(await runOk('cloud-init', ['schema', '--config-file', file])).toMatch(/Valid/)
  })

  it('say what is wrong', async () => {
    const guest = await phonyGuest('debian')
    for (const datasources of [[], ['Openstak']])
      await expect(cloudInitDatasources.run(guest, { datasources })).rejects.toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
      })
    for (const user of ['', 'Root', 'a b', 'yes', '-a'])
      await expect(cloudInitUser.run(guest, { user })).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
    await expect(cloudInitUser.run(await memoryGuest({}), { user: 'a' })).rejects.toMatchObject({
      code: 'ENOENT',
    })
    const fixed = await memoryGuest({
      '/etc/cloud/cloud.cfg': 'users:\n - name: me\n',
      '/etc/cloud/ds-identify.cfg': 'datasource: Ec2\n',
    })
    expect((await cloudInitUser.run(fixed, { user: 'a' })).warnings).toEqual([
      expect.stringContaining('cloud.cfg:1'),
    ])
    expect((await cloudInitDatasources.run(fixed, { datasources: ['None'] })).warnings).toEqual([
      expect.stringContaining('ds-identify.cfg:1'),
    ])
  })
})

describe('cloud-init-unblock', () => {
  it('removes what blocks, and leaves what a person may have wanted', async () => {
    const guest = await phonyGuest('ubuntu', {
      '/etc/cloud/cloud-init.disabled': '',
      '/etc/cloud/ds-identify.cfg': '# mine\npolicy: disabled\n',
      '/etc/cloud/cloud.cfg.d/99-installer.cfg': 'datasource_list: [None]\n',
      '/etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg': 'network: {config: disabled}\n',
      '/etc/cloud/cloud.cfg.d/99-mine.cfg': '# mine\nnetwork: {config: disabled}\n',
      '/usr/lib/systemd/system/cloud-final.service': '[Install]\nWantedBy=cloud-init.target\n',
      '/usr/lib/systemd/system/cloud-config.service': '[Install]\nWantedBy=cloud-init.target\n',
    })
    await guest.symlink('/dev/null', '/etc/systemd/system/cloud-final.service')
    const before = await readCloudInitBlocks(guest)
    expect(before.filter(block => block.blocks === 'all').map(block => block.mend?.kind)).toContain('unmask')
    const report = await runTwice(guest, cloudInitUnblock, {})
    expect(report.warnings).toContainEqual(expect.stringContaining('99-mine.cfg:2'))
    expect((await readCloudInitBlocks(guest)).map(block => block.blocks)).toEqual(['network'])
    expect(await text(guest, '/etc/cloud/ds-identify.cfg')).toBe('# mine\n#policy: disabled\n')
    expect(await guest.exists('/etc/cloud/cloud.cfg.d/99-installer.cfg')).toBe(false)
    expect(await guest.exists('/etc/systemd/system/cloud-init.target.wants/cloud-final.service')).toBe(true)
  })

  it('takes the kernel argument away', async () => {
    const guest = await phonyGuest('debian')
    const path = '/boot/grub/grub.cfg'
    await guest.writeFile(path, (await text(guest, path)).replaceAll(' quiet', ' quiet cloud-init=disabled'))
    expect((await readCloudInitBlocks(guest)).length).toBeGreaterThan(0)
    await runTwice(guest, cloudInitUnblock, {})
    expect(await readCloudInitBlocks(guest)).toEqual([])
    expect(await text(guest, path)).not.toContain('cloud-init=')
  })

  it('finds nothing in guests as they are made', async () => {
    for (const name of Object.keys(phonyGuests) as PhonyGuestName[])
      expect(
        (await readCloudInitBlocks(await phonyGuest(name))).filter(block => block.blocks === 'all'),
        name,
      ).toEqual([])
  })
})

describe('cloud-init-clean', () => {
  it('removes state, logs and what was generated, and the seed only when asked', async () => {
    const header = '# Created by cloud-init automatically, do not edit.\n#\nBOOTPROTO=dhcp\n'
    const guest = await memoryGuest({
      '/etc/cloud/cloud.cfg': 'disable_root: true\n',
      '/var/lib/cloud/data/instance-id': 'i-1',
      '/var/lib/cloud/seed/nocloud/meta-data': '',
      '/var/log/cloud-init.log': 'x',
      '/var/log/cloud-init-output.log.1.gz': 'x',
      '/var/log/other.log': 'x',
      '/etc/netplan/50-cloud-init.yaml': 'network: {}\n',
      '/etc/netplan/01-mine.yaml': 'network: {}\n',
      '/etc/sysconfig/network-scripts/ifcfg-eth0': header,
      '/etc/sysconfig/network-scripts/ifcfg-eth1': 'BOOTPROTO=dhcp\n',
      '/etc/ssh/sshd_config': 'Include /etc/ssh/sshd_config.d/*.conf\n',
      '/etc/ssh/sshd_config.d/50-cloud-init.conf': 'PasswordAuthentication no\n',
      '/etc/fstab':
        'UUID=1 / ext4 defaults 0 1\n/dev/vdb /mnt auto defaults,nofail,comment=cloudconfig 0 2\n',
    })
    await guest.symlink('/var/lib/cloud/instances/i-1', '/var/lib/cloud/instance')
    const report = await runTwice(guest, cloudInitClean, {})
    expect(report.warnings).toEqual([expect.stringContaining('forbade')])
    for (const [path, there] of [
      ['/var/lib/cloud/data', false],
      ['/var/lib/cloud/seed/nocloud/meta-data', true],
      ['/var/log/cloud-init-output.log.1.gz', false],
      ['/var/log/other.log', true],
      ['/etc/netplan/50-cloud-init.yaml', false],
      ['/etc/netplan/01-mine.yaml', true],
      ['/etc/sysconfig/network-scripts/ifcfg-eth0', false],
      ['/etc/sysconfig/network-scripts/ifcfg-eth1', true],
      ['/etc/ssh/sshd_config.d/50-cloud-init.conf', false],
    ] as const)
      expect(await guest.exists(path), path).toBe(there)
    expect(await text(guest, '/etc/fstab')).toBe('UUID=1 / ext4 defaults 0 1\n')
    await runTwice(guest, cloudInitClean, { seed: true })
    expect(await guest.readdir('/var/lib/cloud')).toEqual([])
  })

  it('is not led astray by the place of the state', async () => {
    for (const folder of ['/', '/etc', '/var/lib/..', '/var/lib/../../etc', '7']) {
      const guest = await memoryGuest({
        '/etc/cloud/cloud.cfg': `system_info:\n  paths:\n    cloud_dir: "${folder}"\n`,
        '/etc/passwd': 'root:x:0:0::/root:/bin/sh\n',
      })
      const report = new ReportBuilder('test')
      await cleanCloudInit(guest, report)
      expect(report.build().changes).toEqual([])
      expect(report.build().warnings.length).toBe(1)
    }
  })
})

it('does not follow a symlink in place of the state', async () => {
  const guest = await memoryGuest({
    '/etc/passwd': 'x\n',
    '/etc/cloud/cloud.cfg': 'a: 1\n',
    '/var/lib/x': '',
  })
  await guest.symlink('/etc', '/var/lib/cloud')
  expect((await cloudInitClean.run(guest, { seed: true })).changes).toEqual([])
  expect(await guest.exists('/etc/passwd')).toBe(true)
})

it('knows whether the root grows', async () => {
  const guest = await phonyGuest('debian')
  expect(await readRootGrowth(guest)).toMatchObject({ growpart: { runs: true }, resizefs: { runs: true } })
  const off = await memoryGuest({
    '/etc/cloud/cloud.cfg': 'cloud_init_modules: [resizefs, [growpart, always]]\n',
    '/etc/cloud/cloud.cfg.d/a.cfg': 'growpart:\n  mode: off\n',
    '/usr/bin/growpart': '',
  })
  expect(await readRootGrowth(off)).toEqual({
    inOrder: false,
    growpart: { runs: false, file: '/etc/cloud/cloud.cfg.d/a.cfg', line: 2 },
    resizefs: { runs: true, file: '/etc/cloud/cloud.cfg', line: 1 },
    tool: '/usr/bin/growpart',
  })
})
