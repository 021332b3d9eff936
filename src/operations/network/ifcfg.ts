import { getShellValue, setShellValue, unsetShellValue } from '../../config/shell-assignments.ts'
import type { DecodedText } from '../../config/text.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { listFolder, readConfig, writeConfig } from '../guest-files.ts'
import type { ReportBuilder } from '../report.ts'
import { SUSE_FOLDER } from './stack.ts'

/** One ifcfg-* file: shell assignments that network-scripts, NetworkManager's ifcfg-rh and wicked read. */
export interface IfcfgFile {
  readonly path: string
  readonly before: DecodedText
  /** `DEVICE`, else what the file's name says. */
  readonly device: string
}

/** What the scripts leave out (network-functions of initscripts): backups, aliases, ranges, and the loopback interface. */
const IGNORED = /(~|\.bak|\.old|\.orig|\.rpmnew|\.rpmorig|\.rpmsave)$|\/ifcfg-lo$|:|\/ifcfg-.*-range/

/** Interfaces made of others, or of another kind. */
const VIRTUAL = /^(lo|bond|br|team|virbr|tun|tap|docker|ib|wl|vlan|dummy|ppp|sit)\d*|[.@]/

/** Addresses of the network where the image was made; `IPADDR2`, `IPADDR_1` and the like too. */
const ADDRESS =
  /^(IPADDR|NETMASK|PREFIX|PREFIXLEN|BROADCAST|NETWORK|GATEWAY|REMOTE_IPADDR)(\d+|_\w+)?$|^IPV6(ADDR|_DEFAULTGW|ADDR_SECONDARIES)$/

const PINS = /^(HWADDR|MACADDR|LLADDR)$/
const IDENTITY = /^(HWADDR|MACADDR|LLADDR|UUID|HOSTNAME|DHCP_HOSTNAME)$/

async function readIfcfgFiles(guest: GuestFs, folder: string): Promise<IfcfgFile[]> {
  const files: IfcfgFile[] = []
  for (const path of await listFolder(guest, folder, /^ifcfg-/)) {
    if (IGNORED.test(path)) continue
    const before = await readConfig(guest, path)
    if (!before) continue
    const named = getShellValue(before.text, 'DEVICE')?.text
    files.push({ path, before, device: named || path.slice(path.lastIndexOf('/ifcfg-') + 7) })
  }
  return files
}

function isEthernet({ before, device }: IfcfgFile): boolean {
  const value = (name: string) => getShellValue(before.text, name)?.text ?? ''
  if (VIRTUAL.test(device) || !/^(|ethernet)$/i.test(value('TYPE'))) return false
  return ['MASTER', 'SLAVE', 'BRIDGE', 'TEAM_MASTER', 'VLAN', 'ETHERDEVICE', 'BONDING_MASTER'].every(
    name => value(name) === '' || value(name) === 'no',
  )
}

/** NetworkManager calls files after its profiles (`ifcfg-Wired_connection_1`); one without a DEVICE is for any interface there. */
function isInterfaceName(name: string): boolean {
  return /^(eth|en|em|p\d+p)\w*\d\w*$/.test(name)
}

/** Every variable that a text sets. */
function variables(text: string): string[] {
  return [
    ...new Set([...text.matchAll(/^[ \t]*(?:export\s+)?([A-Za-z_]\w*)=/gm)].map(match => match[1] ?? '')),
  ]
}

class IfcfgEdit {
  readonly #file: IfcfgFile
  text: string

  constructor(file: IfcfgFile) {
    this.#file = file
    this.text = file.before.text
  }

  set(name: string, value: string): void {
    this.text = setShellValue(this.text, name, value)
  }

  drop(pattern: RegExp): void {
    for (const name of variables(this.text))
      if (pattern.test(name)) this.text = unsetShellValue(this.text, name)
  }

  async save(guest: GuestFs, report: ReportBuilder): Promise<void> {
    const { path, before, device } = this.#file
    await writeConfig(guest, path, before, this.text)
    for (const name of new Set([...variables(before.text), ...variables(this.text)])) {
      const old = getShellValue(before.text, name)
      const now = getShellValue(this.text, name)
      if (old?.text !== now?.text)
        report.change(`${name} of ${device}`, old?.text ?? null, now?.text ?? null, path, { line: now?.line })
    }
  }
}

/**
 * DHCP on one interface or on every Ethernet one that has a file; makes the file of the interface, or of eth0 where `make` says so.
 * How many interfaces have DHCP afterwards.
 */
export async function dhcpByIfcfg(
  guest: GuestFs,
  folder: string,
  wanted: string | undefined,
  make: boolean,
  report: ReportBuilder,
): Promise<number> {
  const suse = folder === SUSE_FOLDER
  const files = await readIfcfgFiles(guest, folder)
  const targets = files.filter(file => (wanted === undefined ? isEthernet(file) : file.device === wanted))
  for (const file of targets) {
    const edit = new IfcfgEdit(file)
    const pinned = getShellValue(edit.text, 'DEVICE') === undefined
    edit.drop(IDENTITY)
    edit.drop(ADDRESS)
    edit.set('BOOTPROTO', 'dhcp')
    if (suse) edit.set('STARTMODE', 'auto')
    else edit.set('ONBOOT', 'yes')
    // With its MAC gone, only the name binds the file to an interface.
    if (!suse && pinned && isInterfaceName(file.device)) edit.set('DEVICE', file.device)
    await edit.save(guest, report)
    if (edit.text === file.before.text) report.keep(`BOOTPROTO of ${file.device}`, 'dhcp', file.path)
    const name = file.path.slice(file.path.lastIndexOf('/ifcfg-') + 7)
    for (const route of [`${folder}/route-${name}`, `${folder}/ifroute-${name}`])
      if (await guest.exists(route)) report.warn(`${route} still has fixed routes for ${file.device}`)
  }
  if (targets.length > 0 || !make) return targets.length
  const device = wanted ?? 'eth0'
  const path = `${folder}/ifcfg-${device}`
  const text = suse
    ? "BOOTPROTO='dhcp'\nSTARTMODE='auto'\n"
    : `DEVICE=${device}\nTYPE=Ethernet\nONBOOT=yes\nBOOTPROTO=dhcp\n`
  await guest.mkdir(folder, { recursive: true })
  await writeConfig(guest, path, undefined, text)
  report.change(`BOOTPROTO of ${device}`, null, 'dhcp', path)
  return 1
}

/**
 * Takes fixed MAC addresses out, and DEVICE in where nothing else would bind the file.
 * @param pins names of the variables that go; all that hold such an address when left out.
 */
export async function unpinIfcfg(
  guest: GuestFs,
  folder: string,
  report: ReportBuilder,
  pins = PINS,
): Promise<void> {
  for (const file of await readIfcfgFiles(guest, folder)) {
    const edit = new IfcfgEdit(file)
    const pinned = variables(edit.text).some(name => pins.test(name))
    if (!pinned) continue
    edit.drop(pins)
    if (
      folder !== SUSE_FOLDER &&
      getShellValue(edit.text, 'DEVICE') === undefined &&
      isInterfaceName(file.device)
    )
      edit.set('DEVICE', file.device)
    await edit.save(guest, report)
  }
}
