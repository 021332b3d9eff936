import { kernelArguments } from '../config/kernel-arguments.ts'
import { decodeText } from '../config/text.ts'
import { compareVersions } from '../config/version-compare.ts'
import { isDrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { type PackageVersions, packageVersions } from '../guest/packages/package-versions.ts'
import { type BootEntry, listBootEntries } from './boot-listing.ts'
import { type BootSources, findBootSources } from './boot-sources.ts'
import { initSystem } from './services/init-system.ts'

/** The boot loader whose files decide. */
export type BootLoaderName = BootEntry['loader'] | 'unknown'

/** A kernel of a guest: its image, its modules, and the boot entries that start it. */
export interface GuestKernel {
  /** As `uname -r`: `6.1.0-13-amd64`; the file's name where that does not tell (Alpine's `vmlinuz-virt`). */
  readonly release: string
  /** Its modules are there. */
  readonly modules: boolean
  /** The guest path of its image in /boot or on the EFI system partition; the empty string where there is none. */
  readonly image: string
  /** How many boot entries start it. */
  readonly entries: number
  readonly default: boolean
}

/** What a guest is made of, beyond its identity. */
export interface GuestFacts {
  readonly bootloader: BootLoaderName
  /** For which firmware a boot loader is installed. */
  readonly firmware: readonly ('bios' | 'uefi')[]
  readonly bootEntries: readonly BootEntry[]
  readonly kernels: readonly GuestKernel[]
  readonly init: 'systemd' | 'openrc' | 'upstart' | 'sysv' | 'busybox'
  readonly selinux: {
    /** `absent`: the guest has no SELinux; kernel arguments of the default entry count. */
    readonly mode: 'enforcing' | 'permissive' | 'disabled' | 'absent'
    /** `targeted`; the empty string where it is absent. */
    readonly type: string
  }
  readonly packages: {
    readonly database: PackageVersions['database']
    readonly file: string
    readonly count?: number
  }
  /** Versions of cloud-init and of agents that are installed; `unknown` where a program is there and its version is not to be had. */
  readonly agents: Readonly<Record<string, string>>
  /** What could not be read. */
  readonly warnings: readonly string[]
}

/** Agents by the names of their packages, and a program that shows that one is there without its package. */
const AGENTS: readonly { name: string; packages: readonly string[]; programs: readonly string[] }[] = [
  { name: 'cloud-init', packages: ['cloud-init', 'cloud-init-base'], programs: ['/usr/bin/cloud-init'] },
  {
    name: 'qemu-guest-agent',
    packages: ['qemu-guest-agent'],
    programs: ['/usr/bin/qemu-ga', '/usr/sbin/qemu-ga'],
  },
  {
    name: 'growpart',
    packages: ['cloud-guest-utils', 'cloud-utils-growpart', 'growpart'],
    programs: ['/usr/bin/growpart', '/usr/sbin/growpart'],
  },
  { name: 'acpid', packages: ['acpid'], programs: ['/usr/sbin/acpid'] },
  { name: 'open-vm-tools', packages: ['open-vm-tools'], programs: ['/usr/bin/vmtoolsd'] },
  { name: 'walinuxagent', packages: ['walinuxagent', 'WALinuxAgent'], programs: ['/usr/sbin/waagent'] },
  { name: 'hyperv-daemons', packages: ['hyperv-daemons', 'linux-cloud-tools-common'], programs: [] },
  { name: 'google-guest-agent', packages: ['google-guest-agent'], programs: ['/usr/bin/google_guest_agent'] },
  { name: 'amazon-ssm-agent', packages: ['amazon-ssm-agent'], programs: ['/usr/bin/amazon-ssm-agent'] },
  { name: 'spice-vdagent', packages: ['spice-vdagent'], programs: ['/usr/sbin/spice-vdagentd'] },
  { name: 'ignition', packages: ['ignition'], programs: ['/usr/bin/ignition'] },
]

const WANTED = new Set(AGENTS.flatMap(agent => agent.packages))

/** More folders of modules than this are not kernels. */
const MAX_KERNELS = 1000

/** Reads what is installed and what boots. Never fails for a strange guest: what cannot be read is a warning. */
export async function readGuestFacts(guest: GuestFs): Promise<GuestFacts> {
  const warnings: string[] = []
  const sources = await guarded(warnings, () => findBootSources(guest))
  const entries = (sources && (await guarded(warnings, async () => listBootEntries(sources)))) ?? []
  warnings.push(...(sources?.unread ?? []))
  const packages = await packageVersions(guest, WANTED)
  if (packages.problem !== undefined) warnings.push(packages.problem)
  return {
    bootloader: bootloaderOf(sources, entries),
    firmware: await firmwareOf(guest),
    bootEntries: entries,
    kernels: await kernelsOf(guest, entries),
    init: await initOf(guest),
    selinux: await selinuxOf(guest, entries),
    packages: {
      database: packages.database,
      file: packages.file,
      ...(packages.count === undefined ? {} : { count: packages.count }),
    },
    agents: await agentsOf(guest, packages),
    warnings,
  }
}

async function guarded<T>(warnings: string[], read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    warnings.push(error.message)
    return undefined
  }
}

