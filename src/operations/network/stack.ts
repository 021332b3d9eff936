import type { GuestFs } from '../../guest/guest-fs.ts'
import { glob } from '../glob.ts'
import { displayPath, listFolder, lstatOrUndefined, readConfig, statOrUndefined } from '../guest-files.ts'

/**
 * What brings interfaces up: `network-scripts` is the ifcfg files of EL6 and EL7 without NetworkManager, `wicked` those of SUSE,
 * `ifupdown` is /etc/network/interfaces of Debian, Alpine and CirrOS.
 */
export type NetworkStackKind =
  | 'netplan'
  | 'network-manager'
  | 'network-scripts'
  | 'wicked'
  | 'ifupdown'
  | 'networkd'

/** Who configures the network of a guest, and why that is thought. */
export interface NetworkStack {
  readonly kind: NetworkStackKind
  /** Why it is thought to be in use: the file that says so. */
  readonly because: string
  /** NetworkManager alone: whether it reads ifcfg files too (its ifcfg-rh plugin; EL10 has none). */
  readonly readsIfcfg?: boolean
}

export const IFCFG_FOLDER = '/etc/sysconfig/network-scripts'
export const SUSE_FOLDER = '/etc/sysconfig/network'
export const INTERFACES = '/etc/network/interfaces'

/** Whether something in /etc/systemd/system starts a unit at boot; the path of the link. */
async function wantedBy(guest: GuestFs, unit: string): Promise<string | undefined> {
  if (await isMasked(guest, unit)) return undefined
  const links = await glob(guest, `/etc/systemd/system/*.wants/${unit}`)
  return links[0] === undefined ? undefined : displayPath(links[0])
}

async function isMasked(guest: GuestFs, unit: string): Promise<boolean> {
  const path = `/etc/systemd/system/${unit}`
  if (!(await lstatOrUndefined(guest, path))?.isSymbolicLink()) return false
  return displayPath(await guest.readlink(path)) === '/dev/null'
}

async function hasUnit(guest: GuestFs, unit: string): Promise<string | undefined> {
  for (const folder of ['/usr/lib/systemd/system', '/lib/systemd/system'])
    if ((await guest.exists(`${folder}/${unit}`)) && !(await isMasked(guest, unit)))
      return `${folder}/${unit}`
  return undefined
}

async function anyOf(guest: GuestFs, paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await guest.exists(path)) return path
  return undefined
}

/** Debian names and files have one family, Red Hat's another: of os-release, without the tools that a cut-down image lacks. */
interface Release {
  readonly ids: readonly string[]
  readonly major: number
}

