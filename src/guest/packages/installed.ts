import { isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../guest-fs.ts'
import { type PackageVersions, packageVersions } from './package-versions.ts'

/** Which packages a guest has. */
export interface InstalledPackages {
  has(name: string): Promise<boolean>
  /** The file or folder that tells. */
  readonly source: string
}

/**
 * The guest's packages by its package manager's database. Where there is none, or one that cannot be read, by the folders that each package has under /usr/share/doc and /usr/share/licenses, or by the program that it is known for.
 */
export async function installedPackages(guest: GuestFs): Promise<InstalledPackages> {
  const first = await packageVersions(guest, new Set())
  const isRead = first.database !== 'none' && first.count !== undefined
  const asked = new Map<string, Promise<PackageVersions>>()
  const has = async (name: string): Promise<boolean> => {
    if (!isRead) return leavesTraces(guest, name)
    if (first.isComplete) return first.versions.has(name)
    const found = asked.get(name) ?? packageVersions(guest, new Set([name]))
    asked.set(name, found)
    return (await found).versions.has(name)
  }
  return { has, source: isRead ? first.file : '/usr/share/doc' }
}

async function names(guest: GuestFs, folder: string): Promise<string[]> {
  try {
    const decoder = new TextDecoder()
    return (await guest.readdir(folder)).map(entry => decoder.decode(entry.name))
  } catch (error) {
    if (isDrydiskError(error)) return []
    throw error
  }
}

/** The program (or other file) that makes a package what it is, where its documentation may have been left out. */
const HALLMARKS: Readonly<Record<string, readonly string[]>> = {
  acpid: ['/usr/sbin/acpid', '/sbin/acpid'],
  'cloud-guest-utils': ['/usr/bin/growpart'],
  'cloud-init': ['/usr/bin/cloud-init'],
  'cloud-utils-growpart': ['/usr/bin/growpart'],
  growpart: ['/usr/bin/growpart', '/usr/sbin/growpart'],
  'openssh-server': ['/usr/sbin/sshd'],
  openssh: ['/usr/sbin/sshd'],
  'qemu-guest-agent': ['/usr/bin/qemu-ga', '/usr/sbin/qemu-ga'],
  sudo: ['/usr/bin/sudo'],
}

async function leavesTraces(guest: GuestFs, name: string): Promise<boolean> {
  if (!/^[\w.+-]+$/.test(name)) return false
  for (const path of [
    ...(HALLMARKS[name] ?? []),
    `/usr/share/doc/${name}`,
    `/usr/share/licenses/${name}`,
    `/usr/share/doc/packages/${name}`,
  ])
    if (await guest.exists(path)) return true
  // EL6 and EL7 put the version behind the name.
  const versioned = (await names(guest, '/usr/share/doc')).some(
    one => one.startsWith(`${name}-`) && /^\d/.test(one.slice(name.length + 1)),
  )
  return versioned
}
