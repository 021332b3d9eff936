import { getIniValue, iniEntries, setIniValue, unsetIniValue } from '../../config/ini.ts'
import type { DecodedText } from '../../config/text.ts'
import { isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { listFolder, readConfig, writeConfig } from '../guest-files.ts'
import { octal, type ReportBuilder } from '../report.ts'

const FOLDER = '/etc/NetworkManager/system-connections'
/** Profiles that a package or an image builder ships; one of the same name in /etc stands in for it. */
const VENDOR_FOLDER = '/usr/lib/NetworkManager/system-connections'
const GENERIC = `${FOLDER}/drydisk-dhcp.nmconnection`

/** The section of a wired connection was called 802-3-ethernet before; both are read (nm-settings-keyfile(5)). */
const ETHERNET = ['ethernet', '802-3-ethernet']

interface Profile {
  readonly path: string
  readonly before: DecodedText
  readonly interfaceName: string | undefined
  readonly isEthernet: boolean
}

async function readProfiles(guest: GuestFs, folder = FOLDER): Promise<Profile[]> {
  const profiles: Profile[] = []
  for (const path of await listFolder(guest, folder, /^[^.].*(?<!~|\.(bak|orig|rpmnew|rpmsave|swp))$/)) {
    const before = await readConfig(guest, path)
    if (!before) continue
    const value = (key: string) => getIniValue(before.text, 'connection', key)?.value
    const member = value('master') ?? value('controller') ?? value('slave-type') ?? value('port-type')
    profiles.push({
      path,
      before,
      interfaceName: value('interface-name'),
      isEthernet: ETHERNET.includes(value('type') ?? '') && !member,
    })
  }
  return profiles
}

/** Keys of the network where the image was made. */
const ADDRESS = /^(address\d*|addresses\d*|gateway)$/

/** A literal address; `random`, `stable`, `preserve` and `permanent` are policies. */
const LITERAL_MAC = /^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i

function dropMacs(text: string): string {
  let result = text
  for (const { section, key, value } of iniEntries(text)) {
    if (!ETHERNET.includes(section)) continue
    if (key === 'mac-address' || (key === 'cloned-mac-address' && LITERAL_MAC.test(value)))
      result = unsetIniValue(result, section, key)
  }
  return result
}

function withDhcp(text: string): string {
  let result = dropMacs(text)
  // Clones would share it; without one, NetworkManager makes one from the file's path.
  result = unsetIniValue(result, 'connection', 'uuid')
  if (getIniValue(result, 'connection', 'autoconnect')?.value === 'false')
    result = unsetIniValue(result, 'connection', 'autoconnect')
  for (const { section, key } of iniEntries(result))
    if (/^ipv[46]$/.test(section) && ADDRESS.test(key)) result = unsetIniValue(result, section, key)
  result = setIniValue(result, 'ipv4', 'method', 'auto')
  if (getIniValue(result, 'ipv6', 'method')?.value === 'manual')
    result = setIniValue(result, 'ipv6', 'method', 'auto')
  return result
}

async function save(guest: GuestFs, profile: Profile, text: string, report: ReportBuilder): Promise<void> {
  const { path, before } = profile
  await writeConfig(guest, path, before, text)
  const id = getIniValue(text, 'connection', 'id')?.value ?? path.slice(path.lastIndexOf('/') + 1)
  const entries = [...iniEntries(before.text), ...iniEntries(text)]
  for (const name of new Set(entries.map(entry => `${entry.section}\0${entry.key}`))) {
    const [section = '', key = ''] = name.split('\0')
    const old = getIniValue(before.text, section, key)
    const now = getIniValue(text, section, key)
    if (old?.value !== now?.value)
      report.change(`${section}.${key} of ${id}`, old?.value ?? null, now?.value ?? null, path, {
        line: now?.line,
      })
  }
  await makePrivate(guest, path, report)
}

/** NetworkManager passes over a profile that others than root may read or that is not root's. */
async function makePrivate(guest: GuestFs, path: string, report: ReportBuilder): Promise<void> {
  const stats = await guest.stat(path)
  if ((stats.mode & 0o077) !== 0) {
    await guest.chmod(path, 0o600)
    report.change(`permissions of ${path}`, octal(stats.mode), '0600', path)
  }
  if (stats.uid === 0) return
  try {
    await guest.chown(path, 0, 0)
    report.change(`owner of ${path}`, String(stats.uid), '0', path)
  } catch (error) {
    // In a folder of the host that belongs to somebody.
    if (!isDrydiskError(error, 'EPERM', 'EACCES')) throw error
    report.warn(`${path} has to belong to root for NetworkManager to read it`)
  }
}

/** DHCP on one interface or on every wired one that has a profile; how many have one. */
export async function dhcpByKeyfiles(
  guest: GuestFs,
  wanted: string | undefined,
  report: ReportBuilder,
): Promise<number> {
  const matches = (profile: Profile) =>
    profile.isEthernet && (wanted === undefined || profile.interfaceName === wanted)
  const profiles = (await readProfiles(guest)).filter(matches)
  for (const profile of profiles) {
    const text = withDhcp(profile.before.text)
    await save(guest, profile, text, report)
    if (text === profile.before.text) report.keep(`ipv4.method of ${profile.path}`, 'auto', profile.path)
  }
  const names = new Set(profiles.map(profile => profile.path.slice(profile.path.lastIndexOf('/') + 1)))
  for (const profile of (await readProfiles(guest, VENDOR_FOLDER)).filter(matches)) {
    const name = profile.path.slice(profile.path.lastIndexOf('/') + 1)
    const text = withDhcp(profile.before.text)
    if (names.has(name)) continue
    if (text === profile.before.text) report.keep(`ipv4.method of ${profile.path}`, 'auto', profile.path)
    else {
      await makeProfile(guest, `${FOLDER}/${name}`, text)
      report.always(`ipv4.method of ${name}`, profile.path, 'auto', `${FOLDER}/${name}`)
    }
    names.add(name)
  }
  return names.size
}

/**
 * The file that keeps NetworkManager from DHCP on interfaces without a profile (`no-auto-default` of NetworkManager.conf(5)): EL's package
 * NetworkManager-config-server brings one. The later name wins, and those in /etc come after those of packages.
 */
export async function noAutoDefault(guest: GuestFs): Promise<string | undefined> {
  let found: string | undefined
  const files = [
    ...(await listFolder(guest, '/usr/lib/NetworkManager/conf.d', /\.conf$/)),
    '/etc/NetworkManager/NetworkManager.conf',
    ...(await listFolder(guest, '/etc/NetworkManager/conf.d', /\.conf$/)),
  ]
  for (const path of files) {
    const value = getIniValue((await readConfig(guest, path))?.text ?? '', 'main', 'no-auto-default')
    if (value) found = value.value === '' ? undefined : path
  }
  return found
}

/** A profile for one interface, or for every wired interface at once (multi-connect 3, since NetworkManager 1.14). */
export async function makeDhcpProfile(
  guest: GuestFs,
  wanted: string | undefined,
  report: ReportBuilder,
): Promise<void> {
  const path = wanted === undefined ? GENERIC : `${FOLDER}/drydisk-${wanted}.nmconnection`
  const connection =
    wanted === undefined
      ? 'id=Wired DHCP\ntype=ethernet\nmulti-connect=3\n'
      : `id=Wired DHCP ${wanted}\ntype=ethernet\ninterface-name=${wanted}\n`
  await makeProfile(guest, path, `[connection]\n${connection}\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n`)
  report.change(`ipv4.method of ${wanted ?? 'every wired interface'}`, null, 'auto', path)
}

async function makeProfile(guest: GuestFs, path: string, text: string): Promise<void> {
  await guest.mkdir(FOLDER, { recursive: true, mode: 0o700 })
  await writeConfig(guest, path, undefined, text, { mode: 0o600 })
}

export async function unpinKeyfiles(guest: GuestFs, report: ReportBuilder): Promise<void> {
  for (const profile of await readProfiles(guest)) {
    const text = dropMacs(profile.before.text)
    if (text !== profile.before.text) await save(guest, profile, text, report)
  }
}
