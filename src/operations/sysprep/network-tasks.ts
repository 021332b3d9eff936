import { readHostname } from '../../config/hosts.ts'
import { getIniValue } from '../../config/ini.ts'
import { parseAssignments, unsetShellValue } from '../../config/shell-assignments.ts'
import { joinLines, splitLines } from '../../config/text.ts'
import { isDrydiskError } from '../../errors.ts'
import { writeConfig } from '../guest-files.ts'
import { unpinIfcfg } from '../network/ifcfg.ts'
import { unpinInterfaces } from '../network/ifupdown.ts'
import { unpinKeyfiles } from '../network/keyfiles.ts'
import { unpinNetplan } from '../network/netplan.ts'
import { unpinNetworkd } from '../network/networkd.ts'
import { IFCFG_FOLDER, SUSE_FOLDER } from '../network/stack.ts'
import type { ReportBuilder } from '../report.ts'
import { textAt, UNREADABLE } from './lenient.ts'
import { removePath } from './removal.ts'
import type { SysprepContext, SysprepTask } from './task.ts'

/** Where the RHEL family and SUSE have the settings of an interface. */
const IFCFG = ['/etc/sysconfig/network-scripts/ifcfg-*', '/etc/sysconfig/network/ifcfg-*']

/** Removes variables from every ifcfg file. */
async function unsetInIfcfg(context: SysprepContext, names: readonly string[]): Promise<void> {
  const { guest, tree, report } = context
  for (const pattern of IFCFG)
    for (const path of await tree.glob(pattern)) {
      if ((await tree.typeOf(path)) !== 'file') continue
      const before = await textAt(guest, path)
      if (!before) continue
      let { text } = before
      for (const name of names) {
        const assignment = parseAssignments(before.text).find(one => one.name === name)
        if (!assignment) continue
        text = unsetShellValue(text, name)
        report.always(name, before.text.slice(assignment.word.start, assignment.word.end), null, path)
      }
      await writeConfig(guest, path, before, text)
    }
}

/** A file that cannot be read as what it should be is no reason to leave the rest undone. */
async function unpinEach(report: ReportBuilder, stacks: readonly (() => Promise<void>)[]): Promise<void> {
  for (const unpin of stacks)
    try {
      await unpin()
    } catch (error) {
      if (!isDrydiskError(error, ...UNREADABLE)) throw error
      report.warn(`${error.message}; it was left as it is`)
    }
}

export const networkTasks: readonly SysprepTask[] = [
  {
    name: 'net-hostname',
    byDefault: true,
    summary: 'remove HOSTNAME and DHCP_HOSTNAME from ifcfg files',
    run: context => unsetInIfcfg(context, ['HOSTNAME', 'DHCP_HOSTNAME']),
  },
  {
    name: 'net-hwaddr',
    byDefault: true,
    summary: 'remove HWADDR (a fixed MAC address) from ifcfg files',
    run: ({ guest, report }) =>
      unpinEach(report, [
        () => unpinIfcfg(guest, IFCFG_FOLDER, report, /^HWADDR$/),
        () => unpinIfcfg(guest, SUSE_FOLDER, report, /^HWADDR$/),
      ]),
  },
  {
    name: 'net-uuid',
    byDefault: true,
    ours: true,
    summary: 'remove UUID from ifcfg files',
    run: context => unsetInIfcfg(context, ['UUID']),
  },
  {
    name: 'net-unpin',
    byDefault: true,
    ours: true,
    summary:
      'take fixed MAC addresses out of ifcfg files, keyfiles of NetworkManager, netplan, systemd-networkd and ifupdown',
    async run({ guest, report }) {
      await unpinEach(report, [
        () => unpinIfcfg(guest, IFCFG_FOLDER, report),
        () => unpinIfcfg(guest, SUSE_FOLDER, report),
        () => unpinKeyfiles(guest, report),
        () => unpinNetplan(guest, report),
        () => unpinNetworkd(guest, report),
        () => unpinInterfaces(guest, report),
      ])
    },
  },
  {
    // Before NetworkManager 1.20 keyfiles had names without an ending.
    name: 'net-nmconn',
    byDefault: true,
    summary: 'remove the connection profiles of NetworkManager (it makes one for each wired interface)',
    async run(context) {
      for (const path of await context.tree.glob('/etc/NetworkManager/system-connections/*')) {
        if ((await context.tree.typeOf(path)) !== 'file') continue
        if (!path.endsWith('.nmconnection')) {
          const text = (await textAt(context.guest, path))?.text ?? ''
          if (getIniValue(text, 'connection', 'type') === undefined) continue
        }
        await removePath(context, path)
      }
      if (context.report.changed) await warnOfNoProfile(context)
    },
  },
  {
    name: 'udev-persistent-net',
    byDefault: true,
    summary: 'remove the udev rules that give a MAC address a fixed interface name',
    async run(context) {
      // A link to /dev/null keeps such rules from being written.
      for (const path of await context.tree.glob('/etc/udev/rules.d/*-persistent-net.rules'))
        if ((await context.tree.typeOf(path)) === 'file') await removePath(context, path)
    },
  },
  {
    name: 'etc-hosts',
    byDefault: true,
    ours: true,
    summary: "remove entries of /etc/hosts that give the guest's own name a fixed address",
    async run({ guest, report }) {
      const hosts = await textAt(guest, '/etc/hosts')
      const name = readHostname((await textAt(guest, '/etc/hostname'))?.text ?? '')
      if (!hosts || name === undefined || name === 'localhost') return
      const short = name.split('.')[0] ?? name
      const lines = splitLines(hosts.text)
      const kept = lines.filter((line, index) => {
        const [address = '', ...names] = line.text.replace(/#.*/s, '').trim().split(/\s+/)
        const own = names.some(one => one === name || one === short || one.startsWith(`${short}.`))
        if (!own || /^(?:127\.|::1$|0\.0\.0\.0$|ff|fe00:)/i.test(address)) return true
        report.always('hosts entry', line.text.trim(), null, '/etc/hosts', {
          note: `it was line ${index + 1}`,
        })
        return false
      })
      await writeConfig(guest, '/etc/hosts', hosts, joinLines(kept))
    },
  },
]

const NM_CONFIG = [
  '/etc/NetworkManager/NetworkManager.conf',
  '/etc/NetworkManager/conf.d/*.conf',
  '/usr/lib/NetworkManager/conf.d/*.conf',
]

/** NetworkManager.conf(5): no-auto-default=* keeps it from making a profile for an interface that has none (package NetworkManager-config-server). */
async function warnOfNoProfile({ guest, tree, report }: SysprepContext): Promise<void> {
  for (const pattern of NM_CONFIG)
    for (const path of await tree.glob(pattern)) {
      const text = (await textAt(guest, path))?.text ?? ''
      if (/^[ \t]*no-auto-default\s*=.*\*/m.test(text))
        report.warn(
          `NetworkManager makes no profiles of its own in this guest (no-auto-default in ${path}): without cloud-init, give it one (--network-dhcp), or keep those that it has (-net-nmconn)`,
        )
    }
}
