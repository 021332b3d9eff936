import {
  getIniValue,
  iniEntries,
  iniSections,
  removeIniSections,
  setIniValue,
  unsetIniValue,
} from '../../config/ini.ts'
import { type DecodedText, encodeText } from '../../config/text.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { matchesGlob } from '../glob.ts'
import { compareBytes, listFolder, readConfig, writeConfig } from '../guest-files.ts'
import type { ReportBuilder } from '../report.ts'

const FOLDER = '/etc/systemd/network'
const FOLDERS = [FOLDER, '/usr/local/lib/systemd/network', '/usr/lib/systemd/network', '/lib/systemd/network']
const NAMES = 'en* eth*'

interface NetworkFile {
  readonly path: string
  readonly name: string
  readonly before: DecodedText
}

/** By name, whichever folder they are in; one in /etc hides one of the same name (systemd.network(5)). */
async function readNetworkFiles(guest: GuestFs): Promise<NetworkFile[]> {
  const byName = new Map<string, NetworkFile>()
  for (const folder of FOLDERS)
    for (const path of await listFolder(guest, folder, /\.network$/)) {
      const name = path.slice(path.lastIndexOf('/') + 1)
      const before = byName.has(name) ? undefined : await readConfig(guest, path)
      if (before) byName.set(name, { path, name, before })
    }
  return [...byName.values()].sort((a, b) => compareBytes(a.name, b.name))
}

function matchOf(text: string): { key: string; value: string }[] {
  return iniEntries(text).filter(entry => entry.section === 'Match')
}

/** Whether `[Match] Name=` takes an interface in; a file that matches by something else is not known to. */
function matchesName(text: string, name: string): boolean {
  const words = matchOf(text).flatMap(({ key, value }) => (key === 'Name' ? value.split(/\s+/) : []))
  const hit = (pattern: string) => matchesGlob(encodeText(pattern), encodeText(name))
  if (words.some(word => word.startsWith('!') && hit(word.slice(1)))) return false
  return words.some(word => !word.startsWith('!') && hit(word))
}

const MAC_KEYS = ['MACAddress', 'PermanentMACAddress']

function isEthernet(text: string): boolean {
  const match = matchOf(text)
  const type = match.find(entry => entry.key === 'Type')?.value
  if (type !== undefined && type !== 'ether') return false
  const network = iniEntries(text).filter(entry => entry.section === 'Network')
  if (network.some(({ key }) => /^(Bridge|Bond|VLAN|VRF|Bond|Tunnel|MACVLAN)$/.test(key))) return false
  return (
    match.some(({ key, value }) => key === 'Name' && /(^|\s)(e\*|en|eth)/.test(value)) ||
    match.some(({ key }) => MAC_KEYS.includes(key)) ||
    type === 'ether'
  )
}

function withoutMacs(text: string): string {
  let result = text
  const pinned = matchOf(text).some(({ key }) => MAC_KEYS.includes(key))
  for (const key of MAC_KEYS) result = unsetIniValue(result, 'Match', key)
  // A [Match] with nothing in it would take every interface.
  if (pinned && matchOf(result).length === 0) result = setIniValue(result, 'Match', 'Name', NAMES)
  return unsetIniValue(result, 'Link', 'MACAddress')
}

function withDhcp(text: string): string {
  let result = withoutMacs(text)
  for (const key of ['Address', 'Gateway']) result = unsetIniValue(result, 'Network', key)
  result = removeIniSections(result, section => section === 'Address')
  // Of a file with several routes, sections cannot be told apart by name: those without a destination are the default ones.
  if (iniSections(result).includes('Route') && getIniValue(result, 'Route', 'Destination') === undefined)
    result = removeIniSections(result, section => section === 'Route')
  const dhcp = getIniValue(result, 'Network', 'DHCP')?.value.toLowerCase()
  return dhcp === 'ipv4' || dhcp === 'yes' || dhcp === 'true' || dhcp === 'both' || dhcp === 'v4'
    ? result
    : setIniValue(result, 'Network', 'DHCP', 'yes')
}

async function save(guest: GuestFs, file: NetworkFile, text: string, report: ReportBuilder): Promise<void> {
  await writeConfig(guest, file.path, file.before, text)
  const all = [...iniEntries(file.before.text), ...iniEntries(text)]
  for (const name of new Set(all.map(entry => `${entry.section}\0${entry.key}`))) {
    const [section = '', key = ''] = name.split('\0')
    const values = (source: string) =>
      iniEntries(source)
        .filter(entry => entry.section === section && entry.key === key)
        .map(entry => entry.value)
        .join(', ') || null
    report.change(`${section}.${key} of ${file.name}`, values(file.before.text), values(text), file.path, {
      line: getIniValue(text, section, key)?.line,
    })
  }
}

/** DHCP on one interface or on every wired one; makes a file where none is about it. */
export async function dhcpByNetworkd(
  guest: GuestFs,
  wanted: string | undefined,
  make: boolean,
  report: ReportBuilder,
): Promise<void> {
  const files = await readNetworkFiles(guest)
  // The first file that matches an interface is the only one that counts for it.
  const first = wanted === undefined ? undefined : files.find(file => matchesName(file.before.text, wanted))
  const targets =
    wanted === undefined ? files.filter(file => isEthernet(file.before.text)) : first ? [first] : []
  let done = 0
  for (const file of targets) {
    const text = withDhcp(file.before.text)
    if (text === file.before.text) report.keep(`Network.DHCP of ${file.name}`, 'yes', file.path)
    // systemd's own 80-*.network and the like give DHCP to what nothing else configures.
    else if (!file.path.startsWith(`${FOLDER}/`)) continue
    else await save(guest, file, text, report)
    done++
  }
  if (done > 0 || !make) return
  const path = `${FOLDER}/${wanted === undefined ? '05-drydisk-dhcp' : `05-drydisk-${wanted}`}.network`
  const text = `[Match]\nName=${wanted ?? NAMES}\n\n[Network]\nDHCP=yes\n`
  if (first && compareBytes(first.name, path.slice(FOLDER.length + 1)) < 0)
    throw new DrydiskError(
      'ERR_NOT_EFFECTIVE',
      `${first.path} comes before ${path} and belongs to a package; put a file of that name into ${FOLDER}`,
      { path: first.path },
    )
  await guest.mkdir(FOLDER, { recursive: true })
  await writeConfig(guest, path, undefined, text)
  report.change(`Network.DHCP of ${wanted ?? NAMES}`, null, 'yes', path, { line: 5 })
}

/** `.network` files lose their MAC addresses; a `.link` file that renames by nothing else goes. */
export async function unpinNetworkd(guest: GuestFs, report: ReportBuilder): Promise<void> {
  for (const file of await readNetworkFiles(guest)) {
    if (!file.path.startsWith(`${FOLDER}/`)) continue
    const text = withoutMacs(file.before.text)
    if (text !== file.before.text) await save(guest, file, text, report)
  }
  for (const path of await listFolder(guest, FOLDER, /\.link$/)) {
    const before = await readConfig(guest, path)
    const match = matchOf(before?.text ?? '')
    const pins = match.filter(({ key }) => MAC_KEYS.includes(key))
    if (!before) continue
    const file = { path, name: path.slice(FOLDER.length + 1), before }
    if (pins.length > 0 && pins.length === match.length) {
      await guest.unlink(path)
      report.always(`Match.MACAddress of ${file.name}`, pins.map(pin => pin.value).join(', '), null, path)
    } else if (pins.length > 0 || getIniValue(before.text, 'Link', 'MACAddress') !== undefined)
      await save(guest, file, withoutMacs(before.text), report)
  }
}