/** What starts the default entry; of several boot loaders the one that the guest says it uses. */
function bootloaderOf(sources: BootSources | undefined, entries: readonly BootEntry[]): BootLoaderName {
  const type = sources?.loaderType ?? ''
  if (type === 'systemd-boot') return 'systemd-boot'
  if (type.startsWith('grub2')) return 'grub2'
  return (entries.find(entry => entry.default) ?? entries[0])?.loader ?? 'unknown'
}

async function namesIn(guest: GuestFs, folder: string): Promise<string[]> {
  try {
    return (await guest.readdir(folder)).slice(0, MAX_KERNELS).map(entry => decodeText(entry.name).text)
  } catch (error) {
    if (isDrydiskError(error)) return []
    throw error
  }
}

/** EFI programs for the removable path or a vendor's folder; GRUB's BIOS modules, extlinux or GRUB legacy's stages. */
async function firmwareOf(guest: GuestFs): Promise<('bios' | 'uefi')[]> {
  const firmware: ('bios' | 'uefi')[] = []
  const bios = ['/boot/grub/i386-pc', '/boot/grub2/i386-pc', '/boot/ldlinux.sys', '/boot/extlinux.conf']
  const legacy = ['/boot/grub/stage2', '/boot/grub/grub.conf', '/boot/grub/menu.lst', '/boot/syslinux']
  for (const path of [...bios, ...legacy])
    if (await exists(guest, path)) {
      firmware.push('bios')
      break
    }
  for (const esp of ['/boot/efi', '/efi', '/boot'])
    if ((await namesIn(guest, `${esp}/EFI`)).length > 0) {
      firmware.push('uefi')
      break
    }
  return firmware
}

async function exists(guest: GuestFs, path: string): Promise<boolean> {
  try {
    return await guest.exists(path)
  } catch (error) {
    if (isDrydiskError(error)) return false
    throw error
  }
}

async function kernelsOf(guest: GuestFs, entries: readonly BootEntry[]): Promise<GuestKernel[]> {
  const kernels = new Map<string, { modules: boolean; image: string; entries: number; default: boolean }>()
  const kernel = (release: string) => {
    let found = kernels.get(release)
    if (!found) {
      found = { modules: false, image: '', entries: 0, default: false }
      kernels.set(release, found)
    }
    return found
  }
  for (const folder of ['/lib/modules', '/usr/lib/modules'])
    for (const release of await namesIn(guest, folder))
      if (/^\d/.test(release)) kernel(release).modules = true
  for (const name of await namesIn(guest, '/boot')) {
    const release = releaseOfName(name, [...kernels.keys()])
    if (release !== undefined) kernel(release).image = `/boot/${name}`
  }
  for (const entry of entries) {
    if (entry.foreign) continue
    const release = releaseOf(entry, [...kernels.keys()])
    if (release === undefined) continue
    const found = kernel(release)
    found.entries++
    if (found.image === '') found.image = (await kernelImage(guest, entry.kernel)) ?? ''
    found.default ||= entry.default
  }
  return [...kernels]
    .map(([release, facts]) => ({ release, ...facts }))
    .sort((a, b) => compareVersions(b.release, a.release))
}

