import { decodeText } from '../../config/text.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { lstatOrUndefined } from '../guest-files.ts'
import type { ServiceState } from './service-state.ts'

const RUNLEVELS = '/etc/runlevels'

async function runlevelsOf(guest: GuestFs, name: string): Promise<string[]> {
  const links: string[] = []
  try {
    for (const entry of await guest.readdir(RUNLEVELS)) {
      const path = `${RUNLEVELS}/${decodeText(entry.name).text}/${name}`
      if (await lstatOrUndefined(guest, path)) links.push(path)
    }
  } catch (error) {
    if (!isDrydiskError(error, 'ENOENT', 'ENOTDIR')) throw error
  }
  return links.sort()
}

/** A script of /etc/init.d is enabled by a link in a runlevel: rc-update(8). */
export async function openrcState(guest: GuestFs, name: string): Promise<ServiceState | undefined> {
  if (!(await guest.exists(`/etc/init.d/${name}`))) return undefined
  const [link] = await runlevelsOf(guest, name)
  return {
    name,
    init: 'openrc',
    state: link ? 'enabled' : 'disabled',
    decidedBy: link ?? `/etc/init.d/${name}`,
    // The runlevel `nonetwork` and its like are not entered at boot.
    startsAtBoot: link !== undefined && /\/(sysinit|boot|default)\//.test(link),
  }
}

export async function enableOpenrc(guest: GuestFs, name: string): Promise<string[]> {
  if (!(await guest.exists(`/etc/init.d/${name}`)))
    throw new DrydiskError('ENOENT', `this guest has no service ${name} in /etc/init.d`, { service: name })
  if ((await runlevelsOf(guest, name)).some(link => /\/(sysinit|boot|default)\//.test(link))) return []
  const link = `${RUNLEVELS}/default/${name}`
  await guest.mkdir(`${RUNLEVELS}/default`, { recursive: true })
  await guest.symlink(`/etc/init.d/${name}`, link)
  return [link]
}

export async function disableOpenrc(guest: GuestFs, name: string): Promise<string[]> {
  const links = await runlevelsOf(guest, name)
  for (const link of links) await guest.unlink(link)
  return links
}
