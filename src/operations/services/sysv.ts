import { type InitHeader, parseInitHeader } from '../../config/init-header.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { listFolder, readConfig, statOrUndefined } from '../guest-files.ts'
import { initSystem } from './init-system.ts'
import type { ServiceState } from './service-state.ts'
import { baseName } from './unit-files.ts'

const LEVELS = ['0', '1', '2', '3', '4', '5', '6']
/** Runlevels that a machine runs in; chkconfig(8) turns services on and off in these. */
const RUNNING = ['2', '3', '4', '5']

interface RunlevelLink {
  readonly level: string
  readonly kind: 'S' | 'K'
  readonly number: string
  readonly path: string
}

async function scriptOf(guest: GuestFs, name: string): Promise<string | undefined> {
  if (!/^[\w.+-]+$/.test(name)) return undefined
  for (const folder of ['/etc/init.d', '/etc/rc.d/init.d'])
    if ((await statOrUndefined(guest, `${folder}/${name}`))?.isFile()) return `${folder}/${name}`
  return undefined
}

/** Red Hat keeps rc3.d in /etc/rc.d, with a link in /etc; others in /etc alone. */
async function levelFolder(guest: GuestFs, level: string): Promise<string> {
  for (const path of [`/etc/rc.d/rc${level}.d`, `/etc/rc${level}.d`])
    if (await guest.exists(path)) return path
  return (await guest.exists('/etc/rc.d')) ? `/etc/rc.d/rc${level}.d` : `/etc/rc${level}.d`
}

async function linksOf(guest: GuestFs, name: string): Promise<RunlevelLink[]> {
  const links: RunlevelLink[] = []
  for (const level of [...LEVELS, 'S'])
    for (const path of await listFolder(guest, await levelFolder(guest, level), /^[SK]\d\d/)) {
      const [, kind, number, service] = /^([SK])(\d\d)(.*)$/.exec(baseName(path)) ?? []
      if (service === name) links.push({ level, kind: kind === 'S' ? 'S' : 'K', number: number ?? '', path })
    }
  return links
}

/** A script is enabled by an S link in a runlevel that the machine runs in; systemd makes units of such scripts. */
export async function sysvState(guest: GuestFs, name: string): Promise<ServiceState | undefined> {
  const script = await scriptOf(guest, name)
  if (!script) return undefined
  const start = (await linksOf(guest, name)).find(({ kind, level }) => kind === 'S' && isStart(level))
  return {
    name,
    init: await initSystem(guest),
    state: start ? 'enabled' : 'disabled',
    decidedBy: start?.path ?? script,
    startsAtBoot: start !== undefined,
  }
}

function isStart(level: string): boolean {
  return RUNNING.includes(level) || level === 'S'
}

/** Makes the S and K links that the script's header asks for; the paths that were made or renamed. */
export async function enableSysv(guest: GuestFs, name: string): Promise<string[]> {
  return arrange(guest, name, true)
}

/** Turns S links into K links, as update-rc.d(8) and chkconfig(8) do: with no link at all, an update would enable it again. */
export async function disableSysv(guest: GuestFs, name: string): Promise<string[]> {
  return arrange(guest, name, false)
}

async function arrange(guest: GuestFs, name: string, enable: boolean): Promise<string[]> {
  const script = await scriptOf(guest, name)
  if (!script)
    throw new DrydiskError(
      'ENOENT',
      `this guest has no service ${name}: no unit, job or init script of it was found`,
      {
        service: name,
      },
    )
  const header = parseInitHeader((await readConfig(guest, script))?.text ?? '')
  const present = await linksOf(guest, name)
  const on = startLevels(header)
  const already = present.some(({ kind, level }) => kind === 'S' && isStart(level))
  if (enable && already) return []
  if (!enable && !already && present.length > 0) return []
  const { start, stop } = await numbers(guest, name, header, on)
  const changed: string[] = []
  for (const level of [...LEVELS, ...(on.includes('S') ? ['S'] : [])]) {
    const starts = on.includes(level)
    // rcS.d has no K links, and 0 and 6 end what runs: a script without a stop level there is left out.
    if (!starts && (level === 'S' || !stopLevels(header, on).includes(level))) continue
    const kind = enable && starts ? 'S' : 'K'
    if (kind === 'K' && level === 'S') continue
    const folder = await levelFolder(guest, level)
    const path = `${folder}/${kind}${kind === 'S' ? start : stop}${name}`
    const same = present.filter(link => link.level === level)
    if (same.some(link => link.kind === kind)) continue
    await guest.mkdir(folder, { recursive: true })
    for (const link of same) await guest.unlink(link.path)
    await guest.symlink(`../init.d/${name}`, path)
    changed.push(path)
  }
  for (const link of present)
    if (!enable && link.level === 'S') {
      await guest.unlink(link.path)
      changed.push(link.path)
    }
  return changed
}

function startLevels({ chkconfig, lsb }: InitHeader): string[] {
  const levels = chkconfig?.levels ? chkconfig.levels.split('') : (lsb?.defaultStart ?? [])
  return levels.length > 0 ? [...levels] : RUNNING
}

function stopLevels({ chkconfig, lsb }: InitHeader, on: readonly string[]): string[] {
  if (!chkconfig && lsb) return [...lsb.defaultStop]
  return LEVELS.filter(level => !on.includes(level))
}

/**
 * chkconfig takes the numbers of its own line. insserv numbers by dependencies: one more than the last of those that must run
 * before. Without any header, update-rc.d's 20.
 */
async function numbers(guest: GuestFs, name: string, header: InitHeader, on: readonly string[]) {
  const two = (n: number) => String(Math.min(n, 99)).padStart(2, '0')
  if (header.chkconfig) return { start: two(header.chkconfig.start), stop: two(header.chkconfig.stop) }
  if (!header.lsb) return { start: '20', stop: '20' }
  const level = on[0] ?? '2'
  const needed = new Set([...header.lsb.requiredStart, ...header.lsb.shouldStart])
  let last = 0
  for (const path of await listFolder(guest, await levelFolder(guest, level), /^S\d\d/)) {
    const [, number, service = ''] = /^S(\d\d)(.*)$/.exec(baseName(path)) ?? []
    if (service === name) continue
    const provides = parseInitHeader((await readConfig(guest, path))?.text ?? '').lsb?.provides ?? []
    // $remote_fs and its like stand for scripts of rcS.d, $syslog for one of the same level; $all for every other.
    const needs =
      [service, ...provides].some(one => needed.has(one)) ||
      needed.has('$all') ||
      (needed.has('$syslog') && /syslog/.test(service))
    if (needs) last = Math.max(last, Number(number))
  }
  return { start: two(last + 1), stop: '01' }
}
