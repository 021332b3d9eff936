import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { CloudConfig } from '../cloud-config-of-guest.ts'
import { readConfig } from '../guest-files.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { dhcpByIfcfg } from './ifcfg.ts'
import { dhcpByInterfaces, unpinUdevRules } from './ifupdown.ts'
import { dhcpByKeyfiles, makeDhcpProfile, noAutoDefault } from './keyfiles.ts'
import { dhcpByNetplan } from './netplan.ts'
import { dhcpByNetworkd } from './networkd.ts'
import { IFCFG_FOLDER, type NetworkStack, readNetworkStacks, SUSE_FOLDER } from './stack.ts'

/** Arguments of the operation `network-dhcp`. */
export interface NetworkDhcpArguments {
  /** Every Ethernet interface when left out. */
  readonly interface?: string
}

const STACK_NAMES = {
  netplan: 'netplan',
  'network-manager': 'NetworkManager',
  'network-scripts': 'network scripts',
  wicked: 'wicked',
  ifupdown: 'ifupdown',
  networkd: 'systemd-networkd',
} as const

function checkInterface({ interface: wanted }: NetworkDhcpArguments): void {
  // IFNAMSIZ of Linux: 15 bytes; no blanks and no slash, and what configuration languages take for their own is left out too.
  if (wanted !== undefined && !/^[A-Za-z0-9_.-]{1,15}$/.test(wanted))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(wanted)} is not the name of an interface; expected one such as eth0`,
    )
}

export const networkDhcp: Operation<NetworkDhcpArguments> = {
  name: 'network-dhcp',
  summary: 'Configure an interface, or all of them, by DHCP, with no fixed address or MAC left',
  check: checkInterface,
  async run(guest, { interface: wanted }) {
    const report = new ReportBuilder('network-dhcp')
    checkInterface(wanted === undefined ? {} : { interface: wanted })
    const [stack, ...others] = await readNetworkStacks(guest)
    if (!stack)
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        'nothing known configures the network of this guest; looked for netplan, NetworkManager, network scripts, wicked, ifupdown and systemd-networkd',
      )
    const byCloudInit = await cloudInitConfigures(guest)
    // Where nothing is configured, what cloud-init writes at first boot needs no help; a named interface was asked for.
    await configure(guest, stack, wanted, wanted !== undefined || !byCloudInit, report)
    // A rule that gives the old card's MAC the name eth0 leaves eth1 for the new one.
    await unpinUdevRules(guest, report)
    const rivals = others.filter(other => !(stack.kind === 'netplan' && worksForNetplan(other)))
    for (const other of rivals)
      report.warn(
        `${STACK_NAMES[other.kind]} is in use too (${other.because}); only the configuration of ${STACK_NAMES[stack.kind]} was changed`,
      )
    if (byCloudInit)
      report.warn(
        'cloud-init configures the network of each new instance as its datasource says, and by DHCP where that says nothing; `cloud-init "network={config: disabled}"` keeps what is written here alone',
      )
    return report.build()
  },
}

function worksForNetplan(stack: NetworkStack): boolean {
  return stack.kind === 'networkd' || stack.kind === 'network-manager'
}

async function configure(
  guest: GuestFs,
  stack: NetworkStack,
  wanted: string | undefined,
  make: boolean,
  report: ReportBuilder,
): Promise<void> {
  switch (stack.kind) {
    case 'netplan':
      await dhcpByNetplan(guest, wanted, make, report)
      return
    case 'networkd':
      await dhcpByNetworkd(guest, wanted, make, report)
      return
    case 'network-scripts':
      await dhcpByIfcfg(guest, IFCFG_FOLDER, wanted, true, report)
      return
    case 'wicked':
      await dhcpByIfcfg(guest, SUSE_FOLDER, wanted, true, report)
      return
    case 'network-manager': {
      const files = stack.readsIfcfg ? await dhcpByIfcfg(guest, IFCFG_FOLDER, wanted, false, report) : 0
      const profiles = await dhcpByKeyfiles(guest, wanted, report)
      if (files + profiles > 0 || !make) return
      // Of itself it does DHCP on every wired interface that has no profile.
      const forbidden = wanted === undefined ? await noAutoDefault(guest) : undefined
      if (wanted !== undefined || forbidden) await makeDhcpProfile(guest, wanted, report)
      else report.keep('every wired interface', 'DHCP by NetworkManager of itself', stack.because)
      return
    }
    case 'ifupdown': {
      if ((await dhcpByInterfaces(guest, wanted, report)) > 0 || !make) return
      // Alpine and CirrOS do not rename interfaces; Debian does, unless its kernel arguments say otherwise.
      const release = (await readConfig(guest, '/etc/os-release'))?.text ?? ''
      if (stack.because === '/etc/cirros' || /^ID=["']?alpine/m.test(release))
        await dhcpByInterfaces(guest, 'eth0', report)
      else
        throw new DrydiskError(
          'ERR_INVALID_ARGUMENT',
          'ifupdown configures interfaces by name and this guest has none configured: say which, such as eth0 or ens3',
        )
    }
  }
}

/** Whether cloud-init writes the network configuration of each new instance: it does unless it was told not to. */
async function cloudInitConfigures(guest: GuestFs): Promise<boolean> {
  const config = await CloudConfig.load(guest)
  if (!config || (await guest.exists('/etc/cloud/cloud-init.disabled'))) return false
  return (await config.effective(['network', 'config'])) !== 'disabled'
}