/** `vmlinuz-RELEASE`, or a folder of that name (kernel-install's layout), or the only kernel where the file has no version. */
function releaseOf(entry: BootEntry, known: readonly string[]): string | undefined {
  const parts = entry.kernel.split('/')
  const name = parts[parts.length - 1] ?? ''
  const plain = releaseOfName(name, known)
  if (plain !== undefined) return plain
  const inPath = known.find(release => parts.includes(release) || entry.title.includes(`(${release})`))
  return inPath ?? (known.length === 1 ? known[0] : undefined)
}

/** Alpine's `vmlinuz-virt` is the kernel whose modules end in `-virt`. */
function releaseOfName(name: string, known: readonly string[]): string | undefined {
  const tail = /^(?:vmlinuz|vmlinux|Image|bzImage|kernel)-(.+)$/.exec(name)?.[1]
  if (tail === undefined || /^\d/.test(tail)) return tail
  return known.find(release => release.endsWith(`-${tail}`)) ?? tail
}

/** Names of subvolumes before a path: `/@/.snapshots/1/snapshot/boot/vmlinuz` of SUSE is the deepest. */
const MAX_SUBVOLUME_NAMES = 4

/**
 * Where the file is that a boot loader starts. Its path begins at the root of the filesystem that it is on: the root's, /boot's or the
 * ESP's; on btrfs with the names of subvolumes.
 */
export async function kernelImage(guest: GuestFs, path: string): Promise<string | undefined> {
  const names = path
    .replace(/^\([^)]*\)/, '')
    .split('/')
    .filter(name => name !== '')
  for (let skipped = 0; skipped <= MAX_SUBVOLUME_NAMES && skipped < names.length; skipped++)
    for (const start of ['', '/boot', '/boot/efi', '/efi']) {
      const candidate = `${start}/${names.slice(skipped).join('/')}`
      if (await exists(guest, candidate)) return candidate
    }
  return undefined
}

async function initOf(guest: GuestFs): Promise<GuestFacts['init']> {
  const init = await initSystem(guest)
  // BusyBox's init stands behind OpenRC too; alone it is its own.
  if (init !== 'sysv') return init
  for (const path of ['/sbin/init', '/bin/init', '/init']) {
    try {
      if (decodeText(await guest.readlink(path)).text.endsWith('busybox')) return 'busybox'
    } catch (error) {
      if (!isDrydiskError(error)) throw error
    }
  }
  return 'sysv'
}

/** /etc/selinux/config, and over it `selinux=0` and `enforcing=` of the kernel (kernel-parameters.txt). */
async function selinuxOf(guest: GuestFs, entries: readonly BootEntry[]): Promise<GuestFacts['selinux']> {
  let text: string
  try {
    text = await guest.readText('/etc/selinux/config')
  } catch (error) {
    if (isDrydiskError(error)) return { mode: 'absent', type: '' }
    throw error
  }
  const value = (name: string) => new RegExp(`^\\s*${name}\\s*=\\s*(\\S+)`, 'm').exec(text)?.[1] ?? ''
  const type = value('SELINUXTYPE')
  const written = value('SELINUX').toLowerCase()
  let mode: GuestFacts['selinux']['mode'] =
    written === 'enforcing' || written === 'permissive' ? written : 'disabled'
  const started = entries.find(entry => entry.default)?.arguments ?? ''
  for (const { text: argument } of kernelArguments(started)) {
    if (argument === 'selinux=0') return { mode: 'disabled', type }
    if (mode === 'disabled') continue
    if (argument === 'enforcing=1') mode = 'enforcing'
    if (argument === 'enforcing=0') mode = 'permissive'
  }
  return { mode, type }
}

async function agentsOf(guest: GuestFs, packages: PackageVersions): Promise<Record<string, string>> {
  const agents: Record<string, string> = {}
  for (const { name, packages: names, programs } of AGENTS) {
    const version = names.map(one => packages.versions.get(one)).find(found => found !== undefined)
    if (version !== undefined) agents[name] = version
    else for (const path of programs) if (await exists(guest, path)) agents[name] = 'unknown'
  }
  return agents
}
