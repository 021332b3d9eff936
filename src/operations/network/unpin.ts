import type { GuestFs } from '../../guest/guest-fs.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { unpinIfcfg } from './ifcfg.ts'
import { unpinInterfaces, unpinUdevRules } from './ifupdown.ts'
import { unpinKeyfiles } from './keyfiles.ts'
import { unpinNetplan } from './netplan.ts'
import { unpinNetworkd } from './networkd.ts'
import { IFCFG_FOLDER, SUSE_FOLDER } from './stack.ts'

/**
 * Takes out every fixed MAC address of an Ethernet interface: what binds a configuration to the card of the machine where the image
 * was made, and addresses that every clone would share. All stacks are looked at, in use or not.
 */
export async function unpinNetwork(guest: GuestFs, report: ReportBuilder): Promise<void> {
  await unpinIfcfg(guest, IFCFG_FOLDER, report)
  await unpinIfcfg(guest, SUSE_FOLDER, report)
  await unpinKeyfiles(guest, report)
  await unpinNetplan(guest, report)
  await unpinNetworkd(guest, report)
  await unpinInterfaces(guest, report)
  await unpinUdevRules(guest, report)
}

export const networkUnpin: Operation<Readonly<Record<string, never>>> = {
  name: 'network-unpin',
  summary: 'Take out what binds network configuration to the MAC address of one machine',
  async run(guest) {
    const report = new ReportBuilder('network-unpin')
    await unpinNetwork(guest, report)
    return report.build()
  },
}
