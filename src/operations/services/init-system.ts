import { decodeText } from '../../config/text.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { listFolder, lstatOrUndefined } from '../guest-files.ts'

/** What starts the guest's services. */
export type InitSystem = 'systemd' | 'openrc' | 'upstart' | 'sysv'

/** What a guest boots with: /sbin/init where it is a link, else what is installed. */
export async function initSystem(guest: GuestFs): Promise<InitSystem> {
  for (const path of ['/sbin/init', '/usr/sbin/init']) {
    if (!(await lstatOrUndefined(guest, path))?.isSymbolicLink()) continue
    const target = decodeText(await guest.readlink(path)).text
    if (target.includes('systemd')) return 'systemd'
    if (target.includes('openrc')) return 'openrc'
    if (target.includes('upstart')) return 'upstart'
  }
  if (await guest.exists('/etc/runlevels')) return 'openrc'
  // Ubuntu 14.04 has units for logind and still boots with upstart; EL6 has a few jobs and scripts besides.
  const jobs = await listFolder(guest, '/etc/init', /\.conf$/)
  if (
    jobs.length > 0 &&
    ((await guest.exists('/sbin/initctl')) || (await guest.exists('/sbin/upstart-udev-bridge')))
  )
    return 'upstart'
  for (const path of ['/usr/lib/systemd/system', '/lib/systemd/system', '/etc/systemd/system'])
    if (await guest.exists(path)) return 'systemd'
  return 'sysv'
}
