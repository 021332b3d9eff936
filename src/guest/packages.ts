import { isDrydiskError } from '../errors.ts'
import type { GuestFs } from './guest-fs.ts'

/** Which packages a guest has. */
export interface InstalledPackages {
  has(name: string): Promise<boolean>
  /** The file or folder that tells. */
  readonly source: string
}

/** Larger than any distribution's list of packages; what is larger is not read. */
const MAX_DATABASE = 64 << 20

async function textOf(guest: GuestFs, path: string): Promise<string | undefined> {
  try {
    const { size } = await guest.stat(path)
    return size > MAX_DATABASE ? undefined : await guest.readText(path)
  } catch (error) {
    if (isDrydiskError(error)) return undefined
    throw error
  }
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

/**
 * The guest's packages: by the databases of dpkg, apk and pacman, which are text; where rpm keeps them, by the folders that each
 * package has under /usr/share/doc and /usr/share/licenses, or by the program that it is known for.
 */
export async function installedPackages(guest: GuestFs): Promise<InstalledPackages> {
  const known = new Set<string>()
  const dpkg = await textOf(guest, '/var/lib/dpkg/status')
  if (dpkg !== undefined) for (const name of dpkgNames(dpkg)) known.add(name)
  const apk = await textOf(guest, '/lib/apk/db/installed')
  if (apk !== undefined) for (const [, name = ''] of apk.matchAll(/^P:(.+)$/gm)) known.add(name)
  const pacman = await names(guest, '/var/lib/pacman/local')
  // NAME-VERSION-RELEASE
  for (const folder of pacman) known.add(folder.replace(/-[^-]+-[^-]+$/, ''))
  const complete = dpkg !== undefined || apk !== undefined || pacman.length > 0
  const source =
    dpkg !== undefined
      ? '/var/lib/dpkg/status'
      : apk !== undefined
        ? '/lib/apk/db/installed'
        : pacman.length > 0
          ? '/var/lib/pacman/local'
          : '/usr/share/doc'
  return {
    source,
    has: async name => known.has(name) || (!complete && (await leavesTraces(guest, name))),
  }
}

/** The stanzas of /var/lib/dpkg/status whose package is there (dpkg(1), Package States). */
function* dpkgNames(status: string): Iterable<string> {
  for (const [, stanza = ''] of status.matchAll(/(?:^|\n)(Package: (?:.+\n?)+)/g)) {
    const name = /^Package: (\S+)/.exec(stanza)?.[1]
    if (name !== undefined && /^Status: \S+ ok installed$/m.test(stanza)) yield name
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
