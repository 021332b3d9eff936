import { isDrydiskError } from '../errors.ts'
import type { GuestFs } from './guest-fs.ts'
import { parseOsRelease } from './os-release.ts'

/** Guests that keep their configuration in the same places. */
export type GuestFamily = 'debian' | 'rhel' | 'suse' | 'alpine' | 'arch' | 'cirros' | 'unknown'

/** What system a guest is, by its os-release and its older kin. */
export interface GuestIdentity {
  /** `debian`, `ubuntu`, `centos`, `fedora`, …: ID of os-release, or told from older files; `unknown`. */
  readonly id: string
  readonly family: GuestFamily
  /** `12`, `9.4`, `24.04`; the empty string for a rolling release. */
  readonly version: string
  /** The name without the version: `Debian GNU/Linux`. */
  readonly name: string
  /** `Debian GNU/Linux 12 (bookworm)`. */
  readonly prettyName: string
  /** From /etc/hostname or /etc/sysconfig/network; the empty string where there is none. */
  readonly hostname: string
  /** As `uname -m`: `x86_64`, `aarch64`, …; the empty string when /bin/sh does not tell. */
  readonly arch: string
}

const FAMILIES: Readonly<Record<string, GuestFamily>> = {
  debian: 'debian',
  ubuntu: 'debian',
  rhel: 'rhel',
  fedora: 'rhel',
  centos: 'rhel',
  rocky: 'rhel',
  almalinux: 'rhel',
  ol: 'rhel',
  amzn: 'rhel',
  suse: 'suse',
  opensuse: 'suse',
  sles: 'suse',
  sled: 'suse',
  alpine: 'alpine',
  arch: 'arch',
  cirros: 'cirros',
}

/** e_machine of ELF (the kernel's uapi/linux/elf-em.h) and what `uname -m` says on such a machine. */
const MACHINES: Readonly<Record<number, string>> = {
  3: 'i686',
  8: 'mips',
  20: 'ppc',
  21: 'ppc64le',
  22: 's390x',
  40: 'armv7l',
  62: 'x86_64',
  183: 'aarch64',
  243: 'riscv64',
  258: 'loongarch64',
}

/** The text of a small file; `undefined` where there is none or it lies where it cannot be read. */
async function textOf(guest: GuestFs, path: string): Promise<string | undefined> {
  try {
    const { size } = await guest.stat(path)
    return size > 1 << 20 ? undefined : await guest.readText(path)
  } catch (error) {
    if (isDrydiskError(error)) return undefined
    throw error
  }
}

export function familyOf(id: string, idLike: string): GuestFamily {
  for (const one of [id, ...idLike.split(/\s+/)]) {
    const family = FAMILIES[one] ?? (one.startsWith('opensuse') ? 'suse' : undefined)
    if (family) return family
  }
  return 'unknown'
}

/** Distribution, version and name of the installed system, and what it calls itself. Never fails for a strange guest. */
export async function readIdentity(guest: GuestFs): Promise<GuestIdentity> {
  const release = (await fromOsRelease(guest)) ?? (await fromOlderFiles(guest))
  return { ...release, hostname: await hostnameOf(guest), arch: await archOf(guest) }
}

type Release = Omit<GuestIdentity, 'hostname' | 'arch'>

async function fromOsRelease(guest: GuestFs): Promise<Release | undefined> {
  // os-release(5): /etc wins over /usr/lib.
  const text = (await textOf(guest, '/etc/os-release')) ?? (await textOf(guest, '/usr/lib/os-release'))
  if (text === undefined) return undefined
  const values = parseOsRelease(text)
  const id = (values.get('ID') ?? 'linux').toLowerCase()
  const name = values.get('NAME') ?? id
  const version = values.get('VERSION_ID') ?? ''
  return {
    id,
    family: familyOf(id, values.get('ID_LIKE') ?? ''),
    version,
    name,
    prettyName: values.get('PRETTY_NAME') ?? `${name} ${version}`.trim(),
  }
}

/** Systems from before os-release: EL6, old Debian, CirrOS. */
async function fromOlderFiles(guest: GuestFs): Promise<Release> {
  const redhat = (await textOf(guest, '/etc/redhat-release'))?.split('\n')[0]?.trim()
  if (redhat) {
    const match = /^(.*?)(?: Linux)?(?: release)? ([\d.]+)/.exec(redhat)
    const name = match?.[1] ?? redhat
    const id = /^red hat/i.test(name) ? 'rhel' : (name.split(' ')[0] ?? 'rhel').toLowerCase()
    return { id, family: 'rhel', version: match?.[2] ?? '', name, prettyName: redhat }
  }
  const cirros = await textOf(guest, '/etc/cirros/version')
  if (cirros !== undefined) {
    const version = cirros.trim()
    return { id: 'cirros', family: 'cirros', version, name: 'CirrOS', prettyName: `CirrOS ${version}` }
  }
  const alpine = (await textOf(guest, '/etc/alpine-release'))?.trim()
  if (alpine !== undefined)
    return {
      id: 'alpine',
      family: 'alpine',
      version: alpine,
      name: 'Alpine Linux',
      prettyName: `Alpine Linux ${alpine}`,
    }
  const debian = (await textOf(guest, '/etc/debian_version'))?.trim()
  if (debian !== undefined)
    return {
      id: 'debian',
      family: 'debian',
      version: debian,
      name: 'Debian GNU/Linux',
      prettyName: `Debian GNU/Linux ${debian}`,
    }
  return { id: 'unknown', family: 'unknown', version: '', name: 'unknown', prettyName: 'unknown' }
}

async function hostnameOf(guest: GuestFs): Promise<string> {
  const lines = (await textOf(guest, '/etc/hostname'))?.split('\n') ?? []
  const hostname = lines.map(line => line.trim()).find(line => line !== '' && !line.startsWith('#'))
  if (hostname) return hostname
  const network = await textOf(guest, '/etc/sysconfig/network')
  return network === undefined ? '' : (parseOsRelease(network).get('HOSTNAME') ?? '')
}

async function archOf(guest: GuestFs): Promise<string> {
  const header = new Uint8Array(20)
  try {
    if ((await guest.readAt('/bin/sh', 0, header)) < header.length) return ''
  } catch (error) {
    if (isDrydiskError(error)) return ''
    throw error
  }
  if (header[0] !== 0x7f || header[1] !== 0x45 || header[2] !== 0x4c || header[3] !== 0x46) return ''
  // EI_DATA: 1 little-endian, 2 big-endian; e_machine at 18.
  const little = header[5] === 1
  const machine = ((header[little ? 19 : 18] ?? 0) << 8) | (header[little ? 18 : 19] ?? 0)
  if (machine === 21 && !little) return 'ppc64'
  return MACHINES[machine] ?? ''
}
