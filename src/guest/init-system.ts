import { isDrydiskError } from '../errors.ts'
import type { GuestFs } from './guest-fs.ts'

export type InitSystem = 'systemd' | 'upstart' | 'openrc' | 'sysvinit' | 'busybox' | 'unknown'

/** What the kernel starts first: /sbin/init where it is a link to systemd or busybox, else what belongs to each. */
export async function initSystemOf(guest: GuestFs): Promise<InitSystem> {
  for (const path of ['/lib/systemd/systemd', '/usr/lib/systemd/systemd', '/etc/systemd/system.conf'])
    if (await guest.exists(path)) return 'systemd'
  const target = await linkOf(guest, '/sbin/init')
  if (target.includes('systemd')) return 'systemd'
  // A guest that is cut to its configuration has no /sbin/init; units tell of systemd all the same.
  for (const path of ['/usr/lib/systemd/system', '/lib/systemd/system'])
    if (await guest.exists(path)) return 'systemd'
  // Alpine's init is busybox, which starts OpenRC.
  if (await guest.exists('/etc/runlevels')) return 'openrc'
  if ((await guest.exists('/etc/init/rcS.conf')) || (await guest.exists('/etc/init/rc.conf')))
    return 'upstart'
  if (target.includes('busybox')) return 'busybox'
  if (await guest.exists('/etc/inittab')) {
    const inittab = await guest.readText('/etc/inittab')
    // busybox leaves the runlevels empty: `::sysinit:…`.
    return /^\w*::\w+:/m.test(inittab) ? 'busybox' : 'sysvinit'
  }
  if ((await guest.exists('/etc/rc.d/init.d')) || (await guest.exists('/etc/init.d'))) return 'sysvinit'
  return 'unknown'
}

async function linkOf(guest: GuestFs, path: string): Promise<string> {
  try {
    return new TextDecoder().decode(await guest.readlink(path))
  } catch (error) {
    if (isDrydiskError(error)) return ''
    throw error
  }
}
