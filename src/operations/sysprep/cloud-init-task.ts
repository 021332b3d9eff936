import { isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { CloudConfig } from '../cloud-config-of-guest.ts'
import { removeGlobs } from './removal.ts'
import type { SysprepTask } from './task.ts'

/** What cloud-init writes of the network that its datasource describes (cloud-init clean --configs network). */
const NETWORK = [
  '/etc/netplan/50-cloud-init.yaml',
  '/etc/NetworkManager/conf.d/99-cloud-init.conf',
  '/etc/NetworkManager/conf.d/30-cloud-init-ip6-addr-gen-mode.conf',
  '/etc/NetworkManager/system-connections/cloud-init-*.nmconnection',
  '/etc/systemd/network/10-cloud-init-*.network',
  '/etc/network/interfaces.d/50-cloud-init',
  '/etc/network/interfaces.d/50-cloud-init.cfg',
]

/** What it writes of ssh_pwauth (cloud-init clean --configs ssh_config). */
const SSHD = '/etc/ssh/sshd_config.d/50-cloud-init.conf'

/** Whether cloud-init is there and not switched off for good. */
export async function cloudInitRuns(guest: GuestFs): Promise<boolean> {
  if (await guest.exists('/etc/cloud/cloud-init.disabled')) return false
  for (const path of ['/usr/bin/cloud-init', '/usr/local/bin/cloud-init'])
    if (await guest.exists(path)) return true
  return false
}

/** As `cloud-init clean --configs all` does: what it knows of the machine that it ran on, and what it wrote there and would write again. */
export const cloudInitTask: SysprepTask = {
  name: 'cloud-init-state',
  byDefault: true,
  ours: true,
  summary: 'have cloud-init take the next boot for the first of a new instance; remove what it generated',
  async run(context) {
    const { guest, tree, report } = context
    // The seed is given by whoever makes images (cloud-init clean keeps it too).
    await removeGlobs(context, ['/var/lib/cloud/*'], { folders: true, except: ['/var/lib/cloud/seed'] })
    if (!(await cloudInitRuns(guest))) return
    if (!(await leavesNetworkAlone(guest))) await removeGlobs(context, NETWORK)
    if ((await tree.typeOf(SSHD)) !== 'file') return
    const text = await guest.readText(SSHD)
    await removeGlobs(context, [SSHD])
    const forbidden = /^\s*PasswordAuthentication\s+no\b/im.test(text)
    if (forbidden && !(await passwordsDecided(guest)))
      report.warn(
        `${SSHD} forbade logging in with a password, and neither cloud.cfg (ssh_pwauth) nor another file does: the next instance decides it, or sshd's default does; --sshd PasswordAuthentication=no keeps it`,
      )
  },
}

async function leavesNetworkAlone(guest: GuestFs): Promise<boolean> {
  return (await cloudValue(guest, ['network', 'config'])) === 'disabled'
}

async function passwordsDecided(guest: GuestFs): Promise<boolean> {
  return (await cloudValue(guest, ['ssh_pwauth'])) !== undefined
}

async function cloudValue(guest: GuestFs, path: readonly string[]): Promise<unknown> {
  try {
    return await (await CloudConfig.load(guest))?.effective(path)
  } catch (error) {
    // A broken cloud.cfg is not for sysprep to judge.
    if (isDrydiskError(error)) return undefined
    throw error
  }
}