async function readRelease(guest: GuestFs): Promise<Release> {
  const text =
    (await readConfig(guest, '/etc/os-release'))?.text ??
    (await readConfig(guest, '/usr/lib/os-release'))?.text ??
    ''
  const words = [...text.matchAll(/^ID(?:_LIKE)?=["']?([^"'\n]*)/gm)].flatMap(m => (m[1] ?? '').split(/\s+/))
  const old = (await readConfig(guest, '/etc/redhat-release'))?.text
  if (text === '' && old !== undefined) words.push('rhel')
  const version = /^VERSION_ID=["']?(\d+)/m.exec(text) ?? /release (\d+)/.exec(old ?? '')
  return { ids: words, major: Number(version?.[1] ?? Number.NaN) }
}

/**
 * Every stack that is in use, the one that decides first. Empty where nothing is recognised. What decides is what is enabled; where a
 * cut-down image does not tell, what the distribution uses.
 */
export async function readNetworkStacks(guest: GuestFs): Promise<NetworkStack[]> {
  const release = await readRelease(guest)
  const is = (...ids: string[]) => ids.some(id => release.ids.includes(id))
  const found: NetworkStack[] = []
  const add = (kind: NetworkStackKind, because: string | undefined, more: { readsIfcfg?: boolean } = {}) => {
    if (because !== undefined && !found.some(stack => stack.kind === kind))
      found.push({ kind, because, ...more })
  }
  const interfaces = (await readConfig(guest, INTERFACES)) ? INTERFACES : undefined
  const plans = [
    ...(await listFolder(guest, '/etc/netplan', /\.yaml$/)),
    ...(await listFolder(guest, '/usr/lib/netplan', /\.yaml$/)),
    ...(await listFolder(guest, '/lib/netplan', /\.yaml$/)),
  ]
  const generator = await anyOf(guest, [
    '/usr/lib/systemd/system-generators/netplan',
    '/lib/systemd/system-generators/netplan',
  ])
  const ifup = await anyOf(guest, ['/usr/sbin/ifup', '/sbin/ifup'])
  // Ubuntu's cloud image has an empty /etc/netplan until cloud-init fills it.
  add('netplan', plans[0] ?? (ifup === undefined ? generator : undefined))

  const suse = (await statOrUndefined(guest, SUSE_FOLDER))?.isDirectory() === true
  const alias = (await lstatOrUndefined(guest, '/etc/systemd/system/network.service'))?.isSymbolicLink()
    ? displayPath(await guest.readlink('/etc/systemd/system/network.service'))
    : ''
  if (alias.endsWith('/wicked.service')) add('wicked', '/etc/systemd/system/network.service')
  const manager =
    (await wantedBy(guest, 'NetworkManager.service')) ??
    (alias.endsWith('/NetworkManager.service') ? '/etc/systemd/system/network.service' : undefined)
  const readsIfcfg = await managerReadsIfcfg(guest, release, is)
  const networkd = await wantedBy(guest, 'systemd-networkd.service')
  add('network-manager', manager, { readsIfcfg })
  add('networkd', networkd)
  if (interfaces && (ifup !== undefined || !is('rhel', 'centos', 'fedora', 'suse')))
    add('ifupdown', interfaces)
  const scripts = await anyOf(guest, ['/etc/init.d/network', `${IFCFG_FOLDER}/ifup-eth`, '/sbin/ifup-eth'])
  const systemd = await anyOf(guest, ['/usr/lib/systemd/system', '/lib/systemd/system'])
  if (is('rhel', 'centos', 'fedora') && !manager) add('network-scripts', scripts)

  // Nothing is enabled by a link: what the distribution has by default.
  if (found.length === 0) {
    const wicked = await anyOf(guest, [
      '/usr/lib/systemd/system/wicked.service',
      '/usr/sbin/wicked',
      '/sbin/wicked',
    ])
    if (suse && (wicked || !(await hasUnit(guest, 'NetworkManager.service'))))
      add('wicked', wicked ?? SUSE_FOLDER)
    if (is('rhel', 'centos', 'fedora'))
      if (release.major <= 6 && is('rhel', 'centos')) add('network-scripts', '/etc/redhat-release')
      else
        add(
          'network-manager',
          (await hasUnit(guest, 'NetworkManager.service')) ??
            (await anyOf(guest, ['/etc/NetworkManager', IFCFG_FOLDER])) ??
            '/etc/os-release',
          { readsIfcfg },
        )
    if (is('suse', 'opensuse', 'sles'))
      add('network-manager', await hasUnit(guest, 'NetworkManager.service'), { readsIfcfg: false })
    if (is('ubuntu') && release.major >= 18) add('netplan', '/etc/os-release')
    else if (is('debian', 'ubuntu', 'alpine')) add('ifupdown', '/etc/os-release')
    if (await guest.exists('/etc/cirros')) add('ifupdown', '/etc/cirros')
    if (systemd) add('networkd', await anyOf(guest, ['/etc/systemd/network']))
  }
  return found
}

/** The plugin that reads ifcfg files: until EL9 and Fedora 35 a part of NetworkManager, in neither EL10 nor newer Fedoras by default. */
async function managerReadsIfcfg(
  guest: GuestFs,
  release: Release,
  is: (...ids: string[]) => boolean,
): Promise<boolean> {
  if ((await statOrUndefined(guest, IFCFG_FOLDER))?.isDirectory() !== true) return false
  for (const folder of ['/usr/lib64/NetworkManager', '/usr/lib/NetworkManager']) {
    if ((await glob(guest, `${folder}/*/libnm-settings-plugin-ifcfg-rh.so`)).length > 0) return true
    if ((await glob(guest, `${folder}/*/libnm-*.so`)).length > 0) return false
  }
  return is('fedora') && !is('rhel', 'centos') ? release.major < 36 : release.major < 10
}
