import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import { networkDhcp } from '../../src/operations/network/dhcp.ts'
import { readNetworkStacks } from '../../src/operations/network/stack.ts'
import { networkUnpin } from '../../src/operations/network/unpin.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

const SCRIPTS = '/etc/sysconfig/network-scripts'
/** Only what tells the family: the whole guests of the fixtures have network configuration of their own. */
const bare = {
  el6: { '/etc/redhat-release': 'CentOS release 6.10 (Final)\n' },
  el7: { '/etc/os-release': 'ID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="7"\n' },
  el8: { '/etc/os-release': 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="8.9"\n' },
  el9: { '/etc/os-release': 'ID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n' },
  el10: { '/etc/os-release': 'ID="rhel"\nVERSION_ID="10.0"\n' },
  ubuntu: { '/etc/os-release': 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"\n' },
  debian: { '/etc/os-release': 'ID=debian\nVERSION_ID="12"\n', '/etc/cloud/cloud.cfg': '' },
  alpine: { '/etc/os-release': 'ID=alpine\nVERSION_ID=3.19.0\n' },
  cirros: { '/etc/cirros/version': '0.6.2\n' },
}
const MAC = '52:54:00:12:34:56'
const STATIC = `TYPE=Ethernet
# by the installer
DEVICE="eth0"
BOOTPROTO=none
HWADDR=${MAC}
UUID="5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03"
IPADDR=192.0.2.7
PREFIX=24
GATEWAY=192.0.2.1
DNS1=192.0.2.53
ONBOOT=no
`

async function kinds(files: Record<string, string>): Promise<string[]> {
  return (await readNetworkStacks(await memoryGuest(files))).map(stack => stack.kind)
}

describe('the stack in use', () => {
  it('is what is enabled, or what the family uses', async () => {
    expect(await kinds(bare.el6)).toEqual(['network-scripts'])
    expect(await kinds({ ...bare.el7, [`${SCRIPTS}/ifcfg-lo`]: '' })).toEqual(['network-manager'])
    expect(await kinds({ ...bare.el7, '/etc/init.d/network': '' })).toEqual(['network-scripts'])
    expect(await kinds(bare.el10)).toEqual(['network-manager'])
    expect(await kinds(bare.ubuntu)).toEqual(['netplan'])
    expect(await kinds({ ...bare.debian, '/etc/network/interfaces': '' })).toEqual(['ifupdown'])
    expect(await kinds(bare.alpine)).toEqual(['ifupdown'])
    expect(await kinds(bare.cirros)).toEqual(['ifupdown'])
    expect(await kinds({ '/etc/sysconfig/network/config': '', '/etc/os-release': 'ID="sles"\n' })).toEqual([
      'wicked',
    ])
    expect(await kinds({})).toEqual([])
  })

  it('is found in every whole guest', async () => {
    const found: Record<string, string> = {}
    for (const [name, files] of Object.entries(phony.families))
      found[name] = (await kinds(files as Record<string, string>))[0] ?? ''
    expect(found).toMatchObject({
      el6: 'network-scripts',
      el10: 'network-manager',
      ubuntu: 'netplan',
      alpine: 'ifupdown',
      cirros: 'ifupdown',
    })
  })

  it('follows links of systemd, and its masks', async () => {
    const guest = await memoryGuest({ ...bare.el9, '/usr/lib/systemd/system/NetworkManager.service': '' })
    const wants = '/etc/systemd/system/multi-user.target.wants'
    await guest.mkdir(wants, { recursive: true })
    await guest.symlink('/usr/lib/systemd/system/NetworkManager.service', `${wants}/NetworkManager.service`)
    await guest.symlink(
      '/usr/lib/systemd/system/systemd-networkd.service',
      `${wants}/systemd-networkd.service`,
    )
    expect(await readNetworkStacks(guest)).toEqual([
      { kind: 'network-manager', because: `${wants}/NetworkManager.service`, readsIfcfg: false },
      { kind: 'networkd', because: `${wants}/systemd-networkd.service` },
    ])
    await guest.symlink('/dev/null', '/etc/systemd/system/NetworkManager.service')
    expect((await readNetworkStacks(guest)).map(stack => stack.kind)).toEqual(['networkd'])
  })
})

describe('network-dhcp', () => {
  it('rewrites ifcfg files of EL', async () => {
    for (const family of [bare.el6, bare.el7, bare.el8, bare.el9]) {
      const guest = await memoryGuest({
        ...family,
        [`${SCRIPTS}/ifcfg-eth0`]: STATIC,
        [`${SCRIPTS}/ifcfg-eth0.bak`]: STATIC,
        [`${SCRIPTS}/ifcfg-bond0`]: 'DEVICE=bond0\nBOOTPROTO=none\nIPADDR=192.0.2.8\n',
        [`${SCRIPTS}/ifcfg-lo`]: 'DEVICE=lo\nIPADDR=127.0.0.1\n',
      })
      const report = await runTwice(guest, networkDhcp, {})
      expect(await text(guest, `${SCRIPTS}/ifcfg-eth0`)).toBe(
        'TYPE=Ethernet\n# by the installer\nDEVICE="eth0"\nBOOTPROTO=dhcp\nDNS1=192.0.2.53\nONBOOT=yes\n',
      )
      expect(await text(guest, `${SCRIPTS}/ifcfg-bond0`)).toContain('192.0.2.8')
      expect(await text(guest, `${SCRIPTS}/ifcfg-eth0.bak`)).toBe(STATIC)
      expect(report.changes).toContainEqual(
        expect.objectContaining({ setting: 'BOOTPROTO of eth0', before: 'none', after: 'dhcp', line: 4 }),
      )
    }
  })

  it('makes what is missing where the stack reads it', async () => {
    const cases: [Record<string, string>, string | undefined, string, string][] = [
      [
        bare.el6,
        undefined,
        `${SCRIPTS}/ifcfg-eth0`,
        'DEVICE=eth0\nTYPE=Ethernet\nONBOOT=yes\nBOOTPROTO=dhcp\n',
      ],
      [
        bare.el10,
        'ens3',
        '/etc/NetworkManager/system-connections/drydisk-ens3.nmconnection',
        '[connection]\nid=Wired DHCP ens3\ntype=ethernet\ninterface-name=ens3\n\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n',
      ],
      [
        bare.alpine,
        undefined,
        '/etc/network/interfaces',
        'auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n',
      ],
      [
        bare.cirros,
        'eth1',
        '/etc/network/interfaces',
        'auto lo\niface lo inet loopback\n\nauto eth1\niface eth1 inet dhcp\n',
      ],
      [
        { '/etc/os-release': 'ID=sles\n', '/etc/sysconfig/network/config': '' },
        undefined,
        '/etc/sysconfig/network/ifcfg-eth0',
        "BOOTPROTO='dhcp'\nSTARTMODE='auto'\n",
      ],
      [
        { '/usr/lib/systemd/system/x': '', '/etc/systemd/network/README': '' },
        undefined,
        '/etc/systemd/network/05-drydisk-dhcp.network',
        '[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n',
      ],
    ]
    for (const [files, wanted, path, content] of cases) {
      const guest = await memoryGuest(files)
      await runTwice(guest, networkDhcp, wanted === undefined ? {} : { interface: wanted })
      expect(await text(guest, path)).toBe(content)
      if (path.endsWith('.nmconnection')) expect((await guest.stat(path)).mode & 0o777).toBe(0o600)
    }
  })

  it("edits NetworkManager's keyfiles, and makes them private", async () => {
    const path = '/etc/NetworkManager/system-connections/ens3.nmconnection'
    const guest = await memoryGuest({
      ...bare.el10,
      [path]: `[connection]
id=ens3
uuid=1f0a
type=ethernet
interface-name=ens3
autoconnect=false

[ethernet]
mac-address=${MAC}
mtu=1400

[ipv4]
address1=192.0.2.7/24,192.0.2.1
dns=192.0.2.53;
method=manual
`,
    })
    const report = await runTwice(guest, networkDhcp, { interface: 'ens3' })
    expect(await text(guest, path)).toBe(
      '[connection]\nid=ens3\ntype=ethernet\ninterface-name=ens3\n\n[ethernet]\nmtu=1400\n\n[ipv4]\ndns=192.0.2.53;\nmethod=auto\n',
    )
    expect((await guest.stat(path)).mode & 0o777).toBe(0o600)
    expect(report.changes.at(-1)).toMatchObject({ before: '0644', after: '0600' })
  })

  it("edits Debian's interfaces with all that they source", async () => {
    const main = `source /etc/network/interfaces.d/*
auto lo
iface lo inet loopback
# the first
allow-hotplug ens3
iface ens3 inet static
	address 192.0.2.7/24
	gateway 192.0.2.1
	hwaddress ether ${MAC}
	dns-nameservers 192.0.2.53 \\
		192.0.2.54
	up echo hello
`
    const guest = await memoryGuest({
      ...bare.debian,
      '/etc/network/interfaces': main,
      '/etc/network/interfaces.d/more':
        'iface ens4 inet static\n  address 192.0.2.9\n  netmask 255.255.255.0\n',
    })
    const report = await runTwice(guest, networkDhcp, {})
    expect(await text(guest, '/etc/network/interfaces')).toBe(
      `${main.replace('inet static', 'inet dhcp').replace(/\taddress .*\n\tgateway .*\n\thwaddress .*\n/, '')}\nauto ens4\n`,
    )
    expect(await text(guest, '/etc/network/interfaces.d/more')).toBe('iface ens4 inet dhcp\n')
    expect(report.warnings).toEqual([expect.stringContaining('cloud-init')])
    await expect(
      networkDhcp.run(
        await memoryGuest({ '/etc/os-release': 'ID=debian\n', '/etc/network/interfaces': '' }),
        {},
      ),
    ).rejects.toThrow(/say which/)
    await runTwice(guest, networkDhcp, { interface: 'ens9' })
    expect(await text(guest, '/etc/network/interfaces')).toMatch(/\nauto ens9\niface ens9 inet dhcp\n$/)
  })

  const plan = `# by the installer
network:
  version: 2
  ethernets:
    ens3:
      match:
        macaddress: ${MAC}
      set-name: ens3
      addresses:
        - 192.0.2.7/24
      gateway4: 192.0.2.1
      nameservers: {addresses: [192.0.2.53]}
    wan:
      match: {macaddress: "52:54:00:12:34:57"}
      dhcp4: yes
`
  const generate = async (texts: Record<string, string>) => {
    const root = temporaryFolder()
    mkdirSync(join(root, 'etc/netplan'), { recursive: true })
    for (const [name, content] of Object.entries(texts)) {
      writeFileSync(join(root, 'etc/netplan', name), content)
      chmodSync(join(root, 'etc/netplan', name), 0o600)
    }
    await runOk('netplan', ['generate', '--root-dir', root])
    const folder = join(root, 'run/systemd/network')
    return Object.fromEntries(
      readdirSync(folder).map(name => [name, readFileSync(join(folder, name), 'utf8')]),
    )
  }

  it('edits netplan, as netplan itself reads it', async () => {
    const path = '/etc/netplan/00-installer-config.yaml'
    const guest = await memoryGuest({ ...bare.ubuntu, [path]: plan })
    await runTwice(guest, networkDhcp, {})
    const after = await text(guest, path)
    expect(after).toBe(`# by the installer
network:
  version: 2
  ethernets:
    ens3:
      nameservers: {addresses: [192.0.2.53]}
      dhcp4: true
    wan:
      match: { name: e* }
      dhcp4: yes
`)
    if (haveTool('netplan')) {
      const units = await generate({ 'a.yaml': after })
      expect(units['10-netplan-ens3.network']).toMatch(/\[Match\]\nName=ens3\n[\s\S]*DHCP=ipv4/)
      expect(units['10-netplan-wan.network']).toMatch(/\[Match\]\nName=e\*\n[\s\S]*DHCP=ipv4/)
      expect(JSON.stringify(units)).not.toMatch(/52:54|192\.0\.2\.[17]\b/)
    }
    const fresh = await memoryGuest(bare.ubuntu)
    await runTwice(fresh, networkDhcp, {})
    const made = '/etc/netplan/90-drydisk.yaml'
    expect((await fresh.stat(made)).mode & 0o777).toBe(0o600)
    if (haveTool('netplan'))
      expect(
        (await generate({ 'b.yaml': await text(fresh, made) }))['10-netplan-all-ethernets.network'],
      ).toMatch(/\[Match\]\nName=e\*\n[\s\S]*DHCP=ipv4/)
  })

  it('edits networkd, and comes before what else matches', async () => {
    const path = '/etc/systemd/network/20-wired.network'
    const before = `[Match]\nMACAddress=${MAC}\n\n[Network]\nAddress=192.0.2.7/24\nGateway=192.0.2.1\nDNS=192.0.2.53\n\n[Route]\nGateway=192.0.2.1\n`
    const files = { '/usr/lib/systemd/system/x': '', [path]: before }
    const guest = await memoryGuest(files)
    await runTwice(guest, networkDhcp, {})
    expect(await text(guest, path)).toBe('[Match]\nName=en* eth*\n\n[Network]\nDNS=192.0.2.53\nDHCP=yes\n\n')
    const other = await memoryGuest({ ...files, [path]: '[Match]\nName=e*\n[Network]\nDHCP=no\n' })
    await runTwice(other, networkDhcp, { interface: 'eth0' })
    expect(await text(other, path)).toBe('[Match]\nName=e*\n[Network]\nDHCP=yes\n')
  })

  it('makes nothing where DHCP comes of itself', async () => {
    const server = '/usr/lib/NetworkManager/conf.d/00-server.conf'
    const profile = '/etc/NetworkManager/system-connections/drydisk-dhcp.nmconnection'
    const plain = await memoryGuest(bare.el10)
    expect((await runTwice(plain, networkDhcp, {})).changes).toEqual([])
    const closed = await memoryGuest({ ...bare.el10, [server]: '[main]\nno-auto-default=*\n' })
    await runTwice(closed, networkDhcp, {})
    expect(await text(closed, profile)).toContain('\nmulti-connect=3\n')
    for (const files of [
      bare.ubuntu,
      bare.debian,
      { ...bare.el10, [server]: '[main]\nno-auto-default=*\n' },
    ]) {
      const report = await runTwice(
        await memoryGuest({ ...files, '/etc/cloud/cloud.cfg': '' }),
        networkDhcp,
        {},
      )
      expect(report.changes).toEqual([])
      expect(report.warnings).toContainEqual(expect.stringContaining('cloud-init'))
    }
  })

  it('says what is wrong', async () => {
    await expect(networkDhcp.run(await memoryGuest({}), {})).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
    })
    for (const name of ['', 'a b', 'eth0/..', 'x'.repeat(16)])
      await expect(networkDhcp.run(await memoryGuest(bare.el6), { interface: name })).rejects.toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
      })
  })
})

