import type { GuestFs } from '../../guest/guest-fs.ts'
import { cleanCloudInit } from '../cloud-init-clean.ts'
import { removeGlobs } from './removal.ts'
import type { SysprepTask } from './task.ts'

/** Whether cloud-init is there and no file switches it off for good. */
async function cloudInitRuns(guest: GuestFs): Promise<boolean> {
  const disabled = await guest.exists('/etc/cloud/cloud-init.disabled')
  if (disabled && !(await guest.exists('/etc/cloud/cloud-init.enabled'))) return false
  for (const path of ['/usr/bin/cloud-init', '/usr/local/bin/cloud-init'])
    if (await guest.exists(path)) return true
  return false
}

/** What it generated goes only where it would be generated again: without it, the network of the guest may be in these files alone. */
export const cloudInitTask: SysprepTask = {
  name: 'cloud-init-state',
  byDefault: true,
  ours: true,
  summary: 'have cloud-init take the next boot for the first of a new instance; remove what it generated',
  async run(context) {
    const { guest, tree, report } = context
    if (await cloudInitRuns(guest)) {
      if ((await tree.typeOf('/var/lib/cloud')) === 'symlink') {
        report.warn('/var/lib/cloud is a symlink out of its place; what is behind it was left')
        return
      }
      await cleanCloudInit(guest, report)
      tree.forget()
    } else
      await removeGlobs(context, ['/var/lib/cloud/*'], { folders: true, except: ['/var/lib/cloud/seed'] })
  },
}