describe('network-unpin', () => {
  it('takes MAC addresses out everywhere, and nothing else', async () => {
    const rules = '/etc/udev/rules.d/70-persistent-net.rules'
    const own = '/etc/udev/rules.d/80-mine.rules'
    const profile = '/etc/NetworkManager/system-connections/a.nmconnection'
    const rule = `SUBSYSTEM=="net", ACTION=="add", ATTR{address}=="${MAC}", ATTR{type}=="1", NAME="eth0"\n`
    const guest = await memoryGuest({
      [rules]: `# generated\n\n${rule}`,
      [own]: `KERNEL=="sda", NAME="x"\n${rule}`,
      [`${SCRIPTS}/ifcfg-Wired`]: `HWADDR=${MAC}\nBOOTPROTO=static\nIPADDR=192.0.2.7\n`,
      '/etc/sysconfig/network/ifcfg-eth0': `BOOTPROTO='static'\nLLADDR='${MAC}'\n`,
      [profile]: `[connection]\ntype=ethernet\n[ethernet]\nmac-address=${MAC}\ncloned-mac-address=random\n`,
      '/etc/netplan/a.yaml': `network:\n  ethernets:\n    id0:\n      match:\n        macaddress: "${MAC}"\n        driver: virtio_net\n      addresses: [192.0.2.7/24]\n`,
      '/etc/systemd/network/10-a.link': `[Match]\nMACAddress=${MAC}\n[Link]\nName=wan0\n`,
      '/etc/network/interfaces': `iface eth0 inet static\n  address 192.0.2.7\n  hwaddress ether ${MAC}\n`,
    })
    const report = await runTwice(guest, networkUnpin, {})
    expect(await guest.exists(rules)).toBe(false)
    expect(await text(guest, own)).toBe('KERNEL=="sda", NAME="x"\n')
    expect(await text(guest, `${SCRIPTS}/ifcfg-Wired`)).toBe('BOOTPROTO=static\nIPADDR=192.0.2.7\n')
    expect(await text(guest, '/etc/sysconfig/network/ifcfg-eth0')).toBe("BOOTPROTO='static'\n")
    expect(await text(guest, profile)).toBe(
      '[connection]\ntype=ethernet\n[ethernet]\ncloned-mac-address=random\n',
    )
    expect(await text(guest, '/etc/netplan/a.yaml')).toBe(
      'network:\n  ethernets:\n    id0:\n      match:\n        driver: virtio_net\n      addresses: [192.0.2.7/24]\n',
    )
    expect(await guest.exists('/etc/systemd/network/10-a.link')).toBe(false)
    expect(await text(guest, '/etc/network/interfaces')).toBe('iface eth0 inet static\n  address 192.0.2.7\n')
    expect(report.changes.length).toBe(9)
  })

  it('leaves a guest without any alone', async () => {
    for (const files of Object.values(bare))
      expect((await runTwice(await memoryGuest(files), networkUnpin, {})).changes).toEqual([])
  })
})
